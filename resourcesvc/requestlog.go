package main

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/tocsin-auth/tocsin/pkg/verifier"
)

// logAccepted logs the requests that the guard let through: whose they were, and who acted. What somebody did in another's
// name is worth a line always, the rest when asked for.
func logAccepted(log *slog.Logger, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p := principal(r)
		level := slog.LevelDebug
		if p.Actor != "" {
			level = slog.LevelInfo
		}
		if !log.Enabled(r.Context(), level) {
			next.ServeHTTP(w, r)
			return
		}
		began := time.Now()
		answer := &seen{ResponseWriter: w}
		next.ServeHTTP(answer, r)
		log.LogAttrs(context.WithoutCancel(r.Context()), level, "request", append(who(p), slog.String("method", r.Method),
			slog.String("route", chi.RouteContext(r.Context()).RoutePattern()), slog.Int("status", answer.status()),
			slog.Duration("duration", time.Since(began)))...)
	})
}

// who names the caller, and never by a secret.
func who(p *verifier.Principal) []slog.Attr {
	all := []slog.Attr{slog.String("subject", p.Subject), slog.String("mode", string(p.Mode)), slog.String("auth_method", string(p.Method))}
	for _, a := range []slog.Attr{slog.String("session_id", p.SessionID), slog.String("key_id", p.KeyID), slog.String("actor", p.Actor)} {
		if a.Value.String() != "" {
			all = append(all, a)
		}
	}
	return all
}
