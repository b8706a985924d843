package forwardauth

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

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
}

// refusesWhoComesAround: who reaches the service without the proxy gets nowhere, with any headers; nor does a token of another request.
func (s *scene) refusesWhoComesAround(t *testing.T, service system.API) {
	spy := system.FreeAddr(t)
	s.start(t, spy, proxytest.Installed(t, "nginx"), proxytest.NginxArguments(t, proxytest.Configuration(t, "nginx/tocsin.conf", spy, strings.TrimPrefix(s.check, "http://"), s.backend.addr()))...)
	_, seen := s.ask(t, "GET", "/v1/notes", s.user.Auth())
	if seen == nil {
		t.Fatal("no token to steal")
	}
	s.proxy = service
	stolen := []string{"Tocsin-Subject: " + s.user.ID, "Tocsin-Roles: user", "Tocsin-Mode: live", "Tocsin-Identity: " + seen.Header.Get("Tocsin-Identity")}
	admin := append([]string{}, stolen...)
	admin[1] = "Tocsin-Roles: admin"
	broken := append([]string{}, stolen...)
	broken[3] = stolen[3][:len(stolen[3])-4] + "AAAA"
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
		"authsvc's own token":     {"GET", append(stolen[:3:3], "Tocsin-Identity: "+s.user.Token), 401},
	} {
		if status, body := s.raw(t, s.line(c.method, "/v1/notes", c.lines...)); status != c.status {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
}
