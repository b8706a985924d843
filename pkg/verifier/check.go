package verifier

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/clock"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/defect"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/follower"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/link"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/revset"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/token"
)

// Verify decides one credential for a route; a nil route has no requirements and the verifier's defaults. The principal
// MUST NOT be changed. Errors wrap exactly one of the package's refusals.
//
// It asks authsvc, and so may block for up to a second or until ctx ends, only for elite routes, for API keys that
// aren't in the cache, for token keys that it doesn't hold, and under the policy [Ask]. All else is decided in-process.
func (v *Verifier) Verify(ctx context.Context, c Credential, route *Route) (*Principal, error) {
	if route == nil {
		route = &v.base
	}
	p, t, err := v.verify(ctx, c, route)
	if err != nil {
		v.counters.refused(t, err)
		return nil, err
	}
	v.counters.accepted(t)
	return p, nil
}

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

func (v *Verifier) verifyToken(ctx context.Context, raw string, route *Route) (*Principal, tally, error) {
	if len(raw) > token.MaxLength {
		return nil, tally{}, ErrMalformed
	}
	h := v.tokens.Get(raw)
	t := tallyOf(h)
	if h == nil {
		var err error
		if h, err = v.newToken(ctx, raw, route); err != nil {
			return nil, t, err
		}
	}
	if route.elite {
		p, err := v.askToken(ctx, h, route)
		return p, t, err
	}
	p, err := v.judge(h, route, nil)
	if err == errStaleAsk {
		p, err = v.askBounded(func() (*Principal, error) { return v.askToken(ctx, h, route) })
	}
	return p, t, err
}

// token returns the verified claims of a token: from the cache if exactly this token was verified before.
func (v *Verifier) token(ctx context.Context, raw string, route *Route) (*holding, error) {
	if len(raw) > token.MaxLength {
		return nil, ErrMalformed
	}
	if h := v.tokens.Get(raw); h != nil {
		return h, nil
	}
	return v.newToken(ctx, raw, route)
}

// newToken verifies a token that isn't in the cache.
func (v *Verifier) newToken(ctx context.Context, raw string, route *Route) (*holding, error) {
	v.counters.miss()
	t, err := token.Parse(raw)
	if err != nil {
		return nil, tokenError(err)
	}
	key, err := v.tokenKey(ctx, t.KeyID, route)
	if err != nil {
		return nil, err
	}
	return v.checkSignature(ctx, raw, t, key)
}

// checkSignature verifies a few tokens at a time: after a restart every token is new, and those that were seen before
// mustn't wait for signatures.
func (v *Verifier) checkSignature(ctx context.Context, raw string, t token.Token, key token.Key) (*holding, error) {
	select {
	case v.verifying <- struct{}{}:
		defer func() { <-v.verifying }()
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", ErrAuthUnavailable, ctx.Err())
	}
	if h := v.tokens.Get(raw); h != nil { // by another request meanwhile
		return h, nil
	}
	claims, err := t.Verify(key, v.issuer, v.audience)
	if err != nil {
		return nil, tokenError(err)
	}
	e := holdToken(claims)
	if now := v.clock.Now().Micros(); now < e.Value.expires {
		v.tokens.Put(raw, e, now, e.Value.expires)
	}
	return &e.Value, nil
}

// errUnknownKid: the verifier holds exactly the set that authsvc has, and the key isn't in it.
var errUnknownKid = fmt.Errorf("%w: unknown key", ErrInvalidToken)

// keysVouched is for how long a proof shows that a key which it doesn't know doesn't exist. It is not for B: after an
// emergency a new key signs at once, and who is cut off just then has to say that it can't know the token, not that it is bad.
const keysVouched = time.Second

