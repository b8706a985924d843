// Package strictjson finds what encoding/json lets pass and what two readers of one text may therefore understand
// differently: duplicate names, invalid UTF-8, lone surrogates, NUL, numbers beyond the range of a double, and data after
// the value.
//
// It knows nothing of the fields that are expected; unknown ones and wrong types are found by the schema.
package strictjson

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"
)

// MaxDepth is how deep arrays and objects may nest: far more than any request of ours.
const MaxDepth = 16

// Error is a refusal. It never holds a value of the text; Field is the path of the member it is about, in the form
// roles[0], or empty when it is about the whole.
type Error struct {
	Field string
	Rule  string
}

func (e *Error) Error() string {
	if e.Field == "" {
		return e.Rule
	}
	return e.Field + ": " + e.Rule
}

// Check returns nil if data is exactly one JSON value that every reader understands alike, and holds no null, which encoding/json
// takes for a member that isn't there: who sends it has forgotten a value, and didn't mean the default. Every error is an
// [*Error].
func Check(data []byte) error { return check(data, false) }

// CheckForeign is [Check] for a form that isn't ours to define, in which null may stand.
func CheckForeign(data []byte) error { return check(data, true) }

func check(data []byte, null bool) error {
	if !utf8.Valid(data) {
		return &Error{Rule: "is not valid UTF-8"}
	}
	if !json.Valid(data) {
		return &Error{Rule: "is not one valid JSON value"}
	}
	if loneSurrogate(data) {
		return &Error{Rule: "holds an escaped surrogate without its pair"}
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	w := walker{decoder: decoder, null: null}
	if err := w.value(nil); err != nil {
		return err
	}
	if _, err := decoder.Token(); err != io.EOF {
		return &Error{Rule: "is followed by more data"}
	}
	return nil
}

type walker struct {
	decoder *json.Decoder
	null    bool // is allowed
}

// value reads one value whose path is given; the depth is the path's length.
func (w walker) value(path []string) error {
	token, err := w.token(path)
	if err != nil {
		return err
	}
	switch t := token.(type) {
	case json.Delim:
		if len(path) >= MaxDepth {
			return &Error{Rule: "is nested too deeply"}
		}
		if t == '{' {
			return w.object(path)
		}
		return w.array(path)
	case json.Number:
		if _, err := t.Float64(); err != nil {
			return &Error{Field: join(path), Rule: "is a number too large to be read"}
		}
	case string:
		if strings.IndexByte(t, 0) >= 0 {
			return &Error{Field: join(path), Rule: "must not hold NUL"}
		}
	case nil:
		if !w.null {
			return &Error{Field: join(path), Rule: "must not be null"}
		}
	}
	return nil
}

func (w walker) object(path []string) error {
	seen := make(map[string]struct{})
	for w.decoder.More() {
		token, err := w.token(path)
		if err != nil {
			return err
		}
		name, ok := token.(string)
		if !ok {
			return &Error{Field: join(path), Rule: "has a member without a name"}
		}
		if strings.IndexByte(name, 0) >= 0 {
			return &Error{Field: join(path), Rule: "has a member whose name holds NUL"}
		}
		member := append(path[:len(path):len(path)], name)
		if _, twice := seen[name]; twice {
			return &Error{Field: join(member), Rule: "is given twice"}
		}
		seen[name] = struct{}{}
		if err := w.value(member); err != nil {
			return err
		}
	}
	_, err := w.token(path)
	return err
}

func (w walker) array(path []string) error {
	for i := 0; w.decoder.More(); i++ {
		if err := w.value(append(path[:len(path):len(path)], "["+strconv.Itoa(i)+"]")); err != nil {
			return err
		}
	}
	_, err := w.token(path)
	return err
}

func (w walker) token(path []string) (json.Token, error) {
	token, err := w.decoder.Token()
	if err != nil {
		return nil, &Error{Field: join(path), Rule: "is not valid JSON"}
	}
	return token, nil
}

const maxShown = 64

// join writes a path for people. Names are the sender's: what isn't plainly a name is not repeated.
func join(path []string) string {
	var b strings.Builder
	for i, part := range path {
		if i > 0 && part[0:min(1, len(part))] != "[" {
			b.WriteByte('.')
		}
		b.WriteString(part)
	}
	return Shown(b.String())
}

// Shown returns a path that may be repeated to its sender, or nothing if it isn't plainly one.
func Shown(path string) string {
	if len(path) > maxShown {
		return ""
	}
	for i := range len(path) {
		c := path[i]
		plain := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("_-.[]$", c) >= 0
		if !plain {
			return ""
		}
	}
	return path
}

// loneSurrogate reports whether a valid JSON text escapes half a surrogate pair, which decoders turn into U+FFFD, so
// that different texts become one.
func loneSurrogate(data []byte) bool {
	for i := 0; i < len(data); i++ {
		if data[i] != '\\' {
			continue
		}
		i++
		if data[i] != 'u' {
			continue
		}
		r := escaped(data[i+1:])
		i += 4
		switch {
		case r >= 0xdc00 && r <= 0xdfff:
			return true
		case r >= 0xd800 && r <= 0xdbff:
			if !bytes.HasPrefix(data[i+1:], []byte(`\u`)) {
				return true
			}
			if low := escaped(data[i+3:]); low < 0xdc00 || low > 0xdfff {
				return true
			}
			i += 6
		}
	}
	return false
}

// escaped reads four hexadecimal digits, which the grammar has guaranteed.
func escaped(digits []byte) uint16 {
	var b [2]byte
	if len(digits) < 4 {
		return 0
	}
	if _, err := hex.Decode(b[:], digits[:4]); err != nil {
		panic(fmt.Sprintf("strictjson: escape in valid JSON: %v", err))
	}
	return uint16(b[0])<<8 | uint16(b[1])
}
