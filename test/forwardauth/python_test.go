package forwardauth

import (
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/test/machine"
	"github.com/tocsin-auth/tocsin/test/proxytest"
	"github.com/tocsin-auth/tocsin/test/system"
)

// TestTheExamplesInPython: a service and a worker of the standard library only, with the shipped routes, behind nginx.
func TestTheExamplesInPython(t *testing.T) {
	nginx, python := proxytest.Installed(t, "nginx"), proxytest.Installed(t, "python3")
	root, err := system.Root()
	if err != nil {
		t.Fatal(err)
	}
	examples := filepath.Join(root, "deploy", "forwardauth", "examples")
	s := startScene(t, "nginx", map[string]string{"TOCSIN_ROUTES": filepath.Join(root, "deploy", "forwardauth", "routes.yaml")})
	addr := system.FreeAddr(t)
	_, port, _ := strings.Cut(addr, ":")
	proxytest.Start(t, addr, python, "-B", filepath.Join(examples, "service.py"), "--port", port, "--sidecar", s.check)
	front := system.FreeAddr(t)
	s.start(t, front, nginx, proxytest.NginxArguments(t, proxytest.Configuration(t, "nginx/tocsin.conf", front, strings.TrimPrefix(s.check, "http://"), addr))...)

	worker := func(key string, notes ...string) (string, error) {
		file := filepath.Join(t.TempDir(), "key")
		if err := os.WriteFile(file, []byte(key+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(python, append([]string{"-B", filepath.Join(examples, "worker.py"), "--url", s.proxy.Base, "--key-file", file}, notes...)...)
		out, err := cmd.CombinedOutput()
		return strings.TrimSpace(string(out)), err
	}
	if out, err := worker(s.user.LiveKey, "one", "two"); err != nil || out != `{"subject": "`+s.user.ID+`", "notes": ["one", "two"]}` {
		t.Fatal(out, err)
	}
	bob := s.auth.Register(t, "bob")
	if out, err := worker(bob.LiveKey); err != nil || !strings.Contains(out, `"notes": []`) {
		t.Error("another user sees", out, err)
	}
	if out, err := worker(s.user.TestKey); err == nil || !strings.Contains(out, "refused: 401 wrong_mode") {
		t.Error(out, err)
	}
	if got := s.proxy.Do(t, "DELETE", "/v1/notes", s.user.Auth(), nil); got.Status != 403 || got.Code() != "forbidden" {
		t.Error("delete without the role:", got)
	}
	if got := s.proxy.Do(t, "DELETE", "/v1/notes", s.auth.Admin(t).Auth(), nil); got.Status != 200 {
		t.Error("delete:", got)
	}
	s.refusesWhoComesAround(t, system.API{Base: "http://" + addr})
	s.refusesWhatItCannotRead(t)
}

// refusesAnotherHost: a token isn't for all names of a service.
func (s *scene) refusesAnotherHost(t *testing.T, stolen []string) {
	t.Helper()
	for host, want := range map[string]int{"b.example": 401, "a.example.": 401, "A.example:81": 200} {
		if status, body := s.raw(t, strings.Replace(s.line("GET", "/v1/notes", stolen...), "Host: a.example", "Host: "+host, 1)); status != want {
			t.Errorf("%s: %d %s", host, status, body)
		}
	}
}

// steal returns the headers that a backend gets with a request of the user to /v1/notes.
func (s *scene) steal(t *testing.T, method string) []string {
	t.Helper()
	s.raw(t, s.line(method, "/v1/notes", "Content-Length: 0"))
	seen := s.backend.last()
	if seen == nil {
		t.Fatal("no token to steal")
	}
	return []string{"Tocsin-Subject: " + s.user.ID, "Tocsin-Roles: user", "Tocsin-Mode: live", "Tocsin-Identity: " + seen.Header.Get("Tocsin-Identity")}
}

// refusesWhatItCannotRead: a body that the service doesn't understand ends the connection, so that nothing in it becomes a request.
func (s *scene) refusesWhatItCannotRead(t *testing.T) {
	inner := "GET /healthz HTTP/1.1\r\nHost: a.example\r\n\r\n"
	for line, status := range map[string]int{
		"Transfer-Encoding: chunked": 411, "Transfer-Encoding: x": 411, "Content-Length: x": 400, "Content-Length: -1": 400, "Content-Length: +1": 400,
		"Content-Length: 0\r\nContent-Length: 9": 400, "Content-Length: 0, 9": 400, "Content-Length: 65537": 413, "Content-Length: " + strings.Repeat("9", 5000): 413,
	} {
		answers := s.rawAll(t, "POST /v1/notes HTTP/1.1\r\nHost: a.example\r\n"+line+"\r\n\r\n"+inner)
		if !strings.HasPrefix(answers, fmt.Sprintf("HTTP/1.1 %d ", status)) || strings.Count(answers, "HTTP/1.1 ") != 1 {
			t.Errorf("%.60s: %.300q", line, answers)
		}
	}
}

// rawAll sends bytes as they are, and returns all that comes until the service ends the connection.
func (s *scene) rawAll(t *testing.T, request string) string {
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
	all, _ := io.ReadAll(conn) // a reset is an end too: not all of the request was read
	return string(all)
}

// refusesWhoComesAround: who reaches the service without the proxy gets nowhere, with any headers; nor does a token of another request.
func (s *scene) refusesWhoComesAround(t *testing.T, service system.API) {
	spy := system.FreeAddr(t)
	s.start(t, spy, proxytest.Installed(t, "nginx"), proxytest.NginxArguments(t, proxytest.Configuration(t, "nginx/tocsin.conf", spy, strings.TrimPrefix(s.check, "http://"), s.backend.addr()))...)
	stolen, posting := s.steal(t, "GET"), s.steal(t, "POST")
	s.proxy = service
	admin := append([]string{}, stolen...)
	admin[1] = "Tocsin-Roles: admin"
	broken := append([]string{}, stolen...)
	broken[3] = stolen[3][:len(stolen[3])-4] + "AAAA"
	post := func(body string) []string {
		return append(posting[:4:4], fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(body), body))
	}
	for name, c := range map[string]struct {
		method string
		lines  []string
		status int
	}{
		"the request itself":      {"GET", stolen, 200},
		"nothing":                 {"GET", nil, 401},
		"headers without a token": {"GET", stolen[:3], 401},
		"another method":          {"POST", append(stolen, "Content-Length: 0"), 401},
		"other roles":             {"GET", admin, 401},
		"a broken signature":      {"GET", broken, 401},
		"two tokens":              {"GET", append(stolen, stolen[3]), 401},
		"alg none":                {"GET", append(stolen[:3:3], "Tocsin-Identity: eyJhbGciOiJub25lIn0.e30."), 401},
		"two hosts":               {"GET", append(stolen, "Host: b.example"), 401},
		"a good body":             {"POST", post(`{"text": "three"}`), 201},
		"no JSON":                 {"POST", post("{"), 400},
		"nested JSON":             {"POST", post(strings.Repeat("[", 60000)), 400},
		"a list":                  {"POST", post("[]"), 400},
		"no text":                 {"POST", post(`{"text": 3}`), 400},
		"a nested token":          {"GET", append(stolen[:3:3], "Tocsin-Identity: "+base64.RawURLEncoding.EncodeToString([]byte(strings.Repeat("[", 40000)))+".e30."), 401},
		"authsvc's own token":     {"GET", append(stolen[:3:3], "Tocsin-Identity: "+s.user.Token), 401},
	} {
		if status, body := s.raw(t, s.line(c.method, "/v1/notes", c.lines...)); status != c.status {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
	s.refusesAnotherHost(t, stolen)
}
