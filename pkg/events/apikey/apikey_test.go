package apikey

import (
	"regexp"
	"strings"
	"testing"

	"github.com/tocsin-auth/tocsin/pkg/events"
)

func TestNewKeysParseAndMatchThePublishedPattern(t *testing.T) {
	pattern := regexp.MustCompile("^" + Pattern + "$")
	for _, mode := range []events.Mode{events.ModeLive, events.ModeTest} {
		seen := map[string]bool{}
		for range 100 {
			key := New(mode)
			if got, err := Parse(key); err != nil || got != mode {
				t.Fatalf("%q: %v, %v", key, got, err)
			}
			if !pattern.MatchString(key) || seen[key] {
				t.Fatalf("%q: not the published pattern, or drawn twice", key)
			}
			seen[key] = true
		}
	}
}

func TestParseRefusesEveryDamage(t *testing.T) {
	key := New(events.ModeLive)
	damaged := map[string]string{
		"empty": "", "truncated": key[:len(key)-1], "longer": key + "0", "upper case": strings.ToUpper(key),
		"swapped prefix": "tcs_test_" + key[9:], "unknown mode": "tcs_prod_" + key[9:], "padded": " " + key[:len(key)-1],
		"outside the alphabet": key[:20] + "-" + key[21:], "NUL": key[:20] + "\x00" + key[21:],
	}
	for i := 9; i < len(key); i++ {
		c := byte('0')
		if key[i] == c {
			c = '1'
		}
		damaged["one character changed at "+key[:i]] = key[:i] + string(c) + key[i+1:]
	}
	for name, k := range damaged {
		if mode, err := Parse(k); err == nil {
			t.Errorf("%s: %q is %v", name, k, mode)
		}
	}
}

// Whatever the published pattern matches is a key but for its checksum, and nothing else is.
func TestThePublishedPatternIsExactlyTheShapeOfKeys(t *testing.T) {
	pattern := regexp.MustCompile("^(?:" + Pattern + ")$")
	agree := func(s string) {
		t.Helper()
		if len(s) < crcLength {
			return
		}
		body := s[:len(s)-crcLength]
		sealed := body + checksum(body)
		if _, err := Parse(sealed); (err == nil) != pattern.MatchString(sealed) {
			t.Errorf("%q: parsed %v, matched %v", sealed, err, pattern.MatchString(sealed))
		}
		if _, err := Parse(s); err == nil && !pattern.MatchString(s) {
			t.Errorf("%q parses and doesn't match", s)
		}
	}
	for _, mode := range []events.Mode{events.ModeLive, events.ModeTest} {
		key := New(mode)
		for i := range key { // every byte in every place, and one more or less
			for c := range 256 {
				agree(key[:i] + string([]byte{byte(c)}) + key[i+1:])
				agree(key[:i] + string([]byte{byte(c)}) + key[i:])
			}
			agree(key[:i] + key[i+1:])
		}
		agree(key + "\n")
	}
	for _, prefix := range []string{"tcs_prod_", "TCS_live_", "tcs_Live_", "tcs-live-", "tcs_livetest_", ""} {
		agree(prefix + New(events.ModeLive)[prefixLength:])
	}
}

func FuzzParse(f *testing.F) {
	f.Add(New(events.ModeLive))
	f.Add("tcs_test_" + strings.Repeat("0", 49))
	pattern := regexp.MustCompile("^" + Pattern + "$")
	f.Fuzz(func(t *testing.T, key string) {
		if _, err := Parse(key); err == nil && !pattern.MatchString(key) {
			t.Errorf("accepted %q", key)
		}
	})
}
