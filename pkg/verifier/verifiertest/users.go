package verifiertest

import (
	"slices"
	"time"

	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/pkg/verifier"
)

// user is what the issuer knows of one.
type user struct {
	events.UserInfo
	tv   int64
	told bool // by an event: the verifier knows the plan
}

// key is an API key that was issued.
type key struct {
	events.KeyInfo
	owner *user
}

// userOf finds or makes the user of a principal, and completes the principal. Callers hold mu.
func (i *Issuer) userOf(p *verifier.Principal, derived bool) *user {
	i.t.Helper()
	p.Subject = orElse(i.validID("subject", p.Subject), i.newID())
	i.validRoles(p.Roles)
	id, _ := events.ParseID(p.Subject)
	u := i.users[id]
	if u == nil {
		u = &user{tv: i.nextVersion(), UserInfo: events.UserInfo{
			ID: p.Subject, Roles: slices.Clone(p.Roles), Plan: orElse(p.Plan, DefaultPlan), RV: i.nextVersion(),
		}}
		if p.Roles == nil {
			u.Roles = []string{DefaultRole}
		}
		i.users[id] = u
		if p.Plan != "" {
			i.tell(u)
		}
	}
	i.agree(p, u, derived)
	p.Plan = u.Plan
	return u
}

// agree ends the test where a credential asks for what its user hasn't got.
func (i *Issuer) agree(p *verifier.Principal, u *user, derived bool) {
	i.t.Helper()
	switch {
	case u.Disabled:
		i.t.Fatalf("verifiertest: user %s is disabled: nothing is issued to it", u.ID)
	case p.Plan != "" && p.Plan != u.Plan:
		i.t.Fatalf("verifiertest: user %s has the plan %q, not %q; SetPlan changes it", u.ID, u.Plan, p.Plan)
	case p.Roles == nil:
		p.Roles = slices.Clone(u.Roles)
	case derived && subset(p.Roles, u.Roles):
	case !subset(p.Roles, u.Roles) || !subset(u.Roles, p.Roles):
		i.t.Fatalf("verifiertest: user %s has the roles %q, not %q; SetRoles changes them", u.ID, u.Roles, p.Roles)
	}
}

// validRoles ends the test for roles that no user can have.
func (i *Issuer) validRoles(roles []string) {
	i.t.Helper()
	for _, role := range roles {
		if !events.ValidService(role) { // they have the same form
			i.t.Fatalf("verifiertest: role is %q: want [a-z0-9_-]{1,32}", role)
		}
	}
}

func subset(some, all []string) bool {
	return !slices.ContainsFunc(some, func(role string) bool { return !slices.Contains(all, role) })
}

// known finds a user whom a credential was issued to. Callers hold mu.
func (i *Issuer) known(subject string) *user {
	i.t.Helper()
	id, err := events.ParseID(subject)
	u := i.users[id]
	if err != nil || u == nil {
		i.t.Fatalf("verifiertest: no credential was issued to a user %q", subject)
	}
	return u
}

// keyByID returns nil for a key that wasn't issued. Callers hold mu.
func (i *Issuer) keyByID(id string) *key {
	for _, k := range i.keys {
		if k.ID == id {
			return k
		}
	}
	return nil
}

// Revoke ends credentials: tokens, or API keys as if they had been deleted.
func (i *Issuer) Revoke(callers ...Caller) {
	i.t.Helper()
	i.change(func() {
		for _, c := range callers {
			if c.Method == verifier.MethodAPIKey {
				end := i.micros()
				i.emit(events.APIKeyRotated{KeyID: i.validID("key", c.KeyID), NotAfter: &end})
			} else {
				i.emit(events.TokenRevoked{JTI: i.validID("token", c.TokenID)})
			}
		}
	})
}

// RevokeSession ends all tokens of a session, as a logout does.
func (i *Issuer) RevokeSession(id string) {
	i.t.Helper()
	i.change(func() { i.emit(events.TokenRevoked{SessionID: i.validID("session", id)}) })
}

// RevokeUser ends all tokens and API keys that a user has. What is issued after lives.
func (i *Issuer) RevokeUser(subject string) {
	i.t.Helper()
	i.change(func() {
		u := i.known(subject)
		u.tv = i.nextVersion()
		i.emit(events.TokenRevoked{UserID: subject, TV: u.tv, Keys: true})
	})
}

// RevokeAll ends all tokens and API keys that there are, as after an incident. It takes a millisecond of the issuer's
// time, so that what is issued after is younger.
func (i *Issuer) RevokeAll() {
	i.t.Helper()
	i.change(func() {
		i.pass(time.Millisecond)
		i.emit(events.TokenRevoked{Before: i.Now().UnixMilli(), Keys: true})
	})
}

// SetRoles changes a user's roles. It holds for the credentials that the user has, too.
func (i *Issuer) SetRoles(subject string, roles ...string) {
	i.t.Helper()
	i.validRoles(roles)
	i.setState(subject, func(u *user) { u.Roles = append([]string{}, roles...) })
}

// SetPlan changes a user's plan.
func (i *Issuer) SetPlan(subject, plan string) {
	i.t.Helper()
	i.setState(subject, func(u *user) { u.Plan = plan })
}

// Disable disables a user: its tokens are dead for good, its keys until [Issuer.Enable].
func (i *Issuer) Disable(subject string) {
	i.t.Helper()
	i.setState(subject, func(u *user) {
		u.Disabled, u.tv = true, i.nextVersion()
		i.emit(events.TokenRevoked{UserID: subject, TV: u.tv})
	})
}

// Enable ends [Issuer.Disable].
func (i *Issuer) Enable(subject string) {
	i.t.Helper()
	i.setState(subject, func(u *user) { u.Disabled = false })
}

func (i *Issuer) setState(subject string, set func(*user)) {
	i.t.Helper()
	i.change(func() {
		u := i.known(subject)
		set(u)
		i.tell(u)
	})
}

// tell makes the event of a user's state. Callers hold mu.
func (i *Issuer) tell(u *user) {
	i.t.Helper()
	u.RV, u.told = i.nextVersion(), true
	i.emit(events.RoleChanged{UserID: u.ID, RV: u.RV, Roles: u.Roles, Plan: u.Plan, Disabled: u.Disabled})
}

// emit makes an event, which holds at once, and tells the verifier of it, if that hears. The bytes are those of the wire,
// so that an event which authsvc couldn't send ends the test. Callers hold mu.
func (i *Issuer) emit(p events.Payload) {
	i.t.Helper()
	i.seq++
	e, err := onTheWire(p, i.seq, i.micros())
	if err != nil {
		i.t.Fatalf("verifiertest: %s: %v", p.Type(), err)
	}
	i.truth.Apply(e, 0)
	if i.stale {
		i.unheard = append(i.unheard, e)
	} else {
		i.heard.Apply(e, 0)
	}
}

// forgetAfter is longer than any test advances its clock: nothing is forgotten.
const forgetAfter = 100 * 365 * 24 * time.Hour

func onTheWire(p events.Payload, seq uint64, at int64) (events.Event, error) {
	payload, err := events.EncodePayload(p)
	if err != nil {
		return events.Event{}, err
	}
	raw, err := events.EncodeEvent(seq, p.Type(), at, at+forgetAfter.Microseconds(), payload)
	if err != nil {
		return events.Event{}, err
	}
	return events.DecodeEvent(raw)
}
