package main

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/tocsin-auth/tocsin/forwardauth/internal/identity"
	"github.com/tocsin-auth/tocsin/forwardauth/internal/routes"
	"github.com/tocsin-auth/tocsin/forwardauth/internal/style"
	"github.com/tocsin-auth/tocsin/forwardauth/internal/target"
	"github.com/tocsin-auth/tocsin/pkg/verifier"
)

// guard is what this program needs of [verifier.Verifier]. Tests put a fake in its place.
type guard interface {
	Route(opts ...verifier.RouteOption) (*verifier.Route, error)
	Verify(ctx context.Context, c verifier.Credential, route *verifier.Route) (*verifier.Principal, error)
	SetRateLimit(h http.Header, p *verifier.Principal, route *verifier.Route)
	RefuseFor(w http.ResponseWriter, r *http.Request, err error, route *verifier.Route)
	Ready() error
	Stats() verifier.Stats
}

// question is a client's request, as the proxy tells it.
type question struct {
	method, host, uri string
	header            http.Header // the client's and the proxy's; names in canonical form
}

// judge decides questions. It is safe for concurrent use.
type judge struct {
	guard    guard
	style    style.Style
	table    *routes.Table
	required map[*routes.Route]*verifier.Route // nothing for public ones
	signer   *identity.Signer
	metrics  metrics
	log      *slog.Logger
}

// newJudge makes the verifier's route of each in the table. Its errors name the route.
func newJudge(j judge) (*judge, error) {
	j.required = make(map[*routes.Route]*verifier.Route)
	for _, r := range j.table.Routes {
		if r.Kind == routes.Public {
			continue
		}
		required, err := j.guard.Route(options(r)...)
		if err != nil {
			return nil, &routeError{r.Name, err}
		}
		j.required[r] = required
	}
	return &j, nil
}

// routeError says which route the verifier didn't take.
type routeError struct {
	name string
	err  error
}

func (e *routeError) Error() string { return "route " + e.name + ": " + e.err.Error() }
func (e *routeError) Unwrap() error { return e.err }

func options(r *routes.Route) (opts []verifier.RouteOption) {
	if r.Kind == routes.Elite {
		opts = append(opts, verifier.Elite())
	}
	for _, name := range r.Roles {
		opts = append(opts, verifier.Role(name))
	}
	for _, names := range r.AnyRole {
		opts = append(opts, verifier.AnyRole(names...))
	}
	if r.MaxStaleness > 0 {
		opts = append(opts, verifier.MaxStaleness(r.MaxStaleness))
	}
	switch {
	case r.QuotaMode == routes.Exact:
		opts = append(opts, verifier.QuotaExact(r.Quota))
	case r.Quota != "":
		opts = append(opts, verifier.Quota(r.Quota))
	}
	if r.QuotaMode == routes.Strict {
		opts = append(opts, verifier.QuotaStrict())
	}
	switch r.OnStale {
	case routes.Deny:
		opts = append(opts, verifier.OnStale(verifier.Deny))
	case routes.Ask:
		opts = append(opts, verifier.OnStale(verifier.Ask))
	case routes.ServeStale:
		opts = append(opts, verifier.OnStale(verifier.ServeStale(r.ServeStaleMax)))
	}
	return opts
}

// decide returns the headers of an accepted request, and those of the answer to it, see rateLimits; or the refusal.
func (j *judge) decide(ctx context.Context, q question) ([]identity.Header, *refusal) {
	began, name := time.Now(), ""
	headers, refused := j.judge(ctx, q, &name)
	j.metrics.observe(name, refused, time.Since(began))
	if refused != nil {
		j.log.DebugContext(ctx, "refused", "route", name, "status", refused.Status, "code", refused.Code, "why", refused.why)
	}
	return headers, refused
}

// judge looks at the request's form first, then for its route, then at the credential. It leaves the route's name.
func (j *judge) judge(ctx context.Context, q question, name *string) ([]identity.Header, *refusal) {
	if err := j.style.Check(q.header); err != nil {
		return nil, badRequest(err)
	}
	asked, err := target.Parse(q.method, q.host, q.uri)
	if err != nil {
		return nil, badRequest(err)
	}
	route, err := j.table.Match(&asked)
	switch {
	case errors.Is(err, routes.ErrUnsure):
		return nil, badRequest(err)
	case err != nil:
		return nil, unmatched(j.table.NotFound)
	}
	*name = route.Name
	if route.Kind == routes.Public {
		return nil, nil
	}
	return j.identify(ctx, q.header["Authorization"], &asked, route)
}

// identify verifies the credential and says whose it is.
func (j *judge) identify(ctx context.Context, authorization []string, asked *target.Target, route *routes.Route) ([]identity.Header, *refusal) {
	r := &http.Request{Method: http.MethodGet, URL: &url.URL{RawQuery: asked.Query}}
	if len(authorization) > 0 {
		r.Header = http.Header{"Authorization": authorization}
	}
	c, err := verifier.FromRequest(r)
	if err != nil {
		return nil, j.refuse(r, err, route)
	}
	p, err := j.guard.Verify(ctx, c, j.required[route])
	if err != nil {
		return nil, j.refuse(r, err, route)
	}
	headers, ok := identity.Headers(p)
	if !ok {
		j.log.ErrorContext(ctx, "a principal that no header can hold", "route", route.Name)
		return nil, j.refuse(r, verifier.ErrAuthUnavailable, route)
	}
	headers = append(headers, identity.Header{Name: identity.Token, Value: j.signer.Token(route.Backend, asked, p)})
	if route.Quota == "" {
		return headers, nil
	}
	limits := http.Header{}
	j.guard.SetRateLimit(limits, p, j.required[route])
	return append(headers, rateLimits(limits)...), nil
}

// refuse has the verifier word the refusal, so that it is the same as that of a service that embeds it.
func (j *judge) refuse(r *http.Request, err error, route *routes.Route) *refusal {
	recorded := recorder{header: http.Header{}}
	j.guard.RefuseFor(&recorded, r, err, j.required[route])
	return recorded.refusal(string(verifier.CodeOf(err)))
}
