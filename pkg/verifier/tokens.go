package verifier

import (
	"context"
	"errors"
	"fmt"

	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/token"
)

func (v *Verifier) verifyToken(ctx context.Context, raw string, route *Route) (*Principal, tally, error) {
	if len(raw) > token.MaxLength {
		return nil, tally{}, ErrMalformed
	}
	if route.elite {
		return v.verifyTokenElite(ctx, raw, route)
	}
	h, p, err := judgeCached(v, v.tokens, raw, route)
	t := tallyOf(h)
	if h == nil {
		if h, err = v.newToken(ctx, raw, route); err != nil {
			return nil, t, err
		}
		p, err = v.judge(h, route, nil)
	}
	if err == errStaleAsk {
		p, err = v.askBounded(func() (*Principal, error) { return v.askToken(ctx, h, route) })
	}
	return p, t, err
}

func (v *Verifier) verifyTokenElite(ctx context.Context, raw string, route *Route) (*Principal, tally, error) {
	h := v.tokens.Get(raw)
	t := tallyOf(h)
	if h == nil {
		var err error
		if h, err = v.newToken(ctx, raw, route); err != nil {
			return nil, t, err
		}
	}
	p, err := v.askToken(ctx, h, route)
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

// errUnknownKid: authsvc has told its set, and the key isn't in it.
var errUnknownKid = fmt.Errorf("%w: unknown key", ErrInvalidToken)

// tokenKey finds the key that a token names. An unknown one is looked for (the link shares and limits that); it is the token's fault
// only when authsvc has said, after the token was shown, which keys there are: after an emergency a new key signs at once, and who hasn't
// heard of it has to say that it can't know the token, not that it is bad.
func (v *Verifier) tokenKey(ctx context.Context, kid string, route *Route) (token.Key, error) {
	if key, ok := v.link.Keys().ByKID[kid]; ok {
		return token.Key{Algorithm: key.Alg, Public: key.Key}, nil
	}
	if !route.elite && route.policy == Deny && !v.fresh(route) {
		return token.Key{}, ErrStale // whatever the set would say
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	err := v.link.RefreshKeys(ctx, kid)
	if key, ok := v.link.Keys().ByKID[kid]; ok {
		return token.Key{Algorithm: key.Alg, Public: key.Key}, nil
	}
	switch {
	case err == nil:
		return token.Key{}, errUnknownKid
	case route.elite || route.policy == Ask || v.fresh(route):
		return token.Key{}, errors.Join(ErrAuthUnavailable, err)
	}
	return token.Key{}, ErrStale
}

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
