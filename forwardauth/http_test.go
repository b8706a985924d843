package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/tocsin-auth/tocsin/pkg/verifier"
)

func TestAnAcceptedRequestGetsTheIdentityInHeaders(t *testing.T) {
	r := newRig(t, "caddy")
	w := r.ask("/check", "X-Forwarded-Method", "GET", "X-Forwarded-Host", "a.example", "X-Forwarded-Uri", "/v1/cars?x=1", "Authorization", bearer)
	h := w.Header()
	if w.Code != 200 || h.Get("Tocsin-Subject") != "alice" || h.Get("Tocsin-Roles") != "user,editor" || h.Get("Tocsin-Mode") != "live" || h.Get("Tocsin-Method") != "bearer" ||
		h.Get("Tocsin-Session") != "s1" || h.Get("Tocsin-Plan") != "free" || h["Tocsin-Actor"] != nil || strings.Count(h.Get("Tocsin-Identity"), ".") != 2 || h.Get("Cache-Control") != "no-store" || h.Get("Tocsin-Decision") != "accepted" {
		t.Error(w.Code, h)
	}
	if w := r.ask("/check", "X-Forwarded-Method", "GET", "X-Forwarded-Host", "a.example", "X-Forwarded-Uri", "/v1/cars"); w.Code == 200 || w.Header()["Tocsin-Decision"] != nil {
		t.Error("a refusal:", w.Code, w.Header())
	}
}

func TestAQuestionThatDoesNotSayOnceWhatWasAskedForIsRefused(t *testing.T) {
	r := newRig(t, "traefik")
	good := []string{"X-Forwarded-Method", "GET", "X-Forwarded-Host", "a.example", "X-Forwarded-Uri", "/health"}
	if w := r.ask("/check", good...); w.Code != 200 {
		t.Fatal(w.Code, w.Body)
	}
	for i := 0; i < len(good); i += 2 {
		for _, c := range [][]string{append(good[:i:i], good[i+2:]...), append(good[:len(good):len(good)], good[i], good[i+1]), append(good[:len(good):len(good)], good[i], ""),
			append(append(good[:i:i], good[i+2:]...), good[i], "")} {
			if w := r.ask("/check", c...); w.Code != 400 || !strings.Contains(w.Body.String(), "invalid_request") {
				t.Errorf("%q: %d %s", c, w.Code, w.Body)
			}
		}
	}
}

// Nobody may tell a header of one proxy by that of another, nor one of ours, in whatever spelling.
func TestHeadersThatOnlyAProxyMaySetAreRefused(t *testing.T) {
	for style, own := range map[string][]string{
		"nginx":   {"X-Original-Method", "GET", "X-Original-Host", "a", "X-Original-URI", "/v1/cars"},
		"haproxy": {"X-Original-Method", "GET", "X-Original-Host", "a", "X-Original-URI", "/v1/cars"},
		"caddy":   {"X-Forwarded-Method", "GET", "X-Forwarded-Host", "a", "X-Forwarded-Uri", "/v1/cars"},
	} {
		r := newRig(t, style)
		own = append(own, "Authorization", bearer)
		if w := r.ask("/check", own...); w.Code != 200 {
			t.Fatal(style, w.Code, w.Body)
		}
		others := []string{"X-Forwarded-Uri", "X-Forwarded-Method"}
		if style == "caddy" {
			others = []string{"X-Original-Uri", "X-Original-Method"}
		}
		for _, name := range append(others, "Tocsin-Subject", "tocsin_subject", "TOCSIN.ROLES", "Tocsin-Refusal", "Tocsin-Future", "X_Original_Uri", "X_Forwarded_Uri", "x-Original_Uri",
			"X-Original-URL", "X-Rewrite-Url", "X-HTTP-Method-Override", "X_Http-Method", "X-Envoy-Original-Path", "SCRIPT_NAME", "Script-Name", "script.name",
			"X-Script-Name", "PATH_INFO", "Path-Info", "X-Forwarded-Prefix", "X-Host", "X-HTTP-Host-Override", "Forwarded", "forwarded", "Any_Thing", "_", "Ünder_score") {
			w := r.ask("/check", append(own[:len(own):len(own)], name, "/health")...)
			if w.Code == 200 || r.guard.asked > 1 {
				t.Errorf("%s: %s was taken", style, name)
			}
		}
		for _, tokens := range []string{"Tocsin-Subject", "close, tocsin_roles", "AUTHORIZATION", "keep-alive,x-original-uri,X-Forwarded-Uri"} {
			if w := r.ask("/check", append(own[:len(own):len(own)], "Connection", tokens)...); w.Code == 200 {
				t.Errorf("%s: Connection: %s was taken", style, tokens)
			}
		}
		if w := r.ask("/check", append(own[:len(own):len(own)], "Connection", "keep-alive, Upgrade", "X-Forwarded-For", "1.2.3.4", "X-Forwarded-Proto", "https", "X-Request-Id", "1", "Te", "trailers")...); w.Code != 200 {
			t.Errorf("%s: harmless headers: %d %s", style, w.Code, w.Body)
		}
	}
}

