// Package target reads what a proxy says that a client asked for, and takes it only in its one canonical form: whatever
// two programs could read as two different paths is refused, so that the backend sees the path that was judged.
//
// What is taken: origin-form (RFC 9112, section 3.2.1) of at most [MaxURI] bytes. In its path only the characters that RFC 3986,
// section 3.3 allows there, but no ";", which some servers cut off with what follows; percent-encoding only of what needs it, in UTF-8, and never of
// controls, "/", "\", "%", ";", "?", "#" or of characters that mean the same without it (so no %2e); no empty segments, none that ends in a dot
// (so no "." and no "..") or begins or ends in white space, both of which Windows and some servers cut off, and no line separators. The query is not
// looked at, except that it has no blanks, controls, bytes above ASCII or "#".
package target

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxURI is how long a path with its query may be.
const MaxURI = 8 << 10

// ErrNotCanonical is wrapped by every error of this package. The texts repeat nothing that a caller sent.
var ErrNotCanonical = errors.New("not in the canonical form")

func refused(what, why string) error {
	return fmt.Errorf("the %s is %w: %s", what, ErrNotCanonical, why)
}

// Target is a request as its backend will see it.
type Target struct {
	Method string
	Host   string // in lower case, without port
	Path   string // as it was sent, without query
	Query  string // without "?"
	// Segments are those of the path; a slash at its end makes none. The root has none.
	Segments []Segment
}

// Segment is what lies between two slashes.
type Segment struct{ Raw, Decoded string }

// Parse reads the method, the Host and the path with its query of a request.
func Parse(method, host, uri string) (Target, error) {
	if err := checkMethod(method); err != nil {
		return Target{}, err
	}
	name, err := canonicalHost(host)
	if err != nil {
		return Target{}, err
	}
	if len(uri) > MaxURI {
		return Target{}, refused("path", "too long")
	}
	t := Target{Method: method, Host: name}
	t.Path, t.Query, _ = strings.Cut(uri, "?")
	if err := checkQuery(t.Query); err != nil {
		return Target{}, err
	}
	t.Segments, err = segments(t.Path)
	return t, err
}

// checkMethod takes methods in capital letters. CONNECT and TRACE have no path that a backend would serve.
func checkMethod(method string) error {
	if method == "" || len(method) > 16 || method == "CONNECT" || method == "TRACE" {
		return refused("method", "empty, too long, CONNECT or TRACE")
	}
	for i := range len(method) {
		if c := method[i]; (c < 'A' || c > 'Z') && c != '-' {
			return refused("method", "not in capital letters")
		}
	}
	return nil
}

// checkQuery: a backend finds the path's end at the first "?", so only what could move that end, or the line's, is refused.
func checkQuery(query string) error {
	for i := range len(query) {
		if c := query[i]; c <= ' ' || c >= 0x7f || c == '#' {
			return refused("query", "a character that has to be encoded")
		}
	}
	return nil
}

// segments splits and checks a path.
func segments(path string) ([]Segment, error) {
	if path == "" || path[0] != '/' {
		return nil, refused("path", "it must begin with /")
	}
	if path == "/" {
		return nil, nil
	}
	path = strings.TrimSuffix(path[1:], "/")
	all := make([]Segment, 0, 1+strings.Count(path, "/"))
	for raw := range strings.SplitSeq(path, "/") {
		decoded, err := decode(raw)
		if err != nil {
			return nil, err
		}
		all = append(all, Segment{raw, decoded})
	}
	return all, nil
}

// decode reads one segment.
func decode(raw string) (string, error) {
	if raw == "" || raw[len(raw)-1] == '.' {
		return "", refused("path", "a segment that is empty or ends in a dot")
	}
	if !strings.Contains(raw, "%") {
		return raw, checkPlain(raw)
	}
	decoded := make([]byte, 0, len(raw))
	for i := 0; i < len(raw); i++ {
		c := raw[i]
		if c == '%' {
			var ok bool
			if c, ok = escape(raw[i+1:]); !ok {
				return "", refused("path", "an encoding that is broken, not needed or not allowed")
			}
			i += 2
		} else if !isPlain[c] {
			return "", refused("path", "a character that has to be encoded or isn't allowed")
		}
		decoded = append(decoded, c)
	}
	return string(decoded), checkText(decoded)
}

// checkText refuses what a backend may cut off, or take for the end of a line, which ASCII controls never get this far as.
func checkText(decoded []byte) error {
	if !utf8.Valid(decoded) {
		return refused("path", "not UTF-8")
	}
	if len(bytes.TrimSpace(decoded)) != len(decoded) {
		return refused("path", "a segment that begins or ends in white space")
	}
	if bytes.ContainsFunc(decoded, func(r rune) bool { return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' }) {
		return refused("path", "a control or a line separator")
	}
	return nil
}

func checkPlain(raw string) error {
	for i := range len(raw) {
		if !isPlain[raw[i]] {
			return refused("path", "a character that has to be encoded or isn't allowed")
		}
	}
	return nil
}

// escape reads two hexadecimal digits, and says whether that byte may be encoded.
func escape(digits string) (byte, bool) {
	if len(digits) < 2 {
		return 0, false
	}
	high, low := unhex(digits[0]), unhex(digits[1])
	if high > 15 || low > 15 {
		return 0, false
	}
	c := high<<4 | low
	return c, c >= ' ' && c != 0x7f && !isUnreserved(c) && !strings.ContainsRune(`/\%;?#`, rune(c))
}

func unhex(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10
	}
	return 0xff
}

// isUnreserved: RFC 3986, section 2.3.
func isUnreserved(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~", c) >= 0
}

// isPlain has the characters that stand for themselves in a segment.
var isPlain = func() (plain [256]bool) {
	for c := range plain {
		plain[c] = isUnreserved(byte(c)) || strings.IndexByte("!$&'()*+,=:@", byte(c)) >= 0
	}
	return plain
}()

// IsPlain reports whether a text is a segment that needs no decoding and doesn't end in a dot.
func IsPlain(segment string) bool {
	return segment != "" && segment[len(segment)-1] != '.' && checkPlain(segment) == nil
}
