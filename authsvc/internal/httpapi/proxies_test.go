package httpapi

import (
	"bytes"
	"log/slog"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
)

var someProxies = proxies{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32")}

func TestOnlyTrustedProxiesSayWhereARequestCameFrom(t *testing.T) {
	for _, tc := range []struct {
		peer      string
		forwarded []string
		want      string
	}{
		{"192.0.2.1", nil, "192.0.2.1"},
		{"192.0.2.1", []string{"198.51.100.1"}, "192.0.2.1"},
		{"127.0.0.1", []string{"198.51.100.1"}, "127.0.0.1"},
		{"10.0.0.1", nil, "10.0.0.1"},
		{"10.0.0.1", []string{"198.51.100.1"}, "198.51.100.1"},
		{"10.0.0.1", []string{"203.0.113.9, 198.51.100.1"}, "198.51.100.1"},             // the first is the sender's invention
		{"10.0.0.1", []string{"203.0.113.9", "198.51.100.1 ,10.2.3.4"}, "198.51.100.1"}, // through two proxies, in two lines
		{"10.0.0.1", []string{"198.51.100.1, nonsense, 10.2.3.4"}, "10.2.3.4"},
		{"10.0.0.1", []string{"198.51.100.1,"}, "10.0.0.1"},
		{"10.0.0.1", []string{"198.51.100.1:4711"}, "198.51.100.1"},
		{"2001:db8::1", []string{"[2001:470::1]:80"}, "2001:470::1"},
		{"::ffff:10.0.0.1", []string{"::ffff:198.51.100.1"}, "198.51.100.1"},
		{"10.0.0.1", []string{strings.Repeat("10.0.0.2,", 100_000) + "10.0.0.3"}, "10.0.0.2"},
		{"no address", []string{"198.51.100.1"}, "no address"},
	} {
		if got, _ := someProxies.client(tc.peer, tc.forwarded); got != tc.want {
			t.Errorf("%s for %.60q: %s, want %s", tc.peer, tc.forwarded, got, tc.want)
		}
	}
}

func TestForwardedAddressesAreIgnoredWithoutTrustedProxies(t *testing.T) {
	s := newServer(t, nil)
	var lines bytes.Buffer
	s.log = slog.New(slog.NewTextHandler(&lines, nil))
	r := httptest.NewRequest("POST", "/v1/login", nil)
	r.Header.Set("X-Forwarded-For", "198.51.100.1")
	for range 3 {
		if got := s.clientOf(r).IP; got != "192.0.2.1" {
			t.Errorf("%s", got)
		}
	}
	if text := lines.String(); strings.Count(text, "X-Forwarded-For") != 1 || !strings.Contains(text, "ip=192.0.2.1") {
		t.Errorf("the operator is told once:\n%s", text)
	}
	s.proxies = proxies{netip.MustParsePrefix("192.0.2.1/32")}
	if got := s.clientOf(r).IP; got != "198.51.100.1" {
		t.Errorf("%s", got)
	}
}

func FuzzForwardedFor(f *testing.F) {
	f.Add("10.0.0.1", "203.0.113.9, 198.51.100.1")
	f.Add("10.0.0.1", "[2001:db8::1%eth0]:80,10.0.0.2")
	f.Fuzz(func(t *testing.T, peer, forwarded string) {
		got, _ := someProxies.client(peer, []string{forwarded})
		if got == peer {
			return
		}
		address, err := netip.ParseAddr(got)
		if err != nil || address.Zone() != "" || address.Is4In6() {
			t.Fatalf("%q", got)
		}
		if first, err := netip.ParseAddr(peer); err != nil || !someProxies.trust(first.Unmap().WithZone("")) {
			t.Fatalf("%q is believed", peer)
		}
		// Whatever a sender puts before what the proxy appends changes nothing.
		if strings.Count(forwarded, ",") < maxProxies-2 {
			if a, _ := someProxies.client("10.0.0.1", []string{forwarded, "198.51.100.1"}); a != "198.51.100.1" {
				t.Fatalf("%q moves the client to %q", forwarded, a)
			}
		}
	})
}
