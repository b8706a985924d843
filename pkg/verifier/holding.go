package verifier

import (
	"math"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/pkg/events/apikey"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/cache"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/clock"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/link"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/revset"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/token"
)

// leeway is what clocks may differ in judging exp and nbf. Freshness compares no two clocks and needs none.
const leeway = 30 * time.Second

// never is a time that doesn't come, in microseconds.
const never = math.MaxInt64

// holding is a credential in hand: facts that were verified and never change, and, beside them, what the revocation
// set said when it was last asked. Caches keep holdings; a decision is made from one on every use.
type holding struct {
	// What every use reads: with the head of the entry one cache line.

	// At this version of the set, and with these keys, there was nothing against it. One doesn't concern the other, so
	// they needn't be of one moment.
	clean    atomic.Uint64
	cleanFor atomic.Pointer[link.TokenKeys]
	// In microseconds by the guarded clock; leeway is in them already.
	notBefore, expires int64
	stripe             uint8 // which counters it counts on
	isKey              bool
	use                atomic.Uint32 // of API keys: presented, accepted

	seen atomic.Pointer[sight] // what there was against it, or changed it
	// failures to renew it; only tendKeys writes.
	failures atomic.Int64

	facts // in it, so that where the principal is doesn't have to be read first
}

// facts are what was verified. They never change, so they may be copied.
type facts struct {
	resolution // of API keys

	// principal is who it speaks for, with the roles, plan and standing that the credential itself tells, at version rv.
	principal Principal
	rv        int64
	disabled  bool
	// narrow bounds the roles when narrowed is set: the scopes of a key, the roles of a derived token.
	narrow   []string
	narrowed bool

	kid     string // of the token key
	subject events.ID
	// chain is the token and all that it was derived from: each can kill it. Empty for API keys.
	chain []revset.Credential

	key *revset.Key // of API keys
}

// Entries of the caches. Most tokens fit into theirs, and all API keys.
type (
	heldToken   = cache.Entry[holding, tokenRoom]
	heldKey     = cache.Entry[holding, keyRoom]
	heldUnknown = cache.Entry[unknown, keyRoom]

	// With it an entry is a size class of the allocator. authsvc's tokens are 664 bytes, and longer with the issuer's name, with
	// roles and with parents.
	tokenRoom = [896]byte
	keyRoom   = [apikey.Length]byte
)

// holdToken makes a holding of verified claims.
func holdToken(c *token.Claims) *heldToken {
	f := facts{
		principal: Principal{
			Subject: c.Subject.String(), Roles: c.Roles, Method: MethodBearer, Mode: c.Mode, SessionID: text(c.SessionID),
			KeyID: text(c.APIKeyID), TokenID: c.ID.String(), ClientID: c.ClientID, AuthMethods: c.Methods,
			Expires: time.Unix(c.Expires, 0).UTC(), claims: c.Payload,
		},
		rv: c.RV, kid: c.KeyID, subject: c.Subject,
	}
	if c.AuthTime > 0 {
		f.principal.AuthTime = time.Unix(c.AuthTime, 0).UTC()
	}
	if c.Actor != nil {
		f.principal.Actor = c.Actor.Subject
	}
	if len(c.Parents) > 0 || c.Actor != nil || !c.APIKeyID.IsZero() {
		f.narrow, f.narrowed = c.Roles, true // derived: a promotion of the user doesn't widen what was handed on
	}
	f.principal.clip()
	f.chain = append(f.chain, revset.Credential{JTI: c.ID, SessionID: c.SessionID, Subject: c.Subject, KeyID: c.APIKeyID, TV: c.TV})
	for _, p := range c.Parents {
		f.chain = append(f.chain, revset.Credential{JTI: p.ID, SessionID: p.SessionID, Subject: p.Subject, KeyID: p.APIKeyID, TV: p.TV})
	}
	return &heldToken{Value: holding{
		facts: f, stripe: uint8(rand.Uint32()),
		notBefore: micros(c.NotBefore) - leeway.Microseconds(), expires: micros(c.Expires) + leeway.Microseconds(),
	}}
}

// resolution is what bounds the life of a resolved API key, read before authsvc was asked; see [Verifier.outlived].
type resolution struct {
	asked      clock.Reading
	generation uint64
}

// holdKey makes a holding of a resolution. The ids were validated by its decoder.
func holdKey(user *events.UserInfo, key *events.KeyInfo, r resolution) (*heldKey, error) {
	id, err := events.ParseID(key.ID)
	if err != nil {
		return nil, err
	}
	owner, err := events.ParseID(user.ID)
	if err != nil {
		return nil, err
	}
	f := facts{
		principal: Principal{
			Subject: user.ID, Roles: user.Roles, Method: MethodAPIKey, Mode: key.Mode, Plan: user.Plan, KeyID: key.ID, Scopes: key.Scopes,
		},
		rv: user.RV, disabled: user.Disabled, subject: owner, narrow: key.Scopes, narrowed: len(key.Scopes) > 0,
		key:        &revset.Key{ID: id, Owner: owner, TV: key.TV, Suspended: key.Suspended, KV: key.KV},
		resolution: r,
	}
	if key.NotAfter != nil {
		// Zero means "no end" to the set, so an end in 1970 becomes the next moment.
		f.key.NotAfter = max(*key.NotAfter, 1)
		f.principal.Expires = time.UnixMicro(*key.NotAfter).UTC()
	}
	f.principal.Roles = f.within(user.Roles)
	f.principal.clip()
	return f.heldKey(), nil
}

// clip has whoever appends to a slice of the principal get one of their own: this one is everybody's who has the credential.
func (p *Principal) clip() {
	p.Roles, p.Scopes, p.AuthMethods = slices.Clip(p.Roles), slices.Clip(p.Scopes), slices.Clip(p.AuthMethods)
}

// heldKey returns an entry for a resolution that may be in the cache already.
func (f facts) heldKey() *heldKey {
	return &heldKey{Value: holding{facts: f, isKey: true, notBefore: math.MinInt64, expires: never, stripe: uint8(rand.Uint32())}}
}

func text(id events.ID) string {
	if id.IsZero() {
		return ""
	}
	return id.String()
}

// micros turns claimed seconds into microseconds, however large they are.
func micros(seconds int64) int64 {
	const most = math.MaxInt64/1_000_000 - 1000
	return min(seconds, most) * 1_000_000
}

// within narrows roles to what the credential may have of them.
func (f *facts) within(roles []string) []string {
	if !f.narrowed {
		return roles
	}
	kept := make([]string, 0, len(roles))
	for _, role := range roles {
		if slices.Contains(f.narrow, role) {
			kept = append(kept, role)
		}
	}
	return kept
}

// as returns the principal with an authorization state that is not older than the credential's own.
func (f *facts) as(roles []string, plan string) *Principal {
	roles = f.within(roles)
	if plan == f.principal.Plan && slices.Equal(roles, f.principal.Roles) {
		return &f.principal
	}
	p := f.principal
	p.Roles, p.Plan = slices.Clip(roles), plan
	return &p
}
