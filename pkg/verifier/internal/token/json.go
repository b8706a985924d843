package token

import (
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

const (
	// maxDepth is how deeply objects and arrays may nest.
	maxDepth = 8
	// maxMembers bounds an object, and with it the quadratic look for duplicate names.
	maxMembers = 128
)

// scanner reads one JSON text (RFC 8259) strictly: no duplicate names, no deep nesting, no lone surrogates, nothing
// after the value. The first failure sticks: bad is set, every later read gives a zero value and every loop ends.
//
// Strings without escapes are parts of the text, so nothing is copied.
type scanner struct {
	text  string
	at    int
	depth int
	bad   bool
}

func newScanner(text string) *scanner { return &scanner{text: text, bad: !utf8.ValidString(text)} }

func (s *scanner) fail() { s.bad, s.at = true, len(s.text) }

// peek skips white space and returns the next byte, or 0 at the end.
func (s *scanner) peek() byte {
	for s.at < len(s.text) {
		switch c := s.text[s.at]; c {
		case ' ', '\t', '\n', '\r':
			s.at++
		default:
			return c
		}
	}
	return 0
}

func (s *scanner) take(c byte) bool {
	if s.peek() != c || s.bad {
		return false
	}
	s.at++
	return true
}

func (s *scanner) expect(c byte) {
	if !s.take(c) {
		s.fail()
	}
}

// end reports whether the whole text was one good value.
func (s *scanner) end() bool { return s.peek() == 0 && s.at == len(s.text) && !s.bad }

func (s *scanner) open(c byte) {
	s.expect(c)
	if s.depth++; s.depth > maxDepth {
		s.fail()
	}
}

// names are those that an object has had so far.
type names []string

// member reads the next name of an object that open('{') began, or ends the object.
func (s *scanner) member(seen *names) (name string, ok bool) {
	if s.bad || s.take('}') {
		s.depth--
		return "", false
	}
	if len(*seen) > 0 {
		s.expect(',')
	}
	name = s.str()
	s.expect(':')
	for _, n := range *seen {
		if n == name {
			s.fail()
		}
	}
	if len(*seen) == maxMembers {
		s.fail()
	}
	*seen = append(*seen, name)
	return name, !s.bad
}

// element reports whether another element follows in an array that open('[') began, or ends the array.
func (s *scanner) element(index int) bool {
	if s.bad || s.take(']') {
		s.depth--
		return false
	}
	if index > 0 {
		s.expect(',')
	}
	return !s.bad
}

func (s *scanner) str() string {
	s.expect('"')
	from := s.at
	for s.at < len(s.text) {
		switch c := s.text[s.at]; {
		case c == '"':
			s.at++
			return s.text[from : s.at-1]
		case c == '\\':
			return s.escaped(from)
		case c < 0x20:
			s.fail()
			return ""
		}
		s.at++
	}
	s.fail()
	return ""
}

// escaped reads the rest of a string that has an escape at s.at.
func (s *scanner) escaped(from int) string {
	out := []byte(s.text[from:s.at])
	for s.at < len(s.text) {
		c := s.text[s.at]
		s.at++
		switch {
		case c == '"':
			return string(out)
		case c < 0x20:
			s.fail()
			return ""
		case c == '\\':
			out = utf8.AppendRune(out, s.escape())
		default:
			out = append(out, c)
		}
	}
	s.fail()
	return ""
}

// escape reads what follows a backslash.
func (s *scanner) escape() rune {
	if s.at >= len(s.text) {
		s.fail()
		return 0
	}
	c := s.text[s.at]
	s.at++
	switch c {
	case '"', '\\', '/':
		return rune(c)
	case 'b':
		return '\b'
	case 'f':
		return '\f'
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	case 'u':
		return s.unicode()
	}
	s.fail()
	return 0
}

func (s *scanner) unicode() rune {
	r := s.hex4()
	if !utf16.IsSurrogate(r) {
		return r
	}
	if s.at+1 >= len(s.text) || s.text[s.at] != '\\' || s.text[s.at+1] != 'u' {
		s.fail()
		return 0
	}
	s.at += 2
	if r = utf16.DecodeRune(r, s.hex4()); r == utf8.RuneError {
		s.fail()
	}
	return r
}

func (s *scanner) hex4() rune {
	if s.at+4 > len(s.text) {
		s.fail()
		return 0
	}
	n, err := strconv.ParseUint(s.text[s.at:s.at+4], 16, 16)
	if err != nil {
		s.fail()
		return 0
	}
	s.at += 4
	return rune(n)
}

// integer reads a number without fraction and exponent that fits an int64.
func (s *scanner) integer() int64 {
	text := s.number()
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		s.fail()
	}
	return n
}

// number reads any JSON number and returns its text.
func (s *scanner) number() string {
	s.peek()
	from := s.at
	s.literal("-")
	if !s.literal("0") && s.digits() == 0 {
		s.fail()
	}
	if s.literal(".") && s.digits() == 0 {
		s.fail()
	}
	if s.literal("e") || s.literal("E") {
		if !s.literal("+") {
			s.literal("-")
		}
		if s.digits() == 0 {
			s.fail()
		}
	}
	if s.bad {
		return ""
	}
	return s.text[from:s.at]
}

func (s *scanner) digits() int {
	from := s.at
	for s.at < len(s.text) && '0' <= s.text[s.at] && s.text[s.at] <= '9' {
		s.at++
	}
	return s.at - from
}

func (s *scanner) literal(word string) bool {
	if len(s.text)-s.at < len(word) || s.text[s.at:s.at+len(word)] != word {
		return false
	}
	s.at += len(word)
	return true
}

// strs reads an array of strings of at most limit elements.
func (s *scanner) strs(limit int) []string {
	list := []string{}
	s.open('[')
	for s.element(len(list)) {
		if len(list) == limit {
			s.fail()
			return nil
		}
		list = append(list, s.str())
	}
	return list
}

// skip reads a value of any kind, as strictly as if it were wanted.
func (s *scanner) skip() {
	switch s.peek() {
	case '{':
		var room [8]string
		seen := names(room[:0])
		s.open('{')
		for _, ok := s.member(&seen); ok; _, ok = s.member(&seen) {
			s.skip()
		}
	case '[':
		s.open('[')
		for i := 0; s.element(i); i++ {
			s.skip()
		}
	case '"':
		s.str()
	default:
		if !s.literal("true") && !s.literal("false") && !s.literal("null") {
			s.number()
		}
	}
}
