package main

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/prometheus/client_golang/prometheus"
)

func (a *api) healthz(w http.ResponseWriter, _ *http.Request) error {
	return writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
}

// readyz is 200 when requests could be decided: the verifier is complete and fresh, and the database answers.
func (a *api) readyz(w http.ResponseWriter, r *http.Request) error {
	if err := a.guard.Ready(); err != nil {
		return writeUnready(w, "verifier: "+err.Error())
	}
	ctx, cancel := context.WithTimeout(r.Context(), time.Second)
	defer cancel()
	if err := a.store.ready(ctx); err != nil {
		return writeUnready(w, "database does not answer")
	}
	return writeJSON(w, http.StatusOK, map[string]string{"status": "ready"})
}

// writeUnready is no failure of the request: whoever probes has asked just that, so it isn't logged as one.
func writeUnready(w http.ResponseWriter, why string) error {
	writeBody(w, "application/problem+json", http.StatusServiceUnavailable,
		newProblem(http.StatusServiceUnavailable, "unavailable", why))
	return nil
}

// verifierState shows what the verifier knows of itself. It holds nothing of any user.
func (a *api) verifierState(w http.ResponseWriter, _ *http.Request) error {
	return writeJSON(w, http.StatusOK, a.guard.Stats())
}

// requestMetrics counts and times requests by route pattern, never by path: paths are chosen by callers.
type requestMetrics struct{ seconds *prometheus.HistogramVec }

func newRequestMetrics(reg prometheus.Registerer) requestMetrics {
	m := requestMetrics{prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "resourcesvc_http_request_seconds",
		Help:    "Time to answer, by route, method and status.",
		Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .5, 1, 5},
	}, []string{"route", "method", "status"})}
	reg.MustRegister(m.seconds)
	return m
}

func (m requestMetrics) observe(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		answer := &seen{ResponseWriter: w}
		next.ServeHTTP(answer, r)
		route := chi.RouteContext(r.Context()).RoutePattern()
		m.seconds.WithLabelValues(route, knownMethod(r.Method), strconv.Itoa(answer.status())).
			Observe(time.Since(began).Seconds())
	})
}

// knownMethod keeps invented methods from making time series.
func knownMethod(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete:
		return method
	}
	return "other"
}
