package verifier

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
)

// Require guards handlers: only requests whose credential meets the requirements reach them, with a [Principal] in
// their context. The others are answered by [Refuse]. It panics if an option is wrong, as [http.ServeMux] does for a
// wrong pattern; [Verifier.Route] returns an error instead.
func (v *Verifier) Require(opts ...RouteOption) func(http.Handler) http.Handler {
	route, err := v.Route(opts...)
	if err != nil {
		panic(err)
	}
	return func(next http.Handler) http.Handler {
		if route.long {
			return v.requireLong(route, next)
		}
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			p, err := v.verifyRequest(r, route)
			if err != nil {
				v.refuse(w, r, err, route)
				return
			}
			v.SetRateLimit(w.Header(), p, route)
			next.ServeHTTP(w, r.WithContext(NewContext(r.Context(), p)))
		})
	}
}

func (v *Verifier) verifyRequest(r *http.Request, route *Route) (*Principal, error) {
	c, err := FromRequest(r)
	if err != nil {
		v.counters.refused(tally{}, err)
		return nil, err
	}
	return v.Verify(r.Context(), c, route)
}

// outcome is how a refusal looks in HTTP.
type outcome struct {
	status    int
	oauth     string // the error attribute of RFC 6750, section 3.1
	challenge bool   // whether there are WWW-Authenticate lines
	retry     bool   // whether there is a Retry-After header
}

// outcomeOf is the one place that maps refusals to HTTP. What is unknown fails closed, and as our failure.
func outcomeOf(code Code) outcome {
	switch code {
	case CodeMissingCredential:
		return outcome{status: http.StatusUnauthorized, challenge: true}
	case CodeInvalidRequest:
		return outcome{status: http.StatusBadRequest, oauth: "invalid_request", challenge: true}
	case CodeMalformed, CodeInvalidToken, CodeExpired, CodeRevoked, CodeUnknownKey, CodeWrongAudience, CodeWrongMode:
		return outcome{status: http.StatusUnauthorized, oauth: "invalid_token", challenge: true}
	case CodeForbidden:
		return outcome{status: http.StatusForbidden, oauth: "insufficient_scope", challenge: true}
	case CodeQuotaExceeded:
		return outcome{status: http.StatusTooManyRequests, retry: true}
	case CodeStale, CodeAuthUnavailable:
		return outcome{status: http.StatusServiceUnavailable, retry: true}
	}
	return outcome{status: http.StatusServiceUnavailable, retry: true}
}

// problem is an answer of RFC 9457, of the type about:blank.
type problem struct {
	Title  string `json:"title"`
	Status int    `json:"status"`
	Code   Code   `json:"code"`
	Detail string `json:"detail"`
}

// Refuse answers a request that [Verifier.Verify] or [FromRequest] refused: problem+json with its code, one
// WWW-Authenticate line for each scheme, Retry-After where waiting helps. An error of another kind becomes a 503 that
// tells nothing of it.
func (v *Verifier) Refuse(w http.ResponseWriter, r *http.Request, err error) {
	v.refuse(w, r, err, &v.base)
}

// RefuseFor is [Verifier.Refuse] for a route of [Verifier.Route], so that a caller who lacks a role is told which. Of the request
// it uses the method and the Authorization header.
func (v *Verifier) RefuseFor(w http.ResponseWriter, r *http.Request, err error, route *Route) {
	v.refuse(w, r, err, route)
}

func (v *Verifier) refuse(w http.ResponseWriter, r *http.Request, err error, route *Route) {
	refused := refusalOf(err)
	if refused == nil {
		err, refused = ErrAuthUnavailable, refusalOf(ErrAuthUnavailable)
	}
	o := outcomeOf(refused.code)
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	if o.challenge {
		h["Www-Authenticate"] = v.challenges(schemeOf(r), o.oauth, refused, route)
	}
	if o.retry {
		h.Set("Retry-After", wholeSeconds(RetryAfter(err)))
	}
	if e := (*exceeded)(nil); errors.As(err, &e) {
		e.set(h)
	}
	w.WriteHeader(o.status)
	if r.Method == http.MethodHead {
		return
	}
	// The answer is complete or the connection is gone: there is nobody to tell of a failure.
	_ = json.NewEncoder(w).Encode(problem{http.StatusText(o.status), o.status, refused.code, refused.text})
}

// schemeOf returns the method whose challenge says what was wrong: the one that was tried, else Bearer.
func schemeOf(r *http.Request) Method {
	if c, err := FromRequest(r); err == nil {
		return c.method
	}
	return MethodBearer
}

// challenges returns one line for each scheme (RFC 9110, section 11.6.1; RFC 6750, section 3).
func (v *Verifier) challenges(tried Method, oauth string, refused *refusal, route *Route) []string {
	bearer, key := `Bearer realm="`+v.realm+`"`, `Api-Key realm="`+v.realm+`"`
	if oauth == "" {
		return []string{bearer, key}
	}
	what := `, error="` + oauth + `", error_description="` + refused.text + `"`
	if refused.code == CodeForbidden && len(route.roles) > 0 {
		what += `, scope="` + scopeOf(route) + `"`
	}
	if tried == MethodAPIKey {
		return []string{bearer, key + what}
	}
	return []string{bearer + what, key}
}

// scopeOf names the roles that would be enough. Where any of several will do, it names the first.
func scopeOf(route *Route) string {
	names := make([]string, len(route.roles))
	for i, anyOf := range route.roles {
		names[i] = anyOf[0]
	}
	return strings.Join(names, " ")
}
