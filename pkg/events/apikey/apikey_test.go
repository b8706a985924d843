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
