package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/go-chi/chi/v5"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tocsin-auth/tocsin/pkg/verifier"
)

// as lets everybody in as a principal.
type as struct {
	fakeGuard
	principal *verifier.Principal
}

func (g as) Require(...verifier.RouteOption) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(w, r.WithContext(verifier.NewContext(r.Context(), g.principal)))
		})
	}
}

func TestWhoActsForWhomIsShownAndLogged(t *testing.T) {
	for name, c := range map[string]struct {
		principal verifier.Principal
		level     slog.Level
		act       any
		logged    map[string]any
	}{
		"an actor": {verifier.Principal{Subject: alice, Actor: bob, ClientID: "key-1", KeyID: "key-1", Method: "bearer", Mode: "live"}, slog.LevelInfo,
			map[string]any{"sub": bob, "client_id": "key-1"}, map[string]any{"subject": alice, "actor": bob, "key_id": "key-1", "route": "/v1/whoami", "status": 200.0}},
		"nobody":              {verifier.Principal{Subject: alice, ClientID: "tocsin", SessionID: "s-1", Method: "bearer", Mode: "live"}, slog.LevelInfo, nil, nil},
		"nobody, and details": {verifier.Principal{Subject: alice, ClientID: "tocsin", SessionID: "s-1", Method: "bearer", Mode: "live"}, slog.LevelDebug, nil, map[string]any{"subject": alice, "session_id": "s-1", "actor": nil}},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			a := &api{guard: as{principal: &c.principal}, metrics: prometheus.NewRegistry(),
				log: slog.New(slog.NewJSONHandler(&out, &slog.HandlerOptions{Level: c.level}))}
			w := httptest.NewRecorder()
			a.routes().ServeHTTP(w, httptest.NewRequest("GET", "/v1/whoami", nil))
			shown := decode[map[string]any](t, w.Body.String())
			if got, want := jsonOf(t, shown["act"]), jsonOf(t, c.act); got != want || shown["subject"] != alice {
				t.Errorf("shown: %v", shown)
			}
			if (out.Len() > 0) != (c.logged != nil) {
				t.Fatalf("logged: %s", out.String())
			}
			if c.logged == nil {
				return
			}
			logged := decode[map[string]any](t, out.String())
			for field, want := range c.logged {
				if logged[field] != want {
					t.Errorf("%s is %v, want %v", field, logged[field], want)
				}
			}
		})
	}
}

// unflushable is a writer whose client is gone.
type unflushable struct{ http.ResponseWriter }

func (unflushable) FlushError() error { return http.ErrHandlerTimeout }

func (u unflushable) Flush() { _ = u.FlushError() }

func TestAHandlerSeesTheSameWriterAtEachLevel(t *testing.T) {
	for _, level := range []slog.Level{slog.LevelError, slog.LevelDebug} {
		var seen error
		p := &verifier.Principal{Subject: alice}
		a := &api{guard: as{principal: p}, log: slog.New(slog.NewJSONHandler(io.Discard, &slog.HandlerOptions{Level: level}))}
		h := newRequestMetrics(prometheus.NewRegistry()).observe(a.require()(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			seen = http.NewResponseController(w).Flush()
		})))
		r := httptest.NewRequest("GET", "/", nil)
		r = r.WithContext(context.WithValue(r.Context(), chi.RouteCtxKey, chi.NewRouteContext()))
		h.ServeHTTP(unflushable{httptest.NewRecorder()}, r)
		if !errors.Is(seen, http.ErrHandlerTimeout) {
			t.Errorf("at level %v a failure to flush is %v", level, seen)
		}
	}
}

func jsonOf(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
