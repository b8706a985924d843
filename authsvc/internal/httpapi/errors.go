package httpapi

import (
	"context"
	"errors"
	"net/http"
	"strconv"

	"github.com/tocsin-auth/tocsin/authsvc/internal/auth"
	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
)

// Codes that HTTP has and the domain doesn't.
const (
	codeMethodNotAllowed     auth.Code = "method_not_allowed"
	codeTooLarge             auth.Code = "too_large"
	codeUnsupportedMediaType auth.Code = "unsupported_media_type"
	codeTimeout              auth.Code = "timeout"
	codeInternal             auth.Code = "internal"
)

// statuses is the one place that knows which status a refusal of the domain is.
var statuses = map[auth.Code]int{
	auth.CodeInvalidRequest:      http.StatusBadRequest,
	auth.CodeWeakPassword:        http.StatusBadRequest,
	auth.CodeUnauthenticated:     http.StatusUnauthorized,
	auth.CodeInvalidCredentials:  http.StatusUnauthorized,
	auth.CodeInvalidRefreshToken: http.StatusUnauthorized,
	auth.CodeForbidden:           http.StatusForbidden,
	auth.CodeNotFound:            http.StatusNotFound,
	auth.CodeConflict:            http.StatusConflict,
	auth.CodeUsernameTaken:       http.StatusConflict,
	auth.CodeLastAdmin:           http.StatusConflict,
	auth.CodeThrottled:           http.StatusTooManyRequests,
	auth.CodeUnavailable:         http.StatusServiceUnavailable,

	auth.CodeInvalidGrant:       http.StatusBadRequest,
	auth.CodeInvalidScope:       http.StatusBadRequest,
	auth.CodeInvalidTarget:      http.StatusBadRequest,
	auth.CodeUnauthorizedClient: http.StatusBadRequest,
}

// retryAfter is what callers who must come back are told, in seconds.
const retryAfter = "1"

// problemFor maps an error of the domain to an answer. Whatever isn't a refusal is a fault of ours: its text goes to
// the log and never to the caller.
func (s *Server) problemFor(ctx context.Context, err error) *Problem {
	err = unavailable(err)
	var refusal *auth.Error
	if !errors.As(err, &refusal) {
		s.log.ErrorContext(ctx, "request failed", "request_id", requestID(ctx), "error", err)
		return newProblem(http.StatusInternalServerError, codeInternal, "something went wrong on our side")
	}
	status, known := statuses[refusal.Code]
	if !known {
		s.log.ErrorContext(ctx, "refusal without a status", "request_id", requestID(ctx), "code", string(refusal.Code))
		status = http.StatusInternalServerError
	}
	p := newProblem(status, refusal.Code, refusal.Message)
	if refusal.Field != "" {
		p.Errors = []FieldError{{Field: refusal.Field, Message: refusal.Message}}
	}
	p = p.withHeaders(ctx, status)
	var soon tooSoon
	if errors.As(err, &soon) {
		p.header.Set("Retry-After", strconv.FormatInt(soon.seconds(), 10))
	}
	return p
}

// unavailable turns the faults that pass by themselves into the refusal that says so.
func unavailable(err error) error {
	var refusal *auth.Error
	switch {
	case errors.As(err, &refusal):
		return err
	case errors.Is(err, store.ErrUnavailable), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return auth.ErrUnavailable
	}
	return err
}

// withHeaders adds what a status obliges us to send: challenges (RFC 9110, section 15.5.2; RFC 6750, section 3) and when
// to come back.
func (p *Problem) withHeaders(ctx context.Context, status int) *Problem {
	switch status {
	case http.StatusUnauthorized:
		if p.Code == string(auth.CodeUnauthenticated) {
			p.challenge(accessFrom(ctx), schemeUsed(ctx), `error="invalid_token"`)
		} else {
			p.challenge(accessFrom(ctx), schemeNone, "")
		}
	case http.StatusForbidden:
		a := accessFrom(ctx)
		attributes := `error="insufficient_scope"`
		if a.role != "" {
			attributes += `, scope="` + a.role + `"`
		}
		p.challenge(a, schemeUsed(ctx), attributes)
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		p.header.Set("Retry-After", retryAfter)
	}
	return p
}
