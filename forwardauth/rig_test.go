package main

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/tocsin-auth/tocsin/forwardauth/internal/identity"
	"github.com/tocsin-auth/tocsin/forwardauth/internal/routes"
	"github.com/tocsin-auth/tocsin/forwardauth/internal/style"
	"github.com/tocsin-auth/tocsin/pkg/verifier"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testRoutes = `
routes:
- {name: health, backend: cars, kind: public, paths: [/health]}
- {name: admin, backend: cars, paths: [/admin/**], roles: [admin]}
- {name: elite, backend: cars, kind: elite, paths: [/elite]}
- {name: cars, backend: cars, paths: [/v1/**], any_role: [[user, guest]], max_staleness: 5s, on_stale: ask}
`

// fakeGuard is a real verifier in all but its decisions.
type fakeGuard struct {
	*verifier.Verifier
	principal *verifier.Principal
	err       error
	asked     int
}

func (g *fakeGuard) Verify(_ context.Context, c verifier.Credential, _ *verifier.Route) (*verifier.Principal, error) {
	g.asked++
	return g.principal, g.err
}

func (g *fakeGuard) Ready() error { return nil }

// rig is the program without its network.
type rig struct {
	*api
	guard *fakeGuard
}

func newRig(t testing.TB, styleName string) *rig {
	t.Helper()
	v, err := verifier.New(t.Context(), verifier.Config{Issuer: "https://auth.example", Audience: "tocsin", Service: "forwardauth", NATSURL: "nats://127.0.0.1:1"},
		verifier.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { v.Close() })
	table, err := routes.Load([]byte(testRoutes))
	if err != nil {
		t.Fatal(err)
	}
	g := &fakeGuard{Verifier: v, principal: &verifier.Principal{Subject: "alice", Roles: []string{"user", "editor"}, Mode: "live", Method: verifier.MethodBearer,
		SessionID: "s1", Plan: "free", Expires: time.Now().Add(time.Hour)}}
	s, _ := style.Named(styleName)
	registry := prometheus.NewRegistry()
	signer := identity.NewSigner(identity.NewKey(), "tocsin-forwardauth", identity.MaxLife)
	j, err := newJudge(judge{guard: g, style: s, table: table, signer: signer, metrics: newMetrics(registry), log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return &rig{&api{judge: j, proxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, registry: registry, jwks: signer.JWKS()}, g}
}

// ask sends a proxy's question: its path and headers, names and values in turn.
func (r *rig) ask(path string, headers ...string) *httptest.ResponseRecorder {
	q := httptest.NewRequest("GET", path, nil)
	q.RemoteAddr = "127.0.0.1:4711"
	for i := 0; i < len(headers); i += 2 {
		q.Header.Add(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	r.api.routes().ServeHTTP(w, q)
	return w
}

const bearer = "Bearer aaaaaaaaaaaa"

func header(pairs ...string) http.Header {
	h := http.Header{}
	for i := 0; i < len(pairs); i += 2 {
		h[pairs[i]] = append(h[pairs[i]], pairs[i+1])
	}
	return h
}
