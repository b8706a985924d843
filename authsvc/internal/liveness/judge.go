package liveness

import (
	"slices"

	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/pkg/events"
)

// Alive is the absence of a reason to refuse.
const Alive events.Reason = ""

// Question asks about a token signed with kid, by its own claims, which are verified, and those of its parents.
func Question(kid string, own store.Credential, parents []events.Parent) store.Question {
	credentials := make([]store.Credential, 1, 1+len(parents))
	credentials[0] = own
	for _, p := range parents {
		credentials = append(credentials, store.Credential{JTI: p.JTI, SessionID: p.SessionID, Subject: p.Subject, KeyID: p.KeyID, TV: p.TV})
	}
	return store.Question{Kid: kid, Credentials: credentials}
}

// Token returns why a token is dead, or [Alive]. It dies with any of its parents. Signature, type and exp are the caller's
// to judge.
func Token(s store.State) events.Reason {
	own := s.Credentials[0]
	if restsOnNothing := own.SessionID == "" && own.KeyID == "" && len(s.Credentials) == 1; restsOnNothing || !s.KIDInSet {
		return events.ReasonInvalidToken // we issue none that nothing but its time could end
	}
	reason := Alive
	for i := range s.Credentials {
		switch judgeCredential(s, i) {
		case events.ReasonInvalidToken:
			return events.ReasonInvalidToken
		case events.ReasonRevoked:
			reason = events.ReasonRevoked
		case events.ReasonExpired:
			if reason == Alive {
				reason = events.ReasonExpired
			}
		}
	}
	return reason
}

// NotAfter returns when the first of the keys ends on which a living token rests, or nil if none does.
func NotAfter(s store.State) (ends *int64) {
	for _, c := range s.Credentials {
		if end := c.Key.NotAfter; c.KeyID != "" && end != nil && (ends == nil || *end < *ends) {
			ends = end
		}
	}
	return ends
}

// judgeCredential judges the token itself, the first, or one parent. Each is of a user, dies with every bump of that user's
// tokens, and names at least one thing besides that could be alive; a session or key that it names is that user's.
func judgeCredential(s store.State, i int) events.Reason {
	c, isToken := s.Credentials[i], i == 0 || s.Credentials[i].JTI != "" || s.Credentials[i].SessionID != ""
	switch {
	case !isToken && c.KeyID == "", c.Subject == "":
		return events.ReasonInvalidToken
	case c.JTIRevoked, c.JTI != "" && store.MadeBefore(c.JTI, s.Authority.TokensBefore):
		return events.ReasonRevoked
	case c.User.ID == "" || c.User.Disabled || c.TV < c.User.TV:
		return events.ReasonRevoked
	case c.KeyID != "" && !ownsKey(s, i):
		return events.ReasonRevoked
	}
	session, key := Alive, Alive
	if c.SessionID != "" {
		session = judgeSession(c.Session, c.User, s.Authority, s.Now)
	}
	if c.KeyID != "" {
		key = judgeKey(c, s.Authority, s.Now)
	}
	return graver(session, key)
}

// ownsKey reports whether a credential may name its key: one of its user's own. The token itself may name an actor's, who is
// then among its parents with that key.
func ownsKey(s store.State, i int) bool {
	c := s.Credentials[i]
	if c.Key.UserID == c.Subject {
		return true
	}
	actor := func(p store.CredentialState) bool { return p.KeyID == c.KeyID && p.Subject == c.Key.UserID }
	return i == 0 && slices.ContainsFunc(s.Credentials[1:], actor)
}

// Roles returns those of the subject of a token that lives; of a token that an actor got, those that the actor has, too. It is for
// whoever asked to narrow them to what the token itself was given.
func Roles(s store.State) []string {
	own := s.Credentials[0]
	if own.KeyID == "" || own.Key.UserID == own.Subject {
		return own.User.Roles
	}
	return slices.DeleteFunc(slices.Clone(own.User.Roles), func(role string) bool { return !slices.Contains(own.KeyUser.Roles, role) })
}

// graver prefers what a user can't cure by waiting.
func graver(a, b events.Reason) events.Reason {
	if a == events.ReasonRevoked || b == Alive {
		return a
	}
	return b
}

func judgeSession(session store.Session, user store.User, a store.Authority, now int64) events.Reason {
	switch {
	case session.Alive(user, a, now):
		return Alive
	case session.Alive(user, a, 0): // only its time has run out
		return events.ReasonExpired
	}
	return events.ReasonRevoked
}

// Key returns why an API key that was asked for by its hash is dead, or [Alive].
func Key(s store.State) events.Reason {
	if s.Credentials[0].Key.ID == "" {
		return events.ReasonUnknownKey
	}
	return judgeKey(s.Credentials[0], s.Authority, s.Now)
}

// judgeKey returns why an API key is dead, or [Alive]. A key that isn't there any more was revoked.
func judgeKey(c store.CredentialState, a store.Authority, now int64) events.Reason {
	switch {
	case c.Key.Alive(c.KeyUser, a, now):
		return Alive
	case c.Key.Alive(c.KeyUser, a, 0) && c.Key.Successor == "": // only its time has run out, and nobody replaced it
		return events.ReasonExpired
	}
	return events.ReasonRevoked
}

// KeyIsGone reports whether an API key that was asked for by its hash is dead for good by what verifiers may not be told any
// more: the events that killed it lapse, while its row stays. What may change again, or is a time, they judge themselves.
func KeyIsGone(s store.State) bool {
	key, user := s.Credentials[0].Key, s.Credentials[0].KeyUser
	return key.ID == "" || key.TV < user.KeysTV || store.MadeBefore(key.ID, s.Authority.KeysBefore)
}
