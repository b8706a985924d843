package forwardauth

import (
	"bufio"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/test/machine"
	"github.com/tocsin-auth/tocsin/test/system"
)

// raw sends bytes as they are, and returns the status of the first answer; 0 if there was none.
func (s *scene) raw(t *testing.T, request string) (int, string) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.proxy.Base, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(machine.Patience))
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, ""
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(res.Body)
	return res.StatusCode, string(body)
}

// line is a request of the user with some header lines more.
func (s *scene) line(method, uri string, headers ...string) string {
	lines := append([]string{method + " " + uri + " HTTP/1.1", "Host: a.example", "Authorization: " + s.user.Auth(), "Connection: close"}, headers...)
	return strings.Join(lines, "\r\n") + "\r\n\r\n"
}

func nasty(t *testing.T) (all []string) {
	t.Helper()
	root, err := system.Root()
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(filepath.Join(root, "forwardauth", "testdata", "nasty.txt"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(content)) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "#") {
			continue
		}
		uri, err := strconv.Unquote(line)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, uri)
	}
	return all
}

// refusesNastyPaths: what a proxy has turned into another, harmless path before it asked may pass, as long as the backend sees just
// what was judged.
func (s *scene) refusesNastyPaths(t *testing.T) {
	refused, changed := 0, []string{}
	for _, uri := range nasty(t) {
		s.backend.last()
		status, body := s.raw(t, s.line("GET", uri))
		seen := s.backend.last()
		switch {
		case seen == nil && (status == 0 || status >= 400):
			refused++
		case seen != nil && s.judged(t, seen):
			changed = append(changed, fmt.Sprintf("%q as %q", uri, seen.URI))
		default:
			t.Errorf("%q: %d %s, and the backend saw %v", uri, status, body, seen)
		}
	}
	t.Logf("%d refused; changed by the proxy before it asked: %s", refused, strings.Join(changed, ", "))
}

// judged reports whether the request that the backend saw is the one that its identity token is for.
func (s *scene) judged(t *testing.T, seen *sight) bool {
	t.Helper()
	claims := s.identity(t, seen)
	path, _, _ := strings.Cut(seen.URI, "?")
	host, _, _ := strings.Cut(strings.ToLower(seen.Host), ":")
	return claims["htm"] == seen.Method && claims["path"] == path && claims["host"] == host
}

// showsTheJudgedHost: of a Host that one program reads as a list and another as a name, the backend sees nothing else than was judged.
func (s *scene) showsTheJudgedHost(t *testing.T) {
	for _, host := range []string{"a.example", "A.Example:81", "admin.example,a.example", "admin.example, a.example", "a.example.", "", "a b", "a.example/x"} {
		s.backend.last()
		status, body := s.raw(t, strings.Replace(s.line("GET", "/v1/cars"), "Host: a.example", "Host: "+host, 1))
		if seen := s.backend.last(); seen != nil && !s.judged(t, seen) || seen == nil && status < 400 {
			t.Errorf("Host %q: %d %s, and the backend saw %+v", host, status, body, seen)
		}
	}
}

// identifiesLongRequests: at the length where the identity no longer fits into some buffer, a request is refused as too long or has it.
func (s *scene) identifiesLongRequests(t *testing.T) {
	for _, length := range []int{2000, 4000, 6000, 7500, 8100, 8192, 8193} {
		uri := "/v1/" + strings.Repeat("&", length-len("/v1/")) // which JSON for HTML writes with six bytes
		s.backend.last()
		status, body := s.raw(t, s.line("GET", uri))
		seen := s.backend.last()
		switch {
		case seen != nil && (status != 200 || !s.judged(t, seen)):
			t.Errorf("%d bytes: %d, and the backend saw %v", length, status, seen.Header)
		case seen == nil && (length <= 7500 || status != 400 && status != 414):
			t.Errorf("%d bytes: %d %s", length, status, body)
		}
	}
}

// survivesManyHeaders: a request with very many lines is refused or judged, and the proxy lives.
func (s *scene) survivesManyHeaders(t *testing.T) {
	for _, lines := range []int{70, 90, 95, 96, 97, 98, 99, 100, 200} {
		many := make([]string, lines)
		for i := range many {
			many[i] = fmt.Sprintf("A%d: x", i)
		}
		s.backend.last()
		status, _ := s.raw(t, s.line("GET", "/v1/cars", many...))
		if seen := s.backend.last(); status == 0 || seen == nil && status < 400 || seen != nil && !s.judged(t, seen) {
			t.Errorf("%d lines: %d", lines, status)
		}
	}
	s.proxy.Must(t, 200, "GET", "/v1/cars", s.user.Auth(), nil)
}