func TestOnlyListedProxiesMayAskAndNotWithABody(t *testing.T) {
	r := newRig(t, "caddy")
	for remote, status := range map[string]int{"127.0.0.1:1": 200, "127.8.8.8:1": 200, "[::ffff:127.0.0.1]:1": 200, "10.0.0.1:1": 403, "[::1]:1": 403, "": 403} {
		q := httptest.NewRequest("GET", "/check", nil)
		q.RemoteAddr = remote
		q.Header = header("X-Forwarded-Method", "GET", "X-Forwarded-Host", "a", "X-Forwarded-Uri", "/health")
		w := httptest.NewRecorder()
		if r.api.routes().ServeHTTP(w, q); w.Code != status {
			t.Errorf("%s: %d", remote, w.Code)
		}
	}
	q := httptest.NewRequest("POST", "/check", strings.NewReader("x"))
	q.RemoteAddr = "127.0.0.1:1"
	w := httptest.NewRecorder()
	if r.api.routes().ServeHTTP(w, q); w.Code != 400 {
		t.Error("a body:", w.Code)
	}
}

var anyRefusal = []error{
	verifier.ErrMissingCredential, verifier.ErrInvalidRequest, verifier.ErrMalformed, verifier.ErrInvalidToken, verifier.ErrExpired, verifier.ErrRevoked, verifier.ErrUnknownKey,
	verifier.ErrWrongAudience, verifier.ErrWrongMode, verifier.ErrForbidden, verifier.ErrQuotaExceeded, verifier.ErrStale, verifier.ErrAuthUnavailable,
}

// TestNginxGetsEveryRefusalInTwoSteps: 403 with the refusal in a header, and of that header the same answer that others get at once.
func TestNginxGetsEveryRefusalInTwoSteps(t *testing.T) {
	nginx, others := newRig(t, "nginx"), newRig(t, "haproxy")
	asked := []string{"X-Original-Method", "GET", "X-Original-Host", "a", "X-Original-URI", "/admin/x", "Authorization", "Api-Key k"}
	for _, refused := range anyRefusal {
		nginx.guard.err, others.guard.err = refused, fmt.Errorf("wrapped: %w", refused)
		first := nginx.ask("/check", asked...)
		second := nginx.ask("/refusal", "Tocsin-Refusal", first.Header().Get("Tocsin-Refusal"))
		want := others.ask("/check", asked...)
		if first.Code != 403 || first.Body.Len() > 0 || first.Header()["Www-Authenticate"] != nil {
			t.Errorf("%v: %d %s", refused, first.Code, first.Header())
		}
		if second.Code != want.Code || second.Body.String() != want.Body.String() || fmt.Sprint(second.Header()) != fmt.Sprint(want.Header()) {
			t.Errorf("%v: %d %s %s, want %d %s %s", refused, second.Code, second.Body, second.Header(), want.Code, want.Body, want.Header())
		}
		if !strings.Contains(want.Body.String(), string(verifier.CodeOf(refused))) {
			t.Errorf("%v: %s", refused, want.Body)
		}
	}
	if w := others.ask("/refusal", "Tocsin-Refusal", "x"); w.Code != 404 {
		t.Error("a path of nginx's only:", w.Code)
	}
}

func TestTheSecondQuestionNeverAccepts(t *testing.T) {
	r := newRig(t, "nginx")
	for _, text := range []string{"", "x", "e30", (&refusal{Status: 200, Body: []byte(`{}`)}).encode(), (&refusal{Status: 302, Body: []byte(`{}`)}).encode(), strings.Repeat("A", 4000)} {
		if w := r.ask("/refusal", "Tocsin-Refusal", text); w.Code != 503 || w.Header().Get("Retry-After") == "" {
			t.Errorf("%q: %d", text, w.Code)
		}
	}
}

