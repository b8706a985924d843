package elite

import (
	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/pkg/events"
)

// alive is the absence of a reason to refuse.
const alive events.Reason = ""

// judgeToken returns why a token is dead, or alive. It dies with any of its parents.
func judgeToken(s store.TokenState) events.Reason {
	if !s.KIDInSet {
		return events.ReasonInvalidToken
	}
	reason := alive
	for i, c := range s.Credentials {
		switch judgeCredential(c, s, i == 0) {
		case events.ReasonInvalidToken:
			return events.ReasonInvalidToken
		case events.ReasonRevoked:
			reason = events.ReasonRevoked
		case events.ReasonExpired:
			if reason == alive {
				reason = events.ReasonExpired
			}
		}
	}
	return reason
}

// judgeCredential judges the token itself, or one parent. A parent may be an API key alone, which has no user version:
// then the key's own decides.
func judgeCredential(c store.CredentialState, s store.TokenState, itself bool) events.Reason {
	isToken := itself || c.JTI != "" || c.SessionID != ""
	if !isToken && c.KeyID == "" {
		return events.ReasonInvalidToken // it names nothing that could be alive
	}
	switch {
	case c.JTIRevoked, c.JTI != "" && store.MadeBefore(c.JTI, s.Authority.TokensBefore):
		return events.ReasonRevoked
	case c.Subject != "" && (c.User.ID == "" || c.User.Disabled):
		return events.ReasonRevoked
	case isToken && c.TV < c.User.TV:
		return events.ReasonRevoked
	case isToken && c.User.ID == "": // a token without a subject
		return events.ReasonInvalidToken
	}
	session, key := alive, alive
	if c.SessionID != "" {
		session = judgeSession(c.Session, c.User, s.Authority, s.Now)
	}
	if c.KeyID != "" {
		key = judgeKey(c.Key, c.KeyUser, s.Authority, s.Now)
	}
	return graver(session, key)
}

// graver prefers what a user can't cure by waiting.
func graver(a, b events.Reason) events.Reason {
	if a == events.ReasonRevoked || b == alive {
		return a
	}
	return b
}

func judgeSession(session store.Session, user store.User, a store.Authority, now int64) events.Reason {
	switch {
	case session.Alive(user, a, now):
		return alive
	case session.Alive(user, a, 0): // only its time has run out
		return events.ReasonExpired
	}
	return events.ReasonRevoked
}

// judgeKey returns why an API key is dead, or alive. A key that isn't there any more was revoked.
func judgeKey(key store.APIKey, user store.User, a store.Authority, now int64) events.Reason {
	switch {
	case key.Alive(user, a, now):
		return alive
	case key.Alive(user, a, 0) && key.Successor == "": // only its time has run out, and nobody replaced it
		return events.ReasonExpired
	}
	return events.ReasonRevoked
}

// dead reports whether a key is dead for good by what verifiers may not be told any more: the events that killed it
// lapse, while its row stays. What may change again, or is a time, they judge themselves.
func dead(s store.KeyState) bool {
	return s.Key.ID == "" || s.Key.TV < s.User.KeysTV || store.MadeBefore(s.Key.ID, s.Authority.KeysBefore)
}

func userInfo(u store.User) *events.UserInfo {
	return &events.UserInfo{ID: u.ID, Roles: u.Roles, Plan: u.Plan, Disabled: u.Disabled, RV: u.RV}
}

// keyInfo describes a key. One that was ended at once has its end before all time: the clock may have been set back since.
func keyInfo(k store.APIKey) *events.KeyInfo {
	if k.Ended {
		k.NotAfter = new(int64)
		*k.NotAfter = 1
	}
	return &events.KeyInfo{ID: k.ID, Mode: events.Mode(k.Mode), Scopes: k.Scopes, TV: k.TV, KV: k.KV,
		Suspended: k.Suspended, NotAfter: k.NotAfter}
}
