package target

import (
	"errors"
	"net/url"
	"os"
	"path"
	"strconv"
	"strings"
	"testing"
)

func TestOnlyTheCanonicalFormOfAPathIsTaken(t *testing.T) {
	for uri, want := range map[string]string{
		"/":                          "",
		"/v1/cars":                   "v1|cars",
		"/v1/cars/":                  "v1|cars",
		"/v1/cars?limit=1&x=/../%2e": "v1|cars",
		"/v1/jobs:run":               "v1|jobs:run",
		"/a/...b":                    "a|...b",
		"/a/.well-known":             "a|.well-known",
		"/users/a%40b.c":             "users|a@b.c",
		"/a%20b/c":                   "a b|c",
		"/stra%C3%9Fe":               "straße",
		"/a?b?c":                     "a",
		"/a?x=%23":                   "a",
	} {
		got, err := Parse("GET", "a.example", uri)
		if err != nil {
			t.Errorf("%s: %v", uri, err)
			continue
		}
		var decoded []string
		for _, s := range got.Segments {
			decoded = append(decoded, s.Decoded)
		}
		if text := strings.Join(decoded, "|"); text != want {
			t.Errorf("%s: %q, want %q", uri, text, want)
		}
	}
}

// nasty reads the list that the tests with real proxies use too.
func nasty(t testing.TB) (all []string) {
	t.Helper()
	content, err := os.ReadFile("../../testdata/nasty.txt")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(content)) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "#") {
			continue
		}
		uri, err := strconv.Unquote(line)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		all = append(all, uri)
	}
	return all
}

func TestWhatCouldBeReadAsAnotherPathIsRefused(t *testing.T) {
	for _, uri := range nasty(t) {
		if got, err := Parse("GET", "a.example", uri); !errors.Is(err, ErrNotCanonical) {
			t.Errorf("%q was taken as %q (%v)", uri, got.Path, err)
		}
	}
}

func TestMethodsAndHostsAreCanonicalToo(t *testing.T) {
	for _, method := range []string{"", "get", "GeT", "CONNECT", "TRACE", "G T", "GET\r\nX: y", "GETGETGETGETGETGET"} {
		if _, err := Parse(method, "a.example", "/"); err == nil {
			t.Errorf("method %q was taken", method)
		}
	}
	for host, want := range map[string]string{
		"a.example": "a.example", "A.Example:8080": "a.example", "127.0.0.1:80": "127.0.0.1", "[::1]:80": "[::1]", "[::1]": "[::1]", "x_y.example": "x_y.example",
	} {
		if got, err := Parse("GET", host, "/"); err != nil || got.Host != want {
			t.Errorf("host %q: %q, %v", host, got.Host, err)
		}
	}
	for _, host := range []string{"", "a.example.", ".a", "a..b", "a b", "a/b", "a@b", "a,b", "a:b", "a:", "a:123456", "::1", "[::1", "[0:0::1]", "[::1%25x]", "[a]", "a\x00", "bücher.example"} {
		if got, err := Parse("GET", host, "/"); err == nil {
			t.Errorf("host %q was taken as %q", host, got.Host)
		}
	}
}

func TestALongPathIsRefused(t *testing.T) {
	if _, err := Parse("GET", "a", "/"+strings.Repeat("a", MaxURI)); err == nil {
		t.Error("taken")
	}
}

// FuzzTarget: what is taken means the same to a server that decodes, one that decodes and cleans, and one that does neither.
func FuzzTarget(f *testing.F) {
	for _, uri := range append([]string{"/v1/cars?x=1", "/a%20b/", "/stra%C3%9Fe"}, nasty(f)...) {
		f.Add("GET", "a.example:80", uri)
	}
	f.Fuzz(func(t *testing.T, method, host, uri string) {
		got, err := Parse(method, host, uri)
		if err != nil {
			if !errors.Is(err, ErrNotCanonical) {
				t.Fatalf("another error: %v", err)
			}
			return
		}
		u, err := url.ParseRequestURI(uri)
		if err != nil {
			t.Fatalf("%q was taken, and isn't a request target: %v", uri, err)
		}
		if u.EscapedPath() != got.Path || u.RawQuery != got.Query || u.Host != "" {
			t.Fatalf("%q: path %q and query %q, net/url has %q and %q", uri, got.Path, got.Query, u.EscapedPath(), u.RawQuery)
		}
		var decoded string
		for _, s := range got.Segments {
			decoded += "/" + s.Decoded
		}
		if plain := strings.TrimSuffix(u.Path, "/"); decoded != plain || path.Clean("/"+plain) != "/"+strings.TrimPrefix(plain, "/") {
			t.Fatalf("%q: segments %q, decoded %q, cleaned %q", uri, decoded, u.Path, path.Clean(u.Path))
		}
		if again, err := url.PathUnescape(decoded); err != nil || again != decoded {
			t.Fatalf("%q decodes twice, to %q", uri, again)
		}
		if strings.ContainsAny(decoded, "\\;?#%") || strings.Contains(strings.ToLower(uri), "%2e") && !strings.Contains(uri, "?") {
			t.Fatalf("%q was taken", uri)
		}
	})
}
