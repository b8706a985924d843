package httpapi

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"
	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tocsin-auth/tocsin/authsvc/internal/auth"
	"github.com/tocsin-auth/tocsin/pkg/events"
)

// KeySets publishes the public keys as JWK sets (RFC 7517).
type KeySets interface {
	// JWKS returns the token keys, those that only verify included.
	JWKS(ctx context.Context) ([]byte, error)
	// FeedJWKS returns the feed keys.
	FeedJWKS(ctx context.Context) ([]byte, error)
}

// Fleets knows the verifiers that ask for proofs.
type Fleets interface {
	Verifiers() []Verifier
}

// Verifier is one living instance of a resource service.
type Verifier struct {
	Service    string       `json:"service"`
	Instance   string       `json:"instance"`
	State      events.State `json:"state" enum:"starting,fresh,stale"`
	Epoch      string       `json:"epoch"`
	AppliedSeq uint64       `json:"applied_seq"`
	Lag        uint64       `json:"lag" doc:"Events that it has still to apply"`
	LastSeen   time.Time    `json:"last_seen"`
}

// Config is what a [Server] needs; every field is required unless it says otherwise.
type Config struct {
	Auth     *auth.Service
	Receipts Receipts
	Fleets   Fleets
	Keys     KeySets
	// Ready are the checks of /readyz by name. They MUST return soon after their context ends.
	Ready map[string]func(context.Context) error
	// Issuer is the base of every published URL.
	Issuer     string
	SigningAlg string
	Version    string
	// Limits are those of calls by strangers; zero ones allow all.
	Limits Limits
	// TrustedProxies are the networks whose X-Forwarded-For is believed; none: nobody's.
	TrustedProxies []netip.Prefix
	// Metrics is served at /metrics.
	Metrics *prometheus.Registry
	// Now may be nil: time.Now.
	Now func() time.Time
	Log *slog.Logger
}

// Server answers HTTP. It is safe for concurrent use and owns no goroutine.
type Server struct {
	auth     *auth.Service
	receipts Receipts
	fleets   Fleets
	keys     KeySets
	ready    map[string]func(context.Context) error
	unready  sync.Map // by check: whether it failed when it was asked last
	issuer   string
	alg      string
	now      func() time.Time
	log      *slog.Logger
	metrics  *metrics
	reports  *reports
	issuing  *throttle // of derived tokens, by user
	limits   limits
	proxies  proxies
	// unknownProxy is done when one may have been forgotten.
	unknownProxy sync.Once
	api          huma.API
	router       *chi.Mux
	// waitParameters are those of [WaitQuery], for calls that huma doesn't read.
	waitParameters []*huma.Param
	// waits ends when the server is shut down: calls that wait for events to travel answer with how far they came.
	waits    context.Context
	endWaits context.CancelFunc
}

// New builds the router and the OpenAPI document. The error is of the metrics registry or of encoding the document.
func New(cfg Config) (*Server, error) {
	m, err := newMetrics(cfg.Metrics)
	if err != nil {
		return nil, err
	}
	s := &Server{auth: cfg.Auth, receipts: cfg.Receipts, fleets: cfg.Fleets, keys: cfg.Keys, ready: cfg.Ready,
		issuer: cfg.Issuer, alg: cfg.SigningAlg, now: cfg.Now, log: cfg.Log, metrics: m, reports: newReports(),
		issuing: newThrottle(issuingInterval, issuingBurst, issuingUsers), limits: newLimits(cfg.Limits), proxies: cfg.TrustedProxies, router: chi.NewMux()}
	if s.now == nil {
		s.now = time.Now
	}
	for _, name := range s.limits.names() {
		m.throttled.WithLabelValues(name) // so that the first refusal is an increase
	}
	s.waits, s.endWaits = context.WithCancel(context.Background())
	s.router.Use(s.observe, s.recover, middleware.GetHead, limitTime)
	s.router.NotFound(s.notFound)
	s.router.MethodNotAllowed(s.methodNotAllowed)
	s.api = humachi.New(s.router, document(cfg))
	s.registerAccounts()
	s.registerSessions()
	s.registerAPIKeys()
	s.registerKeyReports()
	s.registerJobGrants()
	s.registerUsers()
	s.registerRevocations()
	s.registerFleet()
	s.registerPlans()
	s.mountOAuth()
	s.mountWellKnown()
	s.mountHealth(cfg.Metrics)
	return s, s.mountDocument()
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.router.ServeHTTP(w, r) }

// document is huma without what it would add by itself: pages from elsewhere, $schema members, other formats.
func document(cfg Config) huma.Config {
	json := huma.DefaultJSONFormat
	return huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info: &huma.Info{Title: "Tocsin auth", Version: cfg.Version, License: &huma.License{Name: "Apache-2.0", Identifier: "Apache-2.0"},
				Description: "Authentication with instant revocation. Errors of /v1 are RFC 9457 problems with a stable code; those of /oauth2 are RFC 6749's."},
			Servers:    []*huma.Server{{URL: cfg.Issuer}},
			Components: &huma.Components{SecuritySchemes: securitySchemes()},
		},
		Formats:       map[string]huma.Format{"application/json": json, "json": json}, // the second is the suffix of problem+json
		DefaultFormat: "application/json",
		Transformers:  []huma.Transformer{noteProblem},
	}
}

// Time limits. A call that waits for the fleet may take maxWait; everything else is much faster.
const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 15 * time.Second
	callTimeout       = maxWait + 10*time.Second
	writeTimeout      = callTimeout + 10*time.Second
	idleTimeout       = 2 * time.Minute
	maxHeader         = 16 << 10
)

// limitTime ends what a handler waits for before the connection's own deadline would cut the answer off.
func limitTime(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), callTimeout)
		defer cancel()
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// HTTPServer returns a server with limits against slow and greedy clients. Its Shutdown cuts waits for receipts short.
func (s *Server) HTTPServer() *http.Server {
	server := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),

		DisableGeneralOptionsHandler: true,
	}
	server.RegisterOnShutdown(s.endWaits)
	return server
}
