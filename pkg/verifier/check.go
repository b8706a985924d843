package verifier

import "context"

// Verify decides one credential for a route; a nil route has no requirements and the verifier's defaults. The principal
// MUST NOT be changed. Errors wrap exactly one of the package's refusals.
//
// It asks authsvc, and so may block for a second or so for each question, or until ctx ends, only for elite routes, for API
// keys that aren't in the cache, for token keys that it doesn't hold, for a user's [Quota] when nothing allowed is left, and under
// the policy [Ask]. All else is decided in-process.
func (v *Verifier) Verify(ctx context.Context, c Credential, route *Route) (*Principal, error) {
	if route == nil {
		route = &v.base
	}
	p, t, err := v.verify(ctx, c, route)
	if ask, ok := err.(*quotaAsk); ok {
		p, t, err = v.verifyAnswered(ctx, c, route, ask)
	}
	if err != nil {
		v.counters.refused(t, err)
		return nil, err
	}
	v.counters.accepted(t)
	return p, nil
}

// Refused counts a refusal that a transport made by itself before it had anything to verify, as with the errors of
// [FromRequest], so that [Verifier.Stats] tells of it. [Verifier.Require] does so.
func (v *Verifier) Refused(err error) { v.counters.refused(tally{}, err) }

// verify also returns how to count it.
func (v *Verifier) verify(ctx context.Context, c Credential, route *Route) (*Principal, tally, error) {
	switch {
	case c.method == MethodBearer:
		return v.verifyToken(ctx, c.value, route)
	case c.method == MethodAPIKey && route.elite:
		p, err := v.verifyKeyElite(ctx, c.value, route)
		return p, tally{}, err
	case c.method == MethodAPIKey:
		return v.verifyKey(ctx, c.value, route)
	}
	return nil, tally{}, ErrMissingCredential
}
