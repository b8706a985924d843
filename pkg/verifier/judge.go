package verifier

import (
	"errors"
	"fmt"

	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/cache"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/clock"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/follower"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/link"
)

// fresh reports whether the verifier is fresh enough for a route at this moment.
func (v *Verifier) fresh(route *Route) bool { return v.link.Fresh().Within(v.clock.Now(), route.bound) }

// Refusals of judge that are not final.
var (
	errStaleAsk = errors.New("stale: ask authsvc")
	errOutlived = errors.New("resolution has outlived its time")
)

// known is how far this process knows, before it looks at a credential.
type known struct {
	proof   *follower.Freshness
	version uint64 // of the set
	keys    *link.TokenKeys
}

func (v *Verifier) known() known {
	proof := v.link.Fresh() // first; see judge
	return known{proof, v.set.Version(), v.link.Keys()}
}

// judge decides a credential in hand from what this process knows. The order of the loads is the promise: the proof
// is loaded before the set and the key set, so that they hold at least what the proof vouches for; and the one clock
// reading comes after both, so that a process that slept in between sees that it did.
//
// vouch, if there is one, is authsvc's answer about this one credential: a proof for it alone, since it was read after
// the question was sent. It stands in where the proof of the feed is too old.
func (v *Verifier) judge(h *holding, route *Route, vouch *follower.Freshness) (*Principal, error) {
	k := v.known()
	s := v.look(h, k)
	now, proof := v.clock.Now(), k.proof
	if vouch != nil && !proof.Within(now, route.bound) && vouch.Within(now, route.bound) {
		proof = vouch
	}
	m := moment{now, proof, proof.Within(now, route.bound), timeOf(proof, now)}
	return v.decide(h, s, &m, route)
}

// judgeCached is judge for a credential that is in a cache; otherwise it returns no holding. The clock is read while the holding
// comes from memory. That breaks no order: of a holding that is clean at the version and with the keys that were loaded before,
// nothing else of the set is looked at, and any other is judged from the beginning.
func judgeCached[Room any](v *Verifier, c *cache.Cache[holding, Room], raw string, route *Route) (*holding, *Principal, error) {
	k := v.known()
	aim := c.Aim(raw)
	now := v.clock.Now()
	m := moment{now, k.proof, k.proof.Within(now, route.bound), timeOf(k.proof, now)}
	h := aim.Get(raw)
	if h == nil {
		return nil, nil, nil
	}
	if !h.cleanAt(k) {
		p, err := v.judge(h, route, nil)
		return h, p, err
	}
	p, err := v.decide(h, h.clear(), &m, route)
	return h, p, err
}

// moment is when a credential is judged.
type moment struct {
	now   clock.Reading
	proof *follower.Freshness // may be nil
	fresh bool                // the proof is within the route's bound
	time  int64               // by the proof and the clock; see timeBy
}

// decide is the rest of judge, once the set was looked at. The order of the refusals is fresh, still known, not revoked,
// mode, roles, time, quota.
func (v *Verifier) decide(h *holding, s standing, m *moment, route *Route) (*Principal, error) {
	if !m.fresh {
		if err := v.whenStale(m.proof, m.now, route); err != nil {
			return nil, err
		}
	}
	if h.isKey && v.outlived(h, m.now) {
		return nil, errOutlived
	}
	switch {
	case s.refusal != nil:
		return nil, s.refusal
	case len(route.roles) > 0 && !route.permits(s.principal):
		return nil, ErrForbidden
	}
	if err := inTime(max(m.time, v.ended()), h.notBefore, s.expires); err != nil {
		return nil, err
	}
	if route.metered == nil {
		return s.principal, nil
	}
	return s.principal, v.spend(route, h.subject, m.now) // last: what is refused spends nothing
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

// timeBy is the guarded clock, also before the first proof. It MUST be read after the set.
func (v *Verifier) timeBy(proof *follower.Freshness, now clock.Reading) int64 {
	return max(timeOf(proof, now), v.ended())
}

func timeOf(proof *follower.Freshness, now clock.Reading) int64 {
	if proof == nil {
		return now.Micros()
	}
	return proof.Time(now)
}

// ended is a time before which everything has expired that the set has forgotten, so it MUST be read after the set; see the
// doc of package follower.
func (v *Verifier) ended() int64 { return v.set.Horizon() - events.KeyRetention.Microseconds() }

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
