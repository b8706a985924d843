package verifier

import (
	"math"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"github.com/tocsin-auth/tocsin/pkg/events"
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
	// What every use reads comes first and together.

	seen   atomic.Pointer[sight]
	key    *revset.Key // nil for tokens
	stripe uint8       // which counters it counts on
	used   atomic.Bool // API keys: since it was resolved
	// failures to renew it; only tendKeys writes.
	failures atomic.Int64
	// In microseconds by the guarded clock; leeway is in them already.
	notBefore, expires int64
	// asked and generation bound the life of a resolution; see [Verifier.outlived].
	asked      clock.Reading
	generation uint64

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
}

func (h *holding) isKey() bool { return h.key != nil }

// sight is what the set and the key set said of a holding at one version of both.
type sight struct {
	version   uint64
	keys      *link.TokenKeys
	refusal   error // nil: alive
	notAfter  int64 // microseconds: an API key that it rests on ends then
	principal *Principal
}

// holdToken makes a holding of verified claims.
func holdToken(c *token.Claims) *holding {
	h := &holding{
		principal: Principal{
			Subject: c.Subject.String(), Roles: c.Roles, Method: MethodBearer, Mode: c.Mode, SessionID: text(c.SessionID),
			KeyID: text(c.APIKeyID), TokenID: c.ID.String(), ClientID: c.ClientID, AuthMethods: c.Methods,
			Expires: time.Unix(c.Expires, 0).UTC(), claims: c.Payload,
		},
		rv: c.RV, kid: c.KeyID, subject: c.Subject,
		notBefore: micros(c.NotBefore) - leeway.Microseconds(), expires: micros(c.Expires) + leeway.Microseconds(),
		stripe: uint8(rand.Uint32()),
	}
	if c.AuthTime > 0 {
		h.principal.AuthTime = time.Unix(c.AuthTime, 0).UTC()
	}
	if c.Actor != nil {
		h.principal.Actor = c.Actor.Subject
	}
	if len(c.Parents) > 0 || c.Actor != nil || !c.APIKeyID.IsZero() {
		h.narrow, h.narrowed = c.Roles, true // derived: a promotion of the user doesn't widen what was handed on
	}
	h.chain = append(h.chain, revset.Credential{JTI: c.ID, SessionID: c.SessionID, Subject: c.Subject, KeyID: c.APIKeyID, TV: c.TV})
	for _, p := range c.Parents {
		h.chain = append(h.chain, revset.Credential{JTI: p.ID, SessionID: p.SessionID, Subject: p.Subject, KeyID: p.APIKeyID, TV: p.TV})
	}
	return h
}

// holdKey makes a holding of a resolution. The ids were validated by its decoder.
func holdKey(user *events.UserInfo, key *events.KeyInfo) (*holding, error) {
	id, err := events.ParseID(key.ID)
	if err != nil {
		return nil, err
	}
	owner, err := events.ParseID(user.ID)
	if err != nil {
		return nil, err
	}
	h := &holding{
		principal: Principal{
			Subject: user.ID, Roles: user.Roles, Method: MethodAPIKey, Mode: key.Mode, Plan: user.Plan, KeyID: key.ID, Scopes: key.Scopes,
		},
		rv: user.RV, disabled: user.Disabled, subject: owner, narrow: key.Scopes, narrowed: len(key.Scopes) > 0,
		notBefore: math.MinInt64, expires: never,
		key:    &revset.Key{ID: id, Owner: owner, TV: key.TV, Suspended: key.Suspended, KV: key.KV},
		stripe: uint8(rand.Uint32()),
	}
	if key.NotAfter != nil {
		// Zero means "no end" to the set, so an end in 1970 becomes the next moment.
		h.key.NotAfter = max(*key.NotAfter, 1)
		h.principal.Expires = time.UnixMicro(*key.NotAfter).UTC()
	}
	h.principal.Roles = h.within(user.Roles)
	return h, nil
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
func (h *holding) within(roles []string) []string {
	if !h.narrowed {
		return roles
	}
	kept := make([]string, 0, len(roles))
	for _, role := range roles {
		if slices.Contains(h.narrow, role) {
			kept = append(kept, role)
		}
	}
	return kept
}

// as returns the principal with an authorization state that is not older than the credential's own.
func (h *holding) as(roles []string, plan string) *Principal {
	roles = h.within(roles)
	if plan == h.principal.Plan && slices.Equal(roles, h.principal.Roles) {
		return &h.principal
	}
	p := h.principal
	p.Roles, p.Plan = roles, plan
	return &p
}
