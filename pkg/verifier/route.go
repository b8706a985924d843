package verifier

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tocsin-auth/tocsin/pkg/events"
)

// StalePolicy says what a route does while the verifier isn't fresh: [Deny], [Ask] or [ServeStale].
type StalePolicy int64

const (
	// Deny refuses with [ErrStale].
	Deny StalePolicy = 0
	// Ask has authsvc decide each request, as for [Elite] routes, with a bounded number in flight ([WithAskLimit]).
	Ask StalePolicy = -1

	noPolicy StalePolicy = -2 // what validate refuses
)

// ServeStale goes on with what is known until limit after the last proof was asked for. It is outside the promise:
// a credential that was revoked meanwhile is accepted for that long. At most 24 h.
func ServeStale(limit time.Duration) StalePolicy {
	if limit <= 0 {
		return noPolicy
	}
	return StalePolicy(limit)
}

// serveFor returns the limit of [ServeStale], or 0.
func (p StalePolicy) serveFor() time.Duration { return time.Duration(max(p, 0)) }

func (p StalePolicy) validate() error {
	if p != Deny && p != Ask && (p < 0 || p.serveFor() > maxServeStale) {
		return fmt.Errorf("stale policy: serve-stale must be above 0 and at most %v", maxServeStale)
	}
	return nil
}

// Route is what one kind of endpoint requires. Make it once with [Verifier.Route]; it is safe for concurrent use.
type Route struct {
	elite  bool
	long   bool
	roles  [][]string // all of them, each by any of its names
	bound  time.Duration
	policy StalePolicy

	metered *metering // nil: there is no quota
}

// RouteOption adds one requirement, or changes one default of [Verifier.Require].
type RouteOption func(*Route) error

// Elite has authsvc decide each request afresh. Default: ordinary, decided in-process.
func Elite() RouteOption {
	return func(r *Route) error {
		r.elite = true
		return nil
	}
}

// Role requires a role. Given more than once, all of them. Default: any good credential will do.
func Role(name string) RouteOption { return AnyRole(name) }

// AnyRole requires one of several roles.
func AnyRole(names ...string) RouteOption {
	return func(r *Route) error {
		switch {
		case len(names) == 0:
			return errors.New("a role is required")
		case !allRoles(names):
			return errors.New("roles must match [a-z0-9_-]{1,32}")
		}
		r.roles = append(r.roles, slices.Clone(names))
		return nil
	}
}

// allRoles: roles have the same form as services.
func allRoles(names []string) bool {
	for _, name := range names {
		if !events.ValidService(name) {
			return false
		}
	}
	return true
}

// LongAnswer makes the answers of [Verifier.Require] end with their credential, as [Verifier.Live] tells: the request's
// context ends, with the refusal as its cause, and whatever the handler writes or flushes is judged at that moment. An answer
// that hasn't begun then becomes the refusal; one that has is cut off, and writing returns the refusal. So a handler of
// an event stream or a long poll returns when its context ends, writes as it always does, and needs nothing else.
// Pieces above 32 KiB are judged each. A connection that is hijacked is its handler's: see [Alive]. Default: only the
// beginning of an answer is judged.
func LongAnswer() RouteOption {
	return func(r *Route) error {
		r.long = true
		return nil
	}
}

// MaxStaleness sets the route's own B, from 1 s to the verifier's. Default: the verifier's.
func MaxStaleness(b time.Duration) RouteOption {
	return func(r *Route) error {
		if b < events.MinBound || b > r.bound {
			return fmt.Errorf("max staleness of a route must be from %v to the verifier's %v", events.MinBound, r.bound)
		}
		r.bound = b
		return nil
	}
}

// OnStale sets the route's own policy. Default: the verifier's.
func OnStale(p StalePolicy) RouteOption {
	return func(r *Route) error {
		r.policy = p
		return p.validate()
	}
}

// Route makes a route for [Verifier.Verify]. Its errors wrap [ErrConfig]; the route beside an error refuses everything, should
// anybody go on with it.
func (v *Verifier) Route(opts ...RouteOption) (*Route, error) {
	r := v.base
	for _, opt := range opts {
		if err := opt(&r); err != nil {
			return &Route{bound: neverFresh}, fmt.Errorf("%w: %w", ErrConfig, err)
		}
	}
	v.noteBound(r.bound)
	if r.metered != nil {
		v.count(&r)
	}
	return &r, nil
}

// neverFresh is a bound within which no proof is.
const neverFresh time.Duration = -1

// Long reports whether the route has [LongAnswer], for transports other than HTTP.
func (r *Route) Long() bool { return r.long }

// noteBound has questions asked often enough for the smallest bound of all routes.
func (v *Verifier) noteBound(b time.Duration) {
	v.boundMu.Lock()
	defer v.boundMu.Unlock()
	if b < v.smallest {
		v.smallest = b
		v.link.SetBounds(b, v.base.bound)
	}
}

// permits reports whether a principal's roles meet all requirements. Inlined, its loops would cost routes without any.
//
//go:noinline
func (r *Route) permits(p *Principal) bool {
	for _, names := range r.roles {
		if !intersect(names, p.Roles) {
			return false
		}
	}
	return true
}

func intersect(a, b []string) bool {
	for _, x := range a {
		if slices.Contains(b, x) {
			return true
		}
	}
	return false
}