func (s *scene) showsTheJudgedPath(t *testing.T) {
	for _, uri := range []string{"/v1/cars", "/v1/cars/", "/v1/a%20b", "/v1/users/a%40b.c", "/v1/stra%C3%9Fe?q=%2e%2e/..", "/v1/x:y,z=(a)!'*$&+@~", "/v1/...b"} {
		s.backend.last()
		status, body := s.raw(t, s.line("PUT", uri, "Content-Length: 2")+"{}")
		seen := s.backend.last()
		if status != 200 || seen == nil || seen.URI != uri || seen.Body != 2 || !s.judged(t, seen) {
			t.Errorf("%s: %d %s, the backend saw %+v", uri, status, body, seen)
		}
	}
}

// stripsSpoofedHeaders: whatever name a client gives, the backend gets only what the sidecar said.
func (s *scene) stripsSpoofedHeaders(t *testing.T) {
	for _, name := range []string{"Tocsin-Subject", "tocsin-subject", "TOCSIN-SUBJECT", "Tocsin_Subject", "tocsin_Roles", "Tocsin-Roles", "Tocsin-Actor", "Tocsin_Actor",
		"Tocsin-Identity", "Tocsin.Actor", "Tocsin-Key-Id", "Tocsin-Key_Id", "Tocsin-Refusal", "Tocsin-Anything"} {
		for _, lines := range [][]string{{name + ": spoofed"}, {name + ": spoofed", name + ": spoofed"}, {name + ": ", name + ": spoofed"}} {
			for _, path := range []string{"/v1/cars", "/health"} {
				s.backend.last()
				status, _ := s.raw(t, s.line("GET", path, lines...))
				s.mustNotSee(t, fmt.Sprint(path, lines), status)
			}
		}
	}
	for _, tokens := range []string{"Tocsin-Subject", "close, tocsin-roles", "Tocsin-Identity, Tocsin-Mode", "authorization"} {
		s.backend.last()
		s.raw(t, strings.Replace(s.line("GET", "/v1/cars"), "Connection: close", "Connection: "+tokens, 1))
		if seen := s.backend.last(); seen != nil && (seen.Header.Get("Tocsin-Subject") != s.user.ID || seen.Header.Get("Tocsin-Roles") == "" || seen.Header.Get("Tocsin-Mode") == "" || !s.judged(t, seen)) {
			t.Errorf("Connection: %s took the identity away: %v", tokens, seen.Header)
		}
	}
}

// stripsAnnouncedTrailers: they come after the judgement, and some backends merge them into the headers.
func (s *scene) stripsAnnouncedTrailers(t *testing.T) {
	for _, announced := range []string{"Tocsin-Subject", "tocsin_subject", "X-Checksum", "X-Checksum, Tocsin-Subject"} {
		s.stripsTrailers(t, "Trailer: "+announced)
	}
}

func (s *scene) stripsTrailers(t *testing.T, lines ...string) {
	t.Helper()
	s.backend.last()
	body := "3\r\nabc\r\n0\r\nTocsin-Subject: spoofed\r\nX-Checksum: spoofed\r\n\r\n"
	status, _ := s.raw(t, s.line("POST", "/v1/cars", append(lines, "Transfer-Encoding: chunked")...)+body)
	s.mustNotSee(t, fmt.Sprint("trailer", lines), status)
}

func (s *scene) mustNotSee(t *testing.T, what string, status int) {
	t.Helper()
	seen := s.backend.last()
	if seen == nil {
		if status < 400 {
			t.Errorf("%s: %d without the backend", what, status)
		}
		return
	}
	all := maps.Clone(seen.Header)
	maps.Copy(all, seen.Trailer)
	for name, values := range all {
		if strings.Contains(strings.Join(values, ","), "spoofed") {
			t.Errorf("%s: the backend saw %s: %q", what, name, values)
		}
	}
}

