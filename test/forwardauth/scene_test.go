// Package forwardauth runs forwardauth behind real proxies, with the configurations of deploy/forwardauth, before a backend that tells what it saw.
package forwardauth

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/tocsin-auth/tocsin/test/proxytest"
	"github.com/tocsin-auth/tocsin/test/system"
)

func TestMain(m *testing.M) {
	code := m.Run()
	system.RemoveBuild()
	os.Exit(code)
}

// routesFile is what every scene's sidecar is told.
const routesFile = `
routes:
- {name: health, backend: cars, kind: public, paths: [/health], methods: [GET, HEAD]}
- {name: admin, backend: cars, paths: [/admin/**], roles: [admin]}
- {name: elite, backend: cars, kind: elite, paths: [/elite]}
- {name: jobs, backend: cars, paths: [/jobs], quota: jobs}
- {name: cars, backend: cars, paths: [/v1/**], roles: [user]}
`

// sight is a request as the backend saw it.
type sight struct {
	Method, URI, Host string
	Header, Trailer   http.Header
	Body              int
}

// backend answers with what it saw, and remembers it.
type backend struct {
	*httptest.Server
	mu   sync.Mutex
	seen []sight // GUARDED_BY mu
}

func startBackend(t *testing.T) *backend {
	b := &backend{}
	b.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		s := sight{r.Method, r.RequestURI, r.Host, r.Header, r.Trailer, len(body)}
		b.note(s)
		if r.URL.Path == "/v1/forbidden" { // the backend's own refusals pass as they are
			w.WriteHeader(http.StatusForbidden)
		}
		if r.URL.Path == "/v1/broken" {
			w.WriteHeader(http.StatusInternalServerError)
		}
		json.NewEncoder(w).Encode(s)
	}))
	t.Cleanup(b.Close)
	return b
}

func (b *backend) addr() string { return b.Listener.Addr().String() }

func (b *backend) note(s sight) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.seen = append(b.seen, s)
}

// all returns what the backend saw since the last call.
func (b *backend) all() []sight {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := b.seen
	b.seen = nil
	return all
}

// last returns the last of all, nil if there is none.
func (b *backend) last() *sight {
	if all := b.all(); len(all) > 0 {
		return &all[len(all)-1]
	}
	return nil
}

// scene is authsvc, forwardauth, a proxy and a backend.
type scene struct {
	auth    *system.Auth
	sidecar *system.Process
	backend *backend
	proxy   system.API
	check   string // base URL of the sidecar
	tells   bool   // the proxy can tell a client about a quota when a request is accepted
	user    system.User
}

// startScene starts all but the proxy. The sidecar has its own user of the bus, that of resourcesvc.
func startScene(t *testing.T, style string, env map[string]string) *scene {
	t.Helper()
	s := &scene{auth: system.StartAuth(t, nil), backend: startBackend(t)}
	routes := filepath.Join(t.TempDir(), "routes.yaml")
	if err := os.WriteFile(routes, []byte(routesFile), 0o600); err != nil {
		t.Fatal(err)
	}
	all := s.auth.ResourceEnv(t)
	delete(all, "TOCSIN_DATA_DIR")
	maps.Copy(all, map[string]string{"TOCSIN_PROXY": style, "TOCSIN_ROUTES": routes, "TOCSIN_SERVICE": "resourcesvc",
		"TOCSIN_GRPC_ADDR": system.FreeAddr(t), "TOCSIN_LOG_LEVEL": "debug"})
	maps.Copy(all, env)
	s.check = "http://" + all["TOCSIN_HTTP_ADDR"]
	s.sidecar = system.Command(t, "forwardauth", all, "serve")
	s.sidecar.Start(t)
	s.sidecar.WaitReady(t, s.check+"/readyz")
	s.user = s.auth.Register(t, "alice")
	return s
}

// configure takes a file of deploy/forwardauth with the scene's addresses, and returns the proxy's.
func (s *scene) configure(t *testing.T, name string) (text, addr string) {
	t.Helper()
	addr = system.FreeAddr(t)
	return proxytest.Configuration(t, name, addr, strings.TrimPrefix(s.check, "http://"), s.backend.addr()), addr
}

// start runs a proxy until the test ends, and waits until it listens.
func (s *scene) start(t *testing.T, addr string, program string, args ...string) {
	t.Helper()
	proxytest.Start(t, addr, program, args...)
	s.proxy = system.API{Base: "http://" + addr}
}
