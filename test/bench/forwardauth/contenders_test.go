package forwardauth

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/test/proxytest"
	"github.com/tocsin-auth/tocsin/test/system"
)

// roleVariable makes a child of this test one of the handlers below: each is a process of its own, as it would be.
const roleVariable = "TOCSIN_BENCH_HANDLER"

func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		serve(role)
	}
	code := m.Run()
	system.RemoveBuild()
	os.Exit(code)
}

// serve never returns.
func serve(role string) {
	handler := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	switch role {
	case "backend":
		handler = func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello\n") }
	case "introspection":
		handler = introspect(os.Getenv("TOCSIN_URL"), os.Getenv("TOCSIN_KEY"))
	}
	fmt.Fprintln(os.Stderr, http.ListenAndServe(os.Getenv("TOCSIN_HTTP_ADDR"), handler))
	os.Exit(1)
}

// introspect asks authsvc about the token of each request (RFC 7662), over connections that are kept.
func introspect(base, key string) http.HandlerFunc {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 256}, Timeout: 10 * time.Second}
	return func(w http.ResponseWriter, r *http.Request) {
		token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		q, err := http.NewRequestWithContext(r.Context(), "POST", base+"/oauth2/introspect", strings.NewReader(url.Values{"token": {token}}.Encode()))
		if err != nil {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		q.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		q.Header.Set("Authorization", "Api-Key "+key)
		res, err := client.Do(q)
		if err != nil {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		defer res.Body.Close()
		body, _ := io.ReadAll(res.Body)
		if !strings.Contains(string(body), `"active":true`) {
			w.WriteHeader(http.StatusForbidden)
		}
	}
}

// child starts this test's program as one of the handlers.
func child(t *testing.T, role string, env ...string) (addr string) {
	t.Helper()
	addr = system.FreeAddr(t)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), append(env, roleVariable+"="+role, "TOCSIN_HTTP_ADDR="+addr)...)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return addr
}

// contender is one nginx with what it asks behind it.
type contender struct {
	name, addr string
	path       func(n int) string
}

func onePath(int) string { return "/v1/cars" }

func otherPaths(n int) string { return fmt.Sprintf("/v1/cars/%d", n) }

// The contenders' names.
const (
	empty         = "an empty Go handler"
	ours          = "forwardauth, one path"
	signing       = "forwardauth, another path each time (a signature each)"
	introspection = "introspection at authsvc"
)

// contenders starts everything: each has an nginx of its own, with the shipped configuration and one worker, before the same backend.
func contenders(t *testing.T) (all []contender, user system.User) {
	t.Helper()
	program := proxytest.Installed(t, "nginx")
	auth := system.StartAuth(t, map[string]string{"TOCSIN_ACCESS_TTL": "4h", "TOCSIN_LOG_LEVEL": "warn"})
	user = auth.Register(t, "alice")
	backend := child(t, "backend")
	behind := func(sidecar string) string {
		addr := system.FreeAddr(t)
		proxytest.Start(t, addr, program, proxytest.NginxArguments(t, proxytest.Configuration(t, "nginx/tocsin.conf", addr, sidecar, backend))...)
		return addr
	}
	forwarded := behind(startForwardauth(t, auth))
	return []contender{
		{empty, behind(child(t, "empty")), onePath},
		{ours, forwarded, onePath},
		{signing, forwarded, otherPaths},
		{introspection, behind(child(t, "introspection", "TOCSIN_URL="+auth.Base, "TOCSIN_KEY="+user.LiveKey)), onePath},
	}, user
}

func startForwardauth(t *testing.T, auth *system.Auth) (addr string) {
	t.Helper()
	routes := t.TempDir() + "/routes.yaml"
	if err := os.WriteFile(routes, []byte("routes: [{name: cars, backend: cars, paths: [/v1/**], roles: [user]}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	env := auth.ResourceEnv(t)
	env["TOCSIN_PROXY"], env["TOCSIN_ROUTES"], env["TOCSIN_SERVICE"] = "nginx", routes, "resourcesvc"
	delete(env, "TOCSIN_DATA_DIR")
	p := system.Command(t, "forwardauth", env, "serve")
	p.Start(t)
	p.WaitReady(t, "http://"+env["TOCSIN_HTTP_ADDR"]+"/readyz")
	return env["TOCSIN_HTTP_ADDR"]
}
