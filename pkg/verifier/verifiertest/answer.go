package verifiertest

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/revset"
)

// answer is authsvc's, by what is true now, whatever the verifier has heard of it.
func (i *Issuer) answer(kind events.Kind, body []byte) ([]byte, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	switch {
	case i.away:
		return nil, errAway
	case kind == events.KindCheck:
		return i.check(body)
	case kind == events.KindResolve:
		return i.resolve(body)
	case kind == events.KindQuota:
		return i.quota(body)
	}
	return nil, fmt.Errorf("verifiertest: no answer to questions of kind %q", kind)
}

func (i *Issuer) resolve(body []byte) ([]byte, error) {
	q, err := events.DecodeResolveRequest(body)
	if err != nil {
		return nil, err
	}
	a := events.ResolveAnswer{Nonce: q.Nonce, Request: events.HashOf(body), Now: i.micros()}
	if k := i.keys[q.KeyHash]; k != nil {
		a.Found, a.User, a.Key = true, &k.owner.UserInfo, &k.KeyInfo
	}
	return json.Marshal(a)
}

func (i *Issuer) check(body []byte) ([]byte, error) {
	q, err := events.DecodeCheckRequest(body)
	if err != nil {
		return nil, err
	}
	a := events.CheckAnswer{Nonce: q.Nonce, Request: events.HashOf(body), Now: i.micros()}
	if q.KeyHash != nil {
		i.checkKey(i.keys[*q.KeyHash], &a)
	} else {
		i.checkToken(q, &a)
	}
	a.Active = a.Reason == ""
	if !a.Active {
		a.User, a.Key = nil, nil
	}
	return json.Marshal(a)
}

func (i *Issuer) checkKey(k *key, a *events.CheckAnswer) {
	if k == nil {
		a.Reason = events.ReasonUnknownKey
		return
	}
	a.User, a.Key = &k.owner.UserInfo, &k.KeyInfo
	if a.Reason = i.reason(i.truth.Key(k.seen()), a.Now); k.owner.Disabled {
		a.Reason = events.ReasonRevoked
	}
}

// seen is the key as the set judges it.
func (k *key) seen() revset.Key {
	s := revset.Key{TV: k.TV, Suspended: k.Suspended, KV: k.KV}
	s.ID, _ = events.ParseID(k.ID)
	s.Owner, _ = events.ParseID(k.owner.ID)
	if k.NotAfter != nil {
		s.NotAfter = max(*k.NotAfter, 1) // 0 is no end
	}
	return s
}

// checkToken judges a token and all that it was derived from.
func (i *Issuer) checkToken(q events.CheckRequest, a *events.CheckAnswer) {
	chain := append([]events.Parent{{JTI: q.JTI, SessionID: q.SessionID, Subject: q.Subject, TV: q.TV, KeyID: q.KeyID}}, q.Parents...)
	for _, c := range chain {
		if a.Reason = i.judge(c, a.Now); a.Reason != "" {
			return
		}
		if k := i.keyByID(c.KeyID); k != nil && k.NotAfter != nil && (a.NotAfter == nil || *k.NotAfter < *a.NotAfter) {
			a.NotAfter = k.NotAfter
		}
	}
	subject, _ := events.ParseID(q.Subject)
	user := i.users[subject].UserInfo
	if k := i.keyByID(q.KeyID); k != nil && k.owner.ID != q.Subject { // an actor's
		lost := func(role string) bool { return !slices.Contains(k.owner.Roles, role) }
		user.Roles = slices.DeleteFunc(slices.Clone(user.Roles), lost)
	}
	a.User = &user
}

func (i *Issuer) judge(p events.Parent, now int64) events.Reason {
	c := revset.Credential{TV: p.TV}
	c.JTI, _ = events.ParseID(p.JTI)
	c.SessionID, _ = events.ParseID(p.SessionID)
	c.Subject, _ = events.ParseID(p.Subject)
	c.KeyID, _ = events.ParseID(p.KeyID)
	if u := i.users[c.Subject]; u == nil || u.Disabled {
		return events.ReasonRevoked
	}
	reason := i.reason(i.truth.Token(c), now)
	if k := i.keyByID(p.KeyID); k != nil && reason == "" {
		return i.reason(i.truth.Key(k.seen()), now)
	}
	return reason
}

func (i *Issuer) reason(v revset.Verdict, now int64) events.Reason {
	switch {
	case v.Revoked:
		return events.ReasonRevoked
	case v.NotAfter <= now:
		return events.ReasonExpired
	}
	return ""
}
