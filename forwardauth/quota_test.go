package main

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/peer"

	"github.com/tocsin-auth/tocsin/forwardauth/internal/identity"
	"github.com/tocsin-auth/tocsin/forwardauth/internal/routes"
	"github.com/tocsin-auth/tocsin/forwardauth/internal/style"
	"github.com/tocsin-auth/tocsin/pkg/verifier"
	"github.com/tocsin-auth/tocsin/pkg/verifier/verifiertest"
)

// meteredRig is one with a verifier that decides, on routes with quotas.
func meteredRig(t *testing.T, styleName string) (*rig, *verifiertest.Issuer) {
	t.Helper()
	table, err := routes.Load([]byte(`
routes:
- {name: jobs, backend: jobs, paths: [/jobs], quota: jobs}
- {name: strict, backend: jobs, paths: [/strict], quota: jobs, quota_mode: strict}
- {name: exact, backend: jobs, kind: elite, paths: [/exact], quota: jobs, quota_mode: exact}
`))
	if err != nil {
		t.Fatal(err)
	}
	issuer := verifiertest.New(t)
	s, _ := style.Named(styleName)
	registry := prometheus.NewRegistry()
	signer := identity.NewSigner(identity.NewKey(), "tocsin-forwardauth", identity.MaxLife)
	j, err := newJudge(judge{guard: issuer.Verifier, style: s, table: table, signer: signer, metrics: newMetrics(registry), log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return &rig{api: &api{judge: j, proxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, registry: registry, jwks: signer.JWKS()}}, issuer
}

func TestQuotasAreSpentAndToldBehindEveryProxy(t *testing.T) {
	for _, proxy := range []string{"nginx", "caddy"} {
		for _, path := range []string{"/jobs", "/strict", "/exact"} {
			r, issuer := meteredRig(t, proxy)
			caller := issuer.Token(verifier.Principal{})
			issuer.Limit(caller.Subject, "jobs", 1)
			names := r.style
			ask := func() (int, http.Header) {
				w := r.ask("/check", names.Method, "GET", names.Host, "a", names.URI, path, "Authorization", caller.Authorization())
				if refused := w.Header().Get(refusalHeader); refused != "" {
					w = r.ask("/refusal", refusalHeader, refused)
				}
				return w.Code, w.Header()
			}
			if code, h := ask(); code != 200 || h.Get("RateLimit") != `"jobs-60";r=0;t=55` || h.Get("RateLimit-Policy") != `"jobs-60";q=1;w=60` {
				t.Errorf("%s %s: %d %v", proxy, path, code, h)
			}
			if code, h := ask(); code != 429 || h.Get("Retry-After") != "55" || h.Get("RateLimit") != `"jobs-60";r=0;t=55` || h.Get("RateLimit-Policy") != `"jobs-60";q=1;w=60` {
				t.Errorf("%s %s: %d %v", proxy, path, code, h)
			}
		}
	}
}

func TestEnvoyTellsTheClientOfItsQuotaAndNotTheBackend(t *testing.T) {
	r, issuer := meteredRig(t, "envoy")
	caller := issuer.Token(verifier.Principal{})
	issuer.Limit(caller.Subject, "jobs", 1)
	ask := func() *authv3.CheckResponse {
		ctx := peer.NewContext(context.Background(), &peer.Peer{Addr: addrOf("127.0.0.1:1")})
		answer, err := envoy{api: r.api}.Check(ctx, &authv3.CheckRequest{Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{
			Http: &authv3.AttributeContext_HttpRequest{Method: "GET", Host: "a", Path: "/jobs", Headers: map[string]string{"authorization": caller.Authorization()}},
		}}})
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
	ok := ask().GetOkResponse()
	if len(ok.GetResponseHeadersToAdd()) != 2 || ok.ResponseHeadersToAdd[0].Header.Value != `"jobs-60";r=0;t=55` {
		t.Errorf("%v", ok)
	}
	for _, h := range ok.GetHeaders() {
		if h.Header.Key == "ratelimit" {
			t.Error("the backend is told")
		}
	}
	told := map[string]string{}
	denied := ask().GetDeniedResponse()
	for _, h := range denied.GetHeaders() {
		told[h.Header.Key] = h.Header.Value
	}
	if denied.GetStatus().GetCode() != 429 || told["retry-after"] != "55" || told["ratelimit"] == "" || told["ratelimit-policy"] == "" {
		t.Errorf("%v", denied)
	}
}

type addrOf string

func (a addrOf) Network() string { return "tcp" }
func (a addrOf) String() string  { return string(a) }