// tokenKey finds the key that a token names. An unknown one is looked for once (the link shares and limits that); it is
// the token's fault only when authsvc has just said which keys there are.
func (v *Verifier) tokenKey(ctx context.Context, kid string, route *Route) (token.Key, error) {
	if key, ok := v.link.Keys().ByKID[kid]; ok {
		return token.Key{Algorithm: key.Alg, Public: key.Key}, nil
	}
	if !route.elite && route.policy == Deny && !v.fresh(route) {
		return token.Key{}, ErrStale // whatever the set would say
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	err := v.link.RefreshKeys(ctx)
	if key, ok := v.link.Keys().ByKID[kid]; ok {
		return token.Key{Algorithm: key.Alg, Public: key.Key}, nil
	}
	switch {
	case err == nil, errors.Is(err, link.ErrCoolDown) && v.link.Fresh().Within(v.clock.Now(), keysVouched):
		return token.Key{}, errUnknownKid
	case route.elite || route.policy == Ask || v.fresh(route):
		return token.Key{}, errors.Join(ErrAuthUnavailable, err)
	}
	return token.Key{}, ErrStale
}

// fresh reports whether the verifier is fresh enough for a route at this moment.
func (v *Verifier) fresh(route *Route) bool { return v.link.Fresh().Within(v.clock.Now(), route.bound) }

// tokenError names the refusal for an error of package token.
func tokenError(err error) error {
	switch {
	case errors.Is(err, token.ErrMalformed):
		return ErrMalformed
	case errors.Is(err, token.ErrAudience):
		return ErrWrongAudience
	}
	return fmt.Errorf("%w: %w", ErrInvalidToken, err)
}

// Refusals of judge that are not final.
var (
	errStaleAsk = errors.New("stale: ask authsvc")
	errOutlived = errors.New("resolution has outlived its time")
)

// judge decides a credential in hand from what this process knows. The order of the loads is the promise: the proof
// is loaded before the set and the key set, so that they hold at least what the proof vouches for; and the one clock
// reading comes after both, so that a process that slept in between sees that it did. The order of the refusals is
// that of the design: fresh, still known, not revoked, mode, roles, (quota,) time.
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
	// Quotas will be taken here: after everything that refuses for good, before the time.
	return s.principal, inTime(v.timeBy(proof, now), h.notBefore, s.expires)
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

// look asks the set and the key set about a holding. While neither has changed since it last asked, the answer is the
// same: that is the only short cut. The version is read before the content, so an answer is never newer than its stamp.
func (v *Verifier) look(h *holding) standing {
	version, keys := v.set.Version(), v.link.Keys()
	if h.clean.Load() == version && h.cleanFor.Load() == keys {
		return standing{nil, &h.principal, h.expires}
	}
	if s := h.seen.Load(); s != nil && s.version == version && s.keys == keys {
		return s.standing
	}
	return v.lookAnew(h, version, keys)
}

// lookAnew asks. What is found is put down for the next time: as a stamp, if it is nothing.
func (v *Verifier) lookAnew(h *holding, version uint64, keys *link.TokenKeys) standing {
	s := standing{principal: &h.principal, expires: h.expires}
	s.refusal = v.stand(h, keys, &s)
	if defect.Stamp {
		defect.Meanwhile()
		version = v.set.Version()
	}
	if s == (standing{nil, &h.principal, h.expires}) {
		h.clean.Store(version)
		h.cleanFor.Store(keys)
	} else {
		h.seen.Store(&sight{version, keys, s})
	}
	return s
}

// stand fills a standing, and returns why the credential is dead or strange here, if it is.
func (v *Verifier) stand(h *holding, keys *link.TokenKeys, s *standing) error {
	if _, ok := keys.ByKID[h.kid]; !ok && !h.isKey {
		return errUnknownKid
	}
	for i := range h.chain {
		if !s.survives(v.set.Token(h.chain[i])) {
			return ErrRevoked
		}
	}
	if h.isKey && !s.survives(v.set.Key(*h.key)) {
		return ErrRevoked
	}
	if v.parentDisabled(h) {
		return ErrRevoked
	}
	disabled := h.disabled
	if u, ok := v.set.User(h.subject); ok && u.RV >= h.rv {
		s.principal, disabled = h.as(u.Roles, u.Plan), u.Disabled
	}
	switch {
	case disabled:
		return ErrRevoked
	case h.principal.Mode != v.mode:
		return ErrWrongMode
	}
	return nil
}

func (s *standing) survives(verdict revset.Verdict) bool {
	s.expires = min(s.expires, verdict.NotAfter)
	return !verdict.Revoked
}

// parentDisabled reports whether the user of a parent was disabled. The token's own user is judged with its versions.
func (v *Verifier) parentDisabled(h *holding) bool {
	for i := range h.chain {
		if parent := h.chain[i].Subject; parent != h.subject && parent != (events.ID{}) {
			if u, ok := v.set.User(parent); ok && u.Disabled {
				return true
			}
		}
	}
	return false
}
