package forwardauth

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tocsin-auth/tocsin/test/proxytest"
	"github.com/tocsin-auth/tocsin/test/system"
)

func TestBehindHAProxy(t *testing.T) {
	proxytest.Installed(t, "haproxy")
	s := startScene(t, "haproxy", short)
	s.startHAProxy(t, "", "")
	// It forwards unannounced ones, which no rule sees: docs/forwardauth.md says so.
	t.Run("announced trailers never reach the backend", s.stripsAnnouncedTrailers)
	behindAProxy(t, s)
}

// startHAProxy runs it with the shipped script, in which one text is replaced by another.
func (s *scene) startHAProxy(t *testing.T, old, replacement string) {
	t.Helper()
	root, err := system.Root()
	if err != nil {
		t.Fatal(err)
	}
	script, err := os.ReadFile(filepath.Join(root, "deploy/forwardauth/haproxy/tocsin.lua"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(script), old) {
		t.Fatalf("the script has no %q", old)
	}
	text, addr := s.configure(t, "haproxy/haproxy.cfg")
	dir := t.TempDir()
	for name, content := range map[string]string{
		"tocsin.lua":  strings.Replace(string(script), old, replacement, 1),
		"haproxy.cfg": strings.ReplaceAll(text, "/etc/haproxy/tocsin.lua", filepath.Join(dir, "tocsin.lua")),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s.start(t, addr, proxytest.Installed(t, "haproxy"), "-db", "-f", filepath.Join(dir, "haproxy.cfg"))
}

// HAProxy logs an error of a Lua action and goes on with its next rule.
func TestHAProxyRefusesWhenTheScriptFails(t *testing.T) {
	proxytest.Installed(t, "haproxy")
	for name, after := range map[string]string{
		"at its beginning": `core.register_action("tocsin", { "http-req" }, function(txn)`,
		"before it asks":   `local client = core.httpclient()`,
		"at its end":       `txn.http:req_del_header("authorization")`,
	} {
		t.Run(name, func(t *testing.T) {
			s := &scene{backend: startBackend(t), check: startAccepting(t)}
			s.startHAProxy(t, after, after+"\n    error(\"injected\")\n")
			for range 2 { // the second on what the first has left behind
				if got, seen := s.ask(t, "GET", "/v1/cars", ""); got.Status != 503 || got.Code() != "auth_unavailable" || seen != nil {
					t.Errorf("%v, and the backend saw %v", got, seen)
				}
			}
		})
	}
}

// HAProxy 2.6 dies when its HTTP client is given more than 101 headers.
func TestHAProxyRefusesTooManyHeadersBeforeItAsks(t *testing.T) {
	proxytest.Installed(t, "haproxy")
	s := &scene{backend: startBackend(t), check: startAccepting(t)}
	s.startHAProxy(t, "", "")
	for _, same := range []bool{true, false} {
		request := "GET /v1/cars HTTP/1.1\r\nHost: a\r\n"
		for i := range 99 {
			name := "a"
			if !same {
				name = fmt.Sprint("a", i)
			}
			request += name + ": x\r\n"
		}
		status, body := s.raw(t, request+"\r\n")
		if seen := s.backend.last(); status != 431 || seen != nil || !strings.Contains(body, `"invalid_request"`) {
			t.Errorf("%d %s, and the backend saw %v", status, body, seen)
		}
	}
	if got, seen := s.ask(t, "GET", "/v1/cars", ""); got.Status != 200 || seen == nil {
		t.Error("afterwards:", got)
	}
}

func TestHAProxyTakesNoStray200ForAnAcceptance(t *testing.T) {
	proxytest.Installed(t, "haproxy")
	for _, decision := range []string{"", "refused", "accepted, maybe"} {
		s := &scene{backend: startBackend(t), check: startDeciding(t, decision)}
		s.startHAProxy(t, "", "")
		if got, seen := s.ask(t, "GET", "/v1/cars", ""); got.Status != 503 || seen != nil {
			t.Errorf("%q: %v", decision, got)
		}
	}
}

// startAccepting is a sidecar that accepts all.
func startAccepting(t *testing.T) string { return startDeciding(t, "accepted") }

// startDeciding answers 200 to all.
func startDeciding(t *testing.T, decision string) string {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if decision != "" {
			w.Header().Set("Tocsin-Decision", decision)
		}
	}))
	t.Cleanup(server.Close)
	return server.URL
}
