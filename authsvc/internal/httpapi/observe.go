package httpapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
	"github.com/google/uuid"

	"github.com/tocsin-auth/tocsin/authsvc/internal/auth"
)

// observed is a response whose status and refusal are remembered for the log and the metrics.
type observed struct {
	middleware.WrapResponseWriter
	code   string
	caller auth.Caller // the zero caller: nobody showed a credential that is good
}

// Unwrap lets http.ResponseController reach the connection.
func (o *observed) Unwrap() http.ResponseWriter { return o.WrapResponseWriter.Unwrap() }

// noteCode remembers the code of a refusal.
func noteCode(w http.ResponseWriter, code string) {
	for w != nil {
		if o, ok := w.(*observed); ok {
			o.code = code
			return
		}
		u, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return
		}
		w = u.Unwrap()
	}
}

// noteCaller remembers who was authenticated.
func noteCaller(ctx context.Context, c auth.Caller) {
	if o, ok := ctx.Value(keyObserved).(*observed); ok {
		o.caller = c
	}
}

// noteProblem is noteCode for the problems that huma sends.
func noteProblem(hc huma.Context, _ string, body any) (any, error) {
	if p, ok := body.(*Problem); ok {
		if o, ok := hc.Context().Value(keyObserved).(*observed); ok {
			o.code = p.Code
		}
	}
	return body, nil
}

func requestID(ctx context.Context) string {
	id, _ := ctx.Value(keyRequestID).(string)
	return id
}

// observe gives the request an id and writes its line in the access log. Neither query nor headers are logged: they may
// hold secrets by mistake.
func (s *Server) observe(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		id := uuid.NewString()
		o := &observed{WrapResponseWriter: middleware.NewWrapResponseWriter(w, r.ProtoMajor)}
		ctx := context.WithValue(r.Context(), keyRequestID, id)
		ctx = context.WithValue(ctx, keyClient, s.clientOf(r))
		ctx = context.WithValue(ctx, keyObserved, o)
		header := o.Header()
		header.Set("X-Request-Id", id)
		header.Set("X-Content-Type-Options", "nosniff")
		if isAPI(r.URL.Path) {
			header.Set("Cache-Control", "no-store")
		}
		r = r.WithContext(ctx)
		next.ServeHTTP(o, r)
		s.account(r, o, time.Since(start))
	})
}

// isAPI reports whether a path's answers may hold secrets or personal data.
func isAPI(path string) bool {
	return strings.HasPrefix(path, "/v1/") || strings.HasPrefix(path, "/oauth2/")
}

// quiet are the paths that machines ask all day.
var quiet = map[string]bool{"/healthz": true, "/readyz": true, "/metrics": true}

func (s *Server) account(r *http.Request, o *observed, took time.Duration) {
	status := o.Status()
	if status == 0 {
		status = http.StatusOK
	}
	route := "unmatched"
	if pattern := routePattern(r.Context()); pattern != "" {
		route = pattern
	}
	s.metrics.count(r.Method, route, status, o.code, took)
	s.metrics.authenticated(o.caller)
	level := slog.LevelInfo
	if quiet[route] {
		level = slog.LevelDebug
	}
	s.log.LogAttrs(r.Context(), level, "request",
		slog.String("request_id", requestID(r.Context())), slog.String("method", knownMethod(r.Method)), slog.String("route", route),
		slog.Int("status", status), slog.String("code", o.code), slog.Int("bytes", o.BytesWritten()), slog.Duration("took", took),
		slog.String("ip", clientFrom(r.Context()).IP), slog.String("auth", o.caller.Method), slog.String("mode", string(o.caller.Mode)))
}

// knownMethod keeps invented methods out of logs and labels.
func knownMethod(method string) string {
	for _, known := range allMethods {
		if method == known {
			return method
		}
	}
	return "other"
}

// recover answers for a handler that panicked, and logs it with its stack.
func (s *Server) recover(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			cause := recover()
			if cause == nil {
				return
			}
			if err, ok := cause.(error); ok && errors.Is(err, http.ErrAbortHandler) {
				panic(cause)
			}
			s.log.ErrorContext(r.Context(), "handler panicked", "request_id", requestID(r.Context()),
				"panic", fmt.Sprint(cause), "stack", string(debug.Stack()))
			if o, ok := r.Context().Value(keyObserved).(*observed); ok && o.Status() == 0 {
				s.refuse(w, r, newProblem(http.StatusInternalServerError, codeInternal, "something went wrong on our side"))
			}
		}()
		next.ServeHTTP(w, r)
	})
}

var allMethods = []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions}

func (s *Server) notFound(w http.ResponseWriter, r *http.Request) {
	s.refuse(w, r, newProblem(http.StatusNotFound, "not_found", "there is nothing at this path"))
}

// methodNotAllowed names the methods that the path has (RFC 9110, section 15.5.6).
func (s *Server) methodNotAllowed(w http.ResponseWriter, r *http.Request) {
	p := newProblem(http.StatusMethodNotAllowed, codeMethodNotAllowed, "the path has no such method; Allow names those it has")
	path := r.URL.Path
	if r.URL.RawPath != "" {
		path = r.URL.RawPath
	}
	var allowed []string
	for _, method := range allMethods {
		if s.router.Match(chi.NewRouteContext(), method, path) {
			allowed = append(allowed, method)
		}
	}
	p.header.Set("Allow", strings.Join(allowed, ", "))
	s.refuse(w, r, p)
}

// refuse answers in the form that the path's callers expect.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, p *Problem) {
	if strings.HasPrefix(r.URL.Path, "/oauth2/") {
		oauthRefusal(p).write(w)
		return
	}
	p.write(w)
}

func routePattern(ctx context.Context) string {
	if rctx := chi.RouteContext(ctx); rctx != nil {
		return rctx.RoutePattern()
	}
	return ""
}