func (s *scene) refusesSteeringHeaders(t *testing.T) {
	for _, name := range []string{"X-Original-URL", "X-Rewrite-URL", "X-Original-URI", "X_Original_URI", "X-Original-Method", "X-Forwarded-Uri", "X-Forwarded-Method",
		"X_Forwarded_Uri", "X-Forwarded-Host", "X-HTTP-Method-Override", "X-Method-Override", "X-Original-Host",
		"SCRIPT_NAME", "Script-Name", "X-Script-Name", "PATH_INFO", "X-Forwarded-Prefix", "X-Host", "X-HTTP-Host-Override", "Forwarded", "Any_Thing"} {
		for _, lines := range [][]string{{name + ": /spoofed"}, {name + ": /spoofed", name + ": /spoofed"}} {
			s.backend.last()
			status, _ := s.raw(t, s.line("GET", "/v1/cars", lines...))
			s.mustNotSee(t, fmt.Sprint(lines), status)
		}
		// What a proxy says of a request that isn't allowed can't be overruled.
		s.backend.last()
		s.raw(t, s.line("GET", "/admin/x", name+": /v1/cars"))
		if seen := s.backend.last(); seen != nil {
			t.Errorf("%s opened /admin/x", name)
		}
	}
}

// smugglesNothing: of bodies whose length is given in two ways the second request, to where the user may not go, is never seen.
func (s *scene) smugglesNothing(t *testing.T) {
	inner := "GET /admin/smuggled HTTP/1.1\r\nHost: a.example\r\n\r\n"
	for name, request := range map[string]string{
		"CL.TE":     s.line("POST", "/v1/cars", "Content-Length: "+strconv.Itoa(len(inner)+5), "Transfer-Encoding: chunked") + "0\r\n\r\n" + inner,
		"TE.CL":     s.line("POST", "/v1/cars", "Transfer-Encoding: chunked", "Content-Length: 4") + fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(inner), inner),
		"TE.TE":     s.line("POST", "/v1/cars", "Transfer-Encoding: chunked", "Transfer-Encoding: identity") + "0\r\n\r\n" + inner,
		"TE x":      s.line("POST", "/v1/cars", "Transfer-Encoding: xchunked", "Content-Length: 5") + "0\r\n\r\n" + inner,
		"TE space":  s.line("POST", "/v1/cars", "Transfer-Encoding : chunked", "Content-Length: 5") + "0\r\n\r\n" + inner,
		"two CL":    s.line("POST", "/v1/cars", "Content-Length: 0", "Content-Length: "+strconv.Itoa(len(inner))) + inner,
		"CL list":   s.line("POST", "/v1/cars", "Content-Length: 0, "+strconv.Itoa(len(inner))) + inner,
		"CL plus":   s.line("POST", "/v1/cars", "Content-Length: +"+strconv.Itoa(len(inner))) + inner,
		"obs-fold":  s.line("POST", "/v1/cars", "Transfer-Encoding:\r\n chunked", "Content-Length: 5") + "0\r\n\r\n" + inner,
		"GET body":  s.line("GET", "/v1/cars", "Content-Length: "+strconv.Itoa(len(inner))) + inner,
		"bare LF":   "GET /v1/cars HTTP/1.1\nHost: a.example\nAuthorization: " + s.user.Auth() + "\nConnection: close\nX: y\n\n" + inner,
		"two hosts": s.line("GET", "/v1/cars", "Host: b.example"),
	} {
		request = strings.Replace(request, "Connection: close", "Connection: keep-alive", 1)
		s.backend.last()
		s.raw(t, request)
		for _, seen := range s.backend.all() {
			if strings.Contains(seen.URI, "smuggled") || !s.judged(t, &seen) {
				t.Errorf("%s: the backend saw %+v", name, seen)
			}
		}
	}
}

// identity checks the token that the backend got, by the key that the sidecar publishes, and returns its claims.
func (s *scene) identity(t *testing.T, seen *sight) map[string]any {
	t.Helper()
	var set struct {
		Keys []struct{ Kid, X string }
	}
	system.API{Base: s.check}.Must(t, 200, "GET", "/.well-known/jwks.json", "", nil).Into(t, &set)
	parts := strings.Split(seen.Header.Get("Tocsin-Identity"), ".")
	if len(parts) != 3 || len(set.Keys) != 1 {
		t.Fatalf("token %q, keys %v", seen.Header["Tocsin-Identity"], set)
	}
	part := func(text string) []byte {
		b, err := base64.RawURLEncoding.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	if !ed25519.Verify(part(set.Keys[0].X), []byte(parts[0]+"."+parts[1]), part(parts[2])) {
		t.Fatal("the signature is wrong")
	}
	var claims map[string]any
	if err := json.Unmarshal(part(parts[1]), &claims); err != nil {
		t.Fatal(err)
	}
	if now := float64(time.Now().Unix()); claims["exp"].(float64) > now+30 || claims["exp"].(float64) <= now {
		t.Errorf("it ends at %v, now is %v", claims["exp"], now)
	}
	return claims
}
