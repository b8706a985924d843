package auth

import (
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tocsin-auth/tocsin/pkg/events"
)

// Bounds of what callers may send.
const (
	maxRoles      = 32
	maxUserIDs    = 1000
	maxTextLength = 256
	defaultLimit  = 50
	maxLimit      = 200
)

// canonicalUsername lower-cases a username and checks it against [a-z0-9][a-z0-9._@-]{2,63}. Only ASCII is lower-cased:
// a letter of another alphabet never becomes one of ours.
func canonicalUsername(s string) (string, error) {
	s = strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
	if len(s) < 3 || len(s) > 64 || !isLowerAlnum(s[0]) {
		return "", errUsername
	}
	for i := range len(s) {
		if !isLowerAlnum(s[i]) && !strings.ContainsRune("._@-", rune(s[i])) {
			return "", errUsername
		}
	}
	return s, nil
}

var errUsername = invalid("username", "must match [a-z0-9][a-z0-9._@-]{2,63}")

func isLowerAlnum(c byte) bool { return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' }

// checkName accepts [a-z0-9_-]{1,32}: roles, plans, scopes and services.
func checkName(field, s string) error {
	if !events.ValidService(s) {
		return invalid(field, "must match [a-z0-9_-]{1,32}")
	}
	return nil
}

// canonicalNames checks a set of roles or scopes and returns it sorted and without duplicates, never nil.
func canonicalNames(field string, names []string) ([]string, error) {
	if len(names) > maxRoles {
		return nil, invalid(field, "must have at most 32 entries")
	}
	for _, name := range names {
		if err := checkName(field, name); err != nil {
			return nil, err
		}
	}
	set := slices.Compact(slices.Sorted(slices.Values(names)))
	return append([]string{}, set...), nil
}

// checkText accepts valid UTF-8 of at most 256 bytes without NUL.
func checkText(field, s string) error {
	if len(s) > maxTextLength || !utf8.ValidString(s) || strings.ContainsRune(s, 0) {
		return invalid(field, "must be valid UTF-8 without NUL, at most 256 bytes")
	}
	return nil
}

// checkEmail accepts a text that is a local part and a domain; whether mail arrives is not for us to find out.
func checkEmail(s string) error {
	if s == "" {
		return nil
	}
	if err := checkText("email", s); err != nil {
		return err
	}
	at := strings.LastIndexByte(s, '@')
	if at < 1 || at == len(s)-1 || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return invalid("email", "must be an email address")
	}
	return nil
}

func checkID(field, s string) error {
	if _, err := events.ParseID(s); err != nil {
		return invalid(field, "must be a UUID in its canonical form")
	}
	return nil
}

func checkMode(m events.Mode) error {
	if m != events.ModeLive && m != events.ModeTest {
		return invalid("mode", "must be live or test")
	}
	return nil
}

// cut makes what a client says about itself fit for the database. It is never a reason to refuse.
func (c Client) cut() Client {
	return Client{IP: cutText(c.IP), UserAgent: cutText(c.UserAgent)}
}

func cutText(s string) string {
	s = strings.Map(func(r rune) rune {
		if r == 0 || r == utf8.RuneError {
			return -1
		}
		return r
	}, s)
	if len(s) <= maxTextLength {
		return s
	}
	s = s[:maxTextLength]
	for !utf8.ValidString(s) {
		s = s[:len(s)-1]
	}
	return s
}

func fromMicros(us int64) time.Time { return time.UnixMicro(us).UTC() }

func optionalTime(us *int64) *time.Time {
	if us == nil {
		return nil
	}
	t := fromMicros(*us)
	return &t
}
