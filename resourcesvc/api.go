package main

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"runtime/debug"

	"github.com/go-chi/chi/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/tocsin-auth/tocsin/pkg/verifier"
	"github.com/tocsin-auth/tocsin/resourcesvc/internal/exchange"
)

// guard is what this service needs of [verifier.Verifier]. Tests put a fake in its place.
type guard interface {
	Require(opts ...verifier.RouteOption) func(http.Handler) http.Handler
	Refuse(w http.ResponseWriter, r *http.Request, err error)
	Ready() error
	Stats() verifier.Stats
}

// api holds what the handlers share.
type api struct {
	guard    guard
	store    *store
	showroom *showroom
	rules    jobRules
	issuer   *exchange.Client // nil: the service has no key of its own, and jobs carry no grant
	offerer  *offerer         // nil: and so there is nothing to offer
	metrics  *prometheus.Registry
	log      *slog.Logger
	stopping <-chan struct{} // closed when long answers have to end
}

// routes says on one screen who may do what.
func (a *api) routes() http.Handler {
	var (
		anyone     = a.require()
		admin      = a.require(verifier.Role("admin"))
		user       = a.require(verifier.Role("user"))
		elite      = a.require(verifier.Elite())
		lasting    = a.require(verifier.LongAnswer())
		jobs       = a.require(verifier.Quota("ai-jobs"))
		calls      = a.require(verifier.Quota("calls"))
		strict     = a.require(verifier.Quota("strict-calls"), verifier.QuotaStrict())
		worker     = a.require(verifier.Role("worker"))
		eliteAdmin = a.require(verifier.Elite(), verifier.Role("admin"))
	)
	r := chi.NewRouter()
	r.Use(a.recoverPanic, newRequestMetrics(a.metrics).observe)
	r.NotFound(refuse(a.log, notFound))
	r.MethodNotAllowed(refuse(a.log, methodNotAllowed(r)))

	r.Method("GET", "/v1/whoami", anyone(handle(a.log, a.whoami)))
	r.Method("GET", "/v1/whoami/elite", elite(handle(a.log, a.whoami)))
	r.Method("GET", "/v1/whoami/quota", calls(handle(a.log, a.whoami)))
	r.Method("GET", "/v1/whoami/strict", strict(handle(a.log, a.whoami)))

	r.Method("GET", "/v1/cars", anyone(handle(a.log, a.listCars, "limit", "cursor")))
	r.Method("POST", "/v1/cars", user(handle(a.log, a.createCar)))
	r.Method("GET", "/v1/cars/events", lasting(handle(a.log, a.carEvents)))
	r.Method("GET", "/v1/cars/{id}", anyone(handle(a.log, a.getCar)))
	r.Method("POST", "/v1/cars/{id}/purchase", elite(handle(a.log, a.purchaseCar)))
	r.Method("DELETE", "/v1/cars/{id}", eliteAdmin(handle(a.log, a.deleteCar)))

	r.Method("POST", "/v1/ai/jobs", jobs(handle(a.log, a.createJob)))
	r.Method("GET", "/v1/ai/jobs/{job_id}", lasting(handle(a.log, a.getJob, "wait")))

	r.Method("PUT", "/v1/ai/jobs/{job_id}/result", anyone(handle(a.log, a.putResult)))
	r.Method("POST", "/v1/ai/compute", anyone(handle(a.log, a.compute)))

	r.Method("POST", "/v1/ai/claims", lasting(handle(a.log, a.claimAny, "wait")))
	r.Method("POST", "/v1/ai/jobs/{job_id}/renew", anyone(handle(a.log, a.renewClaim(own))))
	r.Method("POST", "/v1/ai/jobs/{job_id}/end", anyone(handle(a.log, a.endClaim(own))))
	r.Method("POST", "/v1/ai/tenants/{user_id}/jobs/{job_id}/claim", worker(handle(a.log, a.claimJob)))
	r.Method("POST", "/v1/ai/tenants/{user_id}/jobs/{job_id}/renew", worker(handle(a.log, a.renewClaim(named))))
	r.Method("POST", "/v1/ai/tenants/{user_id}/jobs/{job_id}/end", worker(handle(a.log, a.endClaim(named))))
	r.Method("GET", "/v1/ai/failures", admin(handle(a.log, a.listFailures, "status", "limit")))

	r.Method("GET", "/healthz", handle(a.log, a.healthz))
	r.Method("GET", "/readyz", handle(a.log, a.readyz))
	r.Method("GET", "/v1/verifier", handle(a.log, a.verifierState))
	r.Method("GET", "/metrics", promhttp.HandlerFor(a.metrics, promhttp.HandlerOpts{}))
	return r
}

// require guards routes, and logs what passes.
func (a *api) require(options ...verifier.RouteOption) func(http.Handler) http.Handler {
	guarded := a.guard.Require(options...)
	return func(next http.Handler) http.Handler { return guarded(logAccepted(a.log, next)) }
}

// principal returns who is calling. Every route that asks is behind a guard, so there is always one.
func principal(r *http.Request) *verifier.Principal {
	p, ok := verifier.FromContext(r.Context())
	if !ok {
		panic("a handler that needs a principal is not behind the guard")
	}
	return p
}

// param returns a path parameter. chi leaves it escaped when the path as it was sent differs from its usual escaping.
func param(r *http.Request, name string) string {
	value := chi.URLParam(r, name)
	if r.URL.RawPath == "" {
		return value
	}
	if plain, err := url.PathUnescape(value); err == nil {
		return plain
	}
	return value
}

func (a *api) recoverPanic(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			v := recover()
			if v == nil {
				return
			}
			if v == http.ErrAbortHandler {
				panic(v)
			}
			a.log.ErrorContext(r.Context(), "panic", "value", fmt.Sprint(v), "stack", string(debug.Stack()))
			writeProblem(a.log, w, r, newProblem(http.StatusInternalServerError, "internal", ""))
		}()
		next.ServeHTTP(w, r)
	})
}

func notFound(http.ResponseWriter, *http.Request) error {
	return newProblem(http.StatusNotFound, "not_found", "there is no such path")
}

// methodNotAllowed says what the path takes instead, as RFC 9110 section 15.5.6 demands.
func methodNotAllowed(routes chi.Routes) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		for _, method := range []string{"GET", "POST", "PUT", "DELETE"} {
			if routes.Match(chi.NewRouteContext(), method, r.URL.Path) {
				w.Header().Add("Allow", method)
			}
		}
		return newProblem(http.StatusMethodNotAllowed, "method_not_allowed", "this path does not take that method")
	}
}
