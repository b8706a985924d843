package auth

import (
	"errors"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/authsvc/internal/liveness"
	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/pkg/events"
)

// derived makes a token of the scene's other user that was derived from a key or from parents, as another release may.
func (s *scene) derived(t *testing.T, user User, change func(c *accessClaims)) string {
	t.Helper()
	claims, err := peekToken(s.a.AccessToken)
	if err != nil {
		t.Fatal(err)
	}
	claims.Subject, claims.SessionID, claims.TV = user.ID, "", s.tv(t, user)
	change(&claims)
	token, err := signToken(s.ring.keys[0].KID, "EdDSA", s.ring.keys[0].Private, claims)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func (s *scene) tv(t *testing.T, user User) (tv int64) {
	t.Helper()
	s.update(t, func(tx *store.Tx) error {
		u, err := tx.User(t.Context(), user.ID)
		tv = u.TV
		return err
	})
	return tv
}

// wantAlive asks for a token in every way that there is; all judge alike. Nobody is a caller of authsvc's own with one.
func (s *scene) wantAlive(t *testing.T, token string, want bool) {
	t.Helper()
	if _, err := s.AuthenticateBearer(t.Context(), token, Client{}); !errors.Is(err, ErrUnauthenticated) {
		t.Errorf("/v1 takes it: %v", err)
	}
	if _, _, err := s.SetRoles(t.Context(), s.root, s.root.UserID, []string{RoleAdmin, RoleIntrospect}); err != nil {
		t.Fatal(err)
	}
	found, err := s.Introspect(t.Context(), s.as(t, "root"), token)
	if err != nil || found.Active != want {
		t.Errorf("introspection: %v, %v", found.Active, err)
	}
	parsed, err := s.parse(token, s.ring.KnownTokenKey)
	if err != nil {
		t.Fatal(err)
	}
	states, err := s.db.Ask(t.Context(), []store.Question{parsed.question})
	if err != nil {
		t.Fatal(err)
	}
	if alive := liveness.Token(states[0]) == liveness.Alive; alive != want {
		t.Errorf("the elite check takes it: %v", alive)
	}
}

// What a token was derived from ends it for callers of authsvc and in introspection, as it does in the elite check.
func TestDerivedTokensDieWithWhatTheyRestOnEverywhere(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		s := newScene(t, w)
		other := w.register(t, "other").User
		parent := func(c *accessClaims) {
			own, err := peekToken(s.a.AccessToken)
			if err != nil {
				t.Fatal(err)
			}
			c.Parents = []events.Parent{{JTI: own.ID, SessionID: own.SessionID, Subject: own.Subject, TV: own.TV}}
		}
		ofSession := s.derived(t, other, parent)
		ofKey := s.derived(t, s.user, func(c *accessClaims) { c.KeyID, c.ClientID = s.key.ID, s.key.ID })
		ofParentKey := s.derived(t, other, func(c *accessClaims) {
			c.Parents = []events.Parent{{Subject: s.user.ID, TV: s.tv(t, s.user), KeyID: s.key.ID}}
		})
		many := s.derived(t, other, func(c *accessClaims) { c.Parents = make([]events.Parent, events.MaxParents+1) })
		if _, err := w.AuthenticateBearer(t.Context(), many, Client{}); !errors.Is(err, ErrUnauthenticated) {
			t.Errorf("too many parents: %v", err)
		}
		for _, token := range []string{ofSession, ofKey, ofParentKey} {
			s.wantAlive(t, token, true)
		}
		roleless := s.derived(t, s.user, func(c *accessClaims) { c.KeyID, c.Roles = s.key.ID, nil })
		found, err := w.Introspect(t.Context(), s.as(t, "root"), roleless)
		if err != nil || !found.Active || len(found.Roles) > 0 || found.Scope != "" {
			t.Errorf("a token without roles: %+v, %v", found, err)
		}
		if _, err := w.Logout(t.Context(), s.caller); err != nil {
			t.Fatal(err)
		}
		s.wantAlive(t, ofSession, false)
		s.wantAlive(t, ofKey, true)
		for _, disabled := range []bool{true, false} {
			if _, _, err := w.UpdateAPIKey(t.Context(), w.caller(t, s.b.AccessToken), s.key.ID, APIKeyPatch{Disabled: &disabled}); err != nil {
				t.Fatal(err)
			}
			s.wantAlive(t, ofKey, !disabled)
			s.wantAlive(t, ofParentKey, !disabled)
		}
		if _, _, err := w.SetStatus(t.Context(), s.root, s.user.ID, true); err != nil {
			t.Fatal(err)
		}
		for _, token := range []string{ofSession, ofKey, ofParentKey} {
			s.wantAlive(t, token, false)
		}
		s.wantAlive(t, s.derived(t, other, func(c *accessClaims) { c.Expires = time.Now().Add(time.Minute).Unix() }), false) // rests on nothing
	})
}
