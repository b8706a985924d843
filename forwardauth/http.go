package main

import (
	"errors"
	"net/http"
	"net/netip"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/tocsin-auth/tocsin/forwardauth/internal/style"
)

// api answers proxies, probes and who wants the key.
type api struct {
	*judge
	proxies  []netip.Prefix // who may ask
	registry *prometheus.Registry
	jwks     []byte
}

func (a *api) routes() http.Handler {
	mux := http.NewServeMux()
	if a.style.Only403 {
		mux.HandleFunc("/refusal", a.fromProxy(a.refusal))
	}
	mux.HandleFunc("GET /.well-known/jwks.json", a.keys)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, []byte(`{"status":"ok"}`+"\n")) })
	mux.HandleFunc("GET /readyz", a.readyz)
	mux.HandleFunc("GET /v1/verifier", a.state)
	mux.Handle("GET /metrics", promhttp.HandlerFor(a.registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		newRefusal(http.StatusNotFound, "not_found", "there is no such path").write(w)
	})
	if a.style.URI == "" {
		return mux
	}
	check := a.fromProxy(a.check)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { // before the mux, since nearly all are of this kind
		if r.URL.Path == "/check" {
			check(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// fromProxy lets the listed proxies ask, and takes no bodies: a proxy that sends the client's has been told wrongly.
func (a *api) fromProxy(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !a.isProxy(r.RemoteAddr) {
			a.log.WarnContext(r.Context(), "a question of who isn't a proxy (TOCSIN_PROXY_ADDRS)", "remote", r.RemoteAddr)
			newRefusal(http.StatusForbidden, "forbidden", "only the proxy may ask").write(w)
			return
		}
		if r.ContentLength != 0 || len(r.TransferEncoding) > 0 {
			a.answer(w, badRequest(errBody))
			return
		}
		next(w, r)
	}
}

var errBody = errors.New("the question must have no body")

func (a *api) isProxy(remote string) bool {
	peer, err := netip.ParseAddrPort(remote)
	if err != nil {
		return false
	}
	addr := peer.Addr().Unmap().WithZone("")
	for _, p := range a.proxies {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// check answers 200 with the identity in headers, or the refusal.
func (a *api) check(w http.ResponseWriter, r *http.Request) {
	method, host, uri, err := a.style.Read(r.Header)
	if err != nil {
		a.log.WarnContext(r.Context(), "misconfigured proxy", "style", a.style.Name, "err", err)
		a.answer(w, badRequest(style.ErrProxy))
		return
	}
	headers, refused := a.decide(r.Context(), question{method, host, uri, r.Header})
	if refused != nil {
		a.answer(w, refused)
		return
	}
	h := w.Header()
	h["Cache-Control"], h["Tocsin-Decision"] = noStore, accepts
	for _, one := range headers {
		h[one.Name] = []string{one.Value}
	}
	w.WriteHeader(http.StatusOK)
}

var (
	noStore = []string{"no-store"}
	// accepts tells an acceptance from the 200 of another program at our address, to proxies that can look.
	accepts = []string{"accepted"}
)

// answer sends a refusal in the way that the proxy understands.
func (a *api) answer(w http.ResponseWriter, refused *refusal) {
	if !a.style.Only403 {
		refused.write(w)
		return
	}
	w.Header().Set(refusalHeader, refused.encode())
	w.Header()["Cache-Control"] = noStore
	w.WriteHeader(http.StatusForbidden)
}

// refusal is nginx's second question: it shows the answer to the first.
func (a *api) refusal(w http.ResponseWriter, r *http.Request) {
	refused, err := decodeRefusal(r.Header.Get(refusalHeader))
	if err != nil {
		refused = newRefusal(http.StatusServiceUnavailable, "auth_unavailable", "the request can't be judged right now")
		refused.RetryAfter = "1"
	}
	refused.write(w)
}

// keys may be cached for as long as a JWT lives at most; a kid that isn't known is a reason to ask again.
func (a *api) keys(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Cache-Control", "max-age=30")
	writeJSON(w, a.jwks)
}

func (a *api) readyz(w http.ResponseWriter, _ *http.Request) {
	if err := a.guard.Ready(); err != nil {
		newRefusal(http.StatusServiceUnavailable, "unavailable", "verifier: "+err.Error()).write(w)
		return
	}
	writeJSON(w, []byte(`{"status":"ready"}`+"\n"))
}

// state shows what the verifier knows of itself. It holds nothing of any user.
func (a *api) state(w http.ResponseWriter, _ *http.Request) {
	text, err := a.guard.Stats().MarshalJSON()
	if err != nil {
		newRefusal(http.StatusServiceUnavailable, "unavailable", "no state").write(w)
		return
	}
	writeJSON(w, text)
}

func writeJSON(w http.ResponseWriter, text []byte) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(text)
}