// TestTraefikRecorded: what Traefik's ForwardAuth sends, by its documentation, and what it is answered; refusals go to the client as they are.
func TestTraefikRecorded(t *testing.T) {
	r := newRig(t, "traefik")
	recorded := []string{"X-Forwarded-Method", "DELETE", "X-Forwarded-Proto", "https", "X-Forwarded-Host", "api.example.com", "X-Forwarded-Port", "443", "X-Forwarded-Server", "edge-1",
		"X-Forwarded-Uri", "/v1/cars/7?force=1", "X-Forwarded-For", "203.0.113.7", "X-Real-Ip", "203.0.113.7", "User-Agent", "curl/8", "Accept", "*/*", "Accept-Encoding", "gzip"}
	if w := r.ask("/check", recorded...); w.Code != 401 || len(w.Header()["Www-Authenticate"]) != 2 || w.Header().Get("Content-Type") != "application/problem+json" {
		t.Error(w.Code, w.Header())
	}
	if w := r.ask("/check", append(recorded, "Authorization", bearer)...); w.Code != 200 || w.Header().Get("Tocsin-Subject") != "alice" {
		t.Error(w.Code, w.Body)
	}
	r.guard.err = verifier.ErrStale
	if w := r.ask("/check", append(recorded, "Authorization", bearer)...); w.Code != 503 || w.Header().Get("Retry-After") != "1" {
		t.Error(w.Code, w.Header())
	}
}

func TestRoutesThatNeedNothingAskNobody(t *testing.T) {
	r := newRig(t, "caddy")
	w := r.ask("/check", "X-Forwarded-Method", "GET", "X-Forwarded-Host", "a", "X-Forwarded-Uri", "/health", "Authorization", bearer)
	if w.Code != 200 || r.guard.asked != 0 || w.Header()["Tocsin-Subject"] != nil {
		t.Error(w.Code, r.guard.asked, w.Header())
	}
}

func TestAPrincipalThatNoHeaderCanHoldIsRefused(t *testing.T) {
	r := newRig(t, "caddy")
	for _, p := range []verifier.Principal{{}, {Subject: "a b"}, {Subject: "a", Plan: "x\ny"}, {Subject: "a,b"}, {Subject: "ä"}} {
		r.guard.principal = &p
		w := r.ask("/check", "X-Forwarded-Method", "GET", "X-Forwarded-Host", "a", "X-Forwarded-Uri", "/v1/x", "Authorization", bearer)
		if w.Code != http.StatusServiceUnavailable || w.Header()["Tocsin-Subject"] != nil {
			t.Errorf("%+v: %d", p, w.Code)
		}
	}
}

func TestProbesAndKeysAreAnswered(t *testing.T) {
	r := newRig(t, "envoy")
	for path, want := range map[string]string{"/healthz": `"ok"`, "/readyz": `"ready"`, "/.well-known/jwks.json": `"Ed25519"`, "/v1/verifier": `"state"`, "/metrics": "go_", "/check": "not_found"} {
		if path == "/metrics" {
			r.ask("/x")
			want = ""
		}
		if w := r.ask(path); !strings.Contains(w.Body.String(), want) || path == "/check" && w.Code != 404 {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
}

// FuzzRefusal: the second question makes a refusal of whatever it is given.
func FuzzRefusal(f *testing.F) {
	f.Add(badRequest(errBody).encode())
	f.Add("e30")
	f.Fuzz(func(t *testing.T, text string) {
		refused, err := decodeRefusal(text)
		if err != nil {
			return
		}
		w := httptest.NewRecorder()
		if refused.write(w); w.Code < 400 || w.Header().Get("Content-Type") != "application/problem+json" {
			t.Fatalf("%q: %d %s", text, w.Code, w.Header())
		}
	})
}

// FuzzHeaders: of whatever a client's header is called, one that some backend takes for ours or for a path is never let through.
func FuzzHeaders(f *testing.F) {
	for _, name := range []string{"Tocsin-Subject", "tocsin_subject", "X_Original_Url", "Accept", "X-Forwarded-Uri", "-"} {
		f.Add(name)
	}
	r := newRig(f, "nginx")
	f.Fuzz(func(t *testing.T, name string) {
		if name == "" {
			return
		}
		err := r.style.Check(http.Header{name: {"x"}})
		// As CGI, WSGI and PHP read it.
		cgi := strings.NewReplacer("-", "_", ".", "_", " ", "_").Replace(strings.ToUpper(name))
		if err == nil && (strings.HasPrefix(cgi, "TOCSIN_") || cgi == "X_ORIGINAL_URL" || cgi == "X_REWRITE_URL" || cgi == "X_FORWARDED_URI" || cgi == "X_HTTP_METHOD_OVERRIDE" ||
			cgi == "SCRIPT_NAME" || cgi == "PATH_INFO" || cgi == "FORWARDED" || strings.Contains(name, "_")) {
			t.Fatalf("%q was let through", name)
		}
	})
}
