package main

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"

	"github.com/tocsin-auth/tocsin/resourcesvc/internal/exchange"
)

// problem is an answer of RFC 9457. It is an error, so that handlers return it.
type problem struct {
	Type   string       `json:"type"`
	Title  string       `json:"title"`
	Status int          `json:"status"`
	Code   string       `json:"code"`
	Detail string       `json:"detail,omitempty"`
	Errors []fieldError `json:"errors,omitempty"`
}

// fieldError names what was wrong with one field. It never repeats the value.
type fieldError struct {
	Field   string `json:"field"`
	Message string `json:"message"`
}

func (p *problem) Error() string { return p.Code + ": " + p.Detail }

func newProblem(status int, code, detail string) *problem {
	return &problem{Type: "urn:tocsin:error:" + code, Title: http.StatusText(status), Status: status, Code: code, Detail: detail}
}

// invalid refuses one field of the request.
func invalid(field, message string) *problem {
	p := newProblem(http.StatusBadRequest, "invalid_request", "the request is not valid")
	p.Errors = []fieldError{{Field: field, Message: message}}
	return p
}

// asProblem is the one place where errors become answers.
func asProblem(err error) *problem {
	var p *problem
	switch {
	case errors.As(err, &p):
		return p
	case errors.Is(err, errNotFound):
		return newProblem(http.StatusNotFound, "not_found", "there is no such thing, or it is not yours")
	case errors.Is(err, errSold):
		return newProblem(http.StatusConflict, "sold", "the car is sold already")
	case errors.Is(err, errOver):
		return newProblem(http.StatusConflict, "job_over", "the job has ended")
	case errors.Is(err, errTaken):
		return newProblem(http.StatusConflict, "job_taken", "a worker has the job, or it rests before another try")
	case errors.Is(err, errLost):
		return newProblem(http.StatusConflict, "claim_lost", "the job is another worker's by now, or has ended")
	case errors.Is(err, exchange.ErrClient):
		return newProblem(http.StatusServiceUnavailable, "unavailable", "jobs can't be queued: the service's own API key is refused, or lacks a role; its log says which")
	default:
		return newProblem(http.StatusServiceUnavailable, "unavailable", "the request could not be completed, try again")
	}
}

// handler is an HTTP handler that returns what went wrong.
type handler func(w http.ResponseWriter, r *http.Request) error

// handle adapts h. Query parameters other than those named are refused, as unknown fields are.
func handle(log *slog.Logger, h handler, query ...string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := checkQuery(r, query)
		if err == nil {
			err = h(w, r)
		}
		if err != nil && !errors.Is(err, errEnded) {
			writeProblem(log, w, r, err)
		}
	})
}

// refuse adapts what answers for the router itself: there no parameter is known, and so none is looked at.
func refuse(log *slog.Logger, h handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { writeProblem(log, w, r, h(w, r)) }
}

func writeProblem(log *slog.Logger, w http.ResponseWriter, r *http.Request, err error) {
	p := asProblem(err)
	if p.Status >= 500 && !errors.Is(err, context.Canceled) {
		log.ErrorContext(r.Context(), "request failed", "method", r.Method, "path", r.URL.Path, "err", err)
		w.Header().Set("Retry-After", "1")
	}
	writeBody(w, "application/problem+json", p.Status, p)
}

func writeJSON(w http.ResponseWriter, status int, v any) error {
	writeBody(w, "application/json", status, v)
	return nil
}

// writeBody ignores write errors: then the client is gone, and nobody can be told. It escapes nothing for HTML, which this is
// not: six bytes for one would make jobs larger on their way than those who read them take.
func writeBody(w http.ResponseWriter, contentType string, status int, v any) {
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	out := json.NewEncoder(w)
	out.SetEscapeHTML(false)
	_ = out.Encode(v)
}
