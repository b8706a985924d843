package verifier

import (
	"errors"
	"fmt"

	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/clock"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/follower"
)

// fresh reports whether the verifier is fresh enough for a route at this moment.
func (v *Verifier) fresh(route *Route) bool { return v.link.Fresh().Within(v.clock.Now(), route.bound) }

// Refusals of judge that are not final.
var (
	errStaleAsk = errors.New("stale: ask authsvc")
	errOutlived = errors.New("resolution has outlived its time")
)

// judge decides a credential in hand from what this process knows. The order of the loads is the promise: the proof
// is loaded before the set and the key set, so that they hold at least what the proof vouches for; and the one clock
// reading comes after both, so that a process that slept in between sees that it did. The order of the refusals is
// fresh, still known, not revoked, mode, roles, time, quota.
//
// vouch, if there is one, is authsvc's answer about this one credential: a proof for it alone, since it was read after
// the question was sent. It stands in where the proof of the feed is too old.
func (v *Verifier) judge(h *holding, route *Route, vouch *follower.Freshness) (*Principal, error) {
	proof := v.link.Fresh()
	s := v.look(h)
	now := v.clock.Now()
	if vouch != nil && !proof.Within(now, route.bound) && vouch.Within(now, route.bound) {
		proof = vouch
	}
	if !proof.Within(now, route.bound) {
		if err := v.whenStale(proof, now, route); err != nil {
			return nil, err
		}
	}
	if v.outlived(h, now) {
		return nil, errOutlived
	}
	switch {
	case s.refusal != nil:
		return nil, s.refusal
	case !route.permits(s.principal):
		return nil, ErrForbidden
	}
	if err := inTime(v.timeBy(proof, now), h.notBefore, s.expires); err != nil {
		return nil, err
	}
	return s.principal, v.spend(route, h.subject, now) // last: what is refused spends nothing
}

// whenStale applies the route's policy. It returns nil to go on with what is known.
func (v *Verifier) whenStale(proof *follower.Freshness, now clock.Reading, route *Route) error {
	switch {
	case route.policy == Ask:
		return errStaleAsk
	case proof.Within(now, route.policy.serveFor()) && route.policy.serveFor() > 0:
		return nil
	}
	return ErrStale
}

// admit checks what depends on the caller and the route, not on time.
func (v *Verifier) admit(p *Principal, route *Route) error {
	switch {
	case p.Mode != v.mode:
		return ErrWrongMode
	case !route.permits(p):
		return ErrForbidden
	}
	return nil
}

var errNotYet = fmt.Errorf("%w: not yet valid", ErrInvalidToken)

// timeBy is the guarded clock, also before the first proof. What the set has forgotten has expired by it, so it MUST be read
// after the set; see the doc of package follower.
func (v *Verifier) timeBy(proof *follower.Freshness, now clock.Reading) int64 {
	ended := v.set.Horizon() - events.KeyRetention.Microseconds()
	if proof == nil {
		return max(now.Micros(), ended)
	}
	return max(proof.Time(now), ended)
}

// inTime checks nbf and exp at a time of the guarded clock, in microseconds. An iat in the future refuses nothing: the token
// exists, so the clocks of its issue and of now differ, as they do after the issuer's was ahead and was set right.
func inTime(now, notBefore, expires int64) error {
	switch {
	case now >= expires:
		return ErrExpired
	case now < notBefore:
		return errNotYet
	}
	return nil
}
