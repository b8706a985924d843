package httpapi

import (
	"context"
	"net/http"
	"reflect"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const tagHealth = "Health"

// readyTimeout bounds the checks of /readyz.
const readyTimeout = 2 * time.Second

// readiness tells which part is missing, and not why: reasons are for the log.
type readiness struct {
	Ready  bool            `json:"ready"`
	Checks map[string]bool `json:"checks"`
}

func (s *Server) mountHealth(registry *prometheus.Registry) {
	s.mountGet("/healthz", "healthz", "Liveness", tagHealth, reflect.TypeFor[liveness](), func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, liveness{Status: "ok"})
	})
	s.mountGet("/readyz", "readyz", "Readiness: database and NATS; 503 when one is missing", tagHealth, reflect.TypeFor[readiness](), s.getReady)
	metrics := promhttp.HandlerFor(registry, promhttp.HandlerOpts{Registry: registry})
	s.mountGet("/metrics", "metrics", "Prometheus metrics", tagHealth, nil, metrics.ServeHTTP)
}

type liveness struct {
	Status string `json:"status"`
}

func (s *Server) getReady(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), readyTimeout)
	defer cancel()
	state := s.check(ctx)
	w.Header().Set("Cache-Control", "no-store")
	if !state.Ready {
		w.Header().Set("Retry-After", retryAfter)
		writeJSON(w, http.StatusServiceUnavailable, state)
		return
	}
	writeJSON(w, http.StatusOK, state)
}

// tellReady logs a check once when it begins to fail and once when it passes again, however often it is asked for.
func (s *Server) tellReady(ctx context.Context, name string, err error) {
	failing := err != nil
	before, known := s.unready.Swap(name, failing)
	switch {
	case failing && (!known || before == false):
		s.log.WarnContext(ctx, "not ready", "check", name, "error", err)
	case !failing && before == true:
		s.log.InfoContext(ctx, "ready again", "check", name)
	}
}

// check runs all checks at once, so that one that hangs doesn't hide the others.
func (s *Server) check(ctx context.Context) readiness {
	state := readiness{Ready: true, Checks: make(map[string]bool, len(s.ready))}
	var mu sync.Mutex
	var running sync.WaitGroup
	for name, check := range s.ready {
		running.Go(func() {
			err := check(ctx)
			s.tellReady(ctx, name, err)
			mu.Lock()
			defer mu.Unlock()
			state.Checks[name] = err == nil
			state.Ready = state.Ready && err == nil
		})
	}
	running.Wait()
	return state
}
