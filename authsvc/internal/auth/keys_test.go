package auth

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/pkg/events"
)

func (s *scene) key1(t *testing.T, k NewAPIKey) IssuedKey {
	t.Helper()
	issued, err := s.CreateAPIKey(t.Context(), s.caller, k)
	if err != nil {
		t.Fatal(err)
	}
	return issued
}

func (s *scene) works(key string) bool {
	_, err := s.AuthenticateKey(s.t.Context(), key, Client{})
	if err != nil && !errors.Is(err, ErrUnauthenticated) {
		s.t.Fatal(err)
	}
	return err == nil
}

func TestKeyScopesNarrowTheRoles(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		s := newScene(t, w)
		if _, _, err := w.SetRoles(t.Context(), s.root, s.user.ID, []string{"user", "editor", "admin"}); err != nil {
			t.Fatal(err)
		}
		k := s.key1(t, NewAPIKey{Name: "ci", Mode: events.ModeLive, Scopes: []string{"editor", "owner", "editor"}})
		c, err := w.AuthenticateKey(t.Context(), k.Key, Client{})
		if err != nil || len(c.Roles) != 1 || c.Roles[0] != "editor" {
			t.Fatalf("roles %v %v", c.Roles, err)
		}
	})
}

func TestKeyDiesAtItsExpiry(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		s := newScene(t, w)
		k := s.key1(t, NewAPIKey{Name: "ci", Mode: events.ModeLive, ExpiresAt: ptr(time.Now().Add(time.Hour))})
		if !s.works(k.Key) {
			t.Fatal("not yet expired")
		}
		w.clock.Advance(time.Hour)
		if s.works(k.Key) {
			t.Error("it outlived expires_at")
		}
	})
}

func TestSuspendedKeyIsResumedWithAGreaterVersion(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		s := newScene(t, w)
		for _, disabled := range []bool{true, false, true, false} {
			k, done, err := w.UpdateAPIKey(t.Context(), s.caller, s.key.ID, APIKeyPatch{Disabled: &disabled, Name: ptr("renamed")})
			if err != nil || k.Disabled != disabled || k.Name != "renamed" || len(done.EventIDs) != 1 {
				t.Fatalf("%+v %+v %v", k, done, err)
			}
			if s.works(s.key.Key) == disabled {
				t.Errorf("disabled=%v but works=%v", disabled, !disabled)
			}
		}
	})
}

func TestRotatedKeyLivesOnForTheOverlap(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		s := newScene(t, w)
		r, _, err := w.RotateAPIKey(t.Context(), s.caller, s.key.ID, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		if r.Key.Name != s.key.Name || r.Key.Mode != s.key.Mode || r.Previous.ID != s.key.ID || r.Key.ExpiresAt != nil {
			t.Errorf("rotation %+v", r)
		}
		if !s.works(s.key.Key) || !s.works(r.Key.Key) {
			t.Error("both must work")
		}
		_, _, err = w.RotateAPIKey(t.Context(), s.caller, s.key.ID, 0)
		wantError(t, err, ErrConflict, "")
		w.clock.Advance(time.Hour)
		if s.works(s.key.Key) || !s.works(r.Key.Key) {
			t.Error("after the overlap the successor alone must work")
		}
	})
}

func TestRotationKeepsTheLengthOfLife(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		s := newScene(t, w)
		k := s.key1(t, NewAPIKey{Name: "ci", Mode: events.ModeTest, ExpiresAt: ptr(time.Now().Add(10 * time.Hour))})
		w.clock.Advance(6 * time.Hour)
		s.caller = w.as(t, "vera")
		r, _, err := w.RotateAPIKey(t.Context(), s.caller, k.ID, DefaultOverlap)
		if err != nil {
			t.Fatal(err)
		}
		if !r.Previous.ExpiresAt.Equal(*k.ExpiresAt) {
			t.Errorf("the overlap moved the old key's end from %v to %v", k.ExpiresAt, r.Previous.ExpiresAt)
		}
		if life := r.Key.ExpiresAt.Sub(r.Key.CreatedAt).Round(time.Minute); life != 10*time.Hour {
			t.Errorf("life %v", life)
		}
	})
}

func TestKeysOfOthersAreNotFound(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		s := newScene(t, w)
		_, _, err := w.UpdateAPIKey(t.Context(), s.root, s.key.ID, APIKeyPatch{Disabled: ptr(true)})
		wantError(t, err, ErrNotFound, "")
		_, _, err = w.RotateAPIKey(t.Context(), s.root, s.key.ID, 0)
		wantError(t, err, ErrNotFound, "")
		_, err = w.DeleteAPIKey(t.Context(), s.root, s.key.ID)
		wantError(t, err, ErrNotFound, "")
		_, err = w.EndSession(t.Context(), s.root, s.a.SessionID)
		wantError(t, err, ErrNotFound, "")
		if got := s.living(); got != "a b key" {
			t.Errorf("living %q", got)
		}
	})
}

func TestKeyRequestsAreCheckedByField(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		s := newScene(t, w)
		for field, k := range map[string]NewAPIKey{
			"name":       {Mode: events.ModeLive},
			"mode":       {Name: "x", Mode: "prod"},
			"scopes":     {Name: "x", Mode: events.ModeLive, Scopes: []string{"ok", "not ok"}},
			"expires_at": {Name: "x", Mode: events.ModeLive, ExpiresAt: ptr(time.Now().Add(-time.Second))},
		} {
			_, err := w.CreateAPIKey(t.Context(), s.caller, k)
			wantError(t, err, ErrInvalidRequest, field)
		}
		_, err := w.CreateAPIKey(t.Context(), s.caller, NewAPIKey{Name: strings.Repeat("x", 257), Mode: events.ModeLive})
		wantError(t, err, ErrInvalidRequest, "name")
		_, err = w.CreateAPIKey(t.Context(), s.caller, NewAPIKey{Name: "x", Mode: events.ModeLive, Scopes: []string{}})
		wantError(t, err, ErrInvalidRequest, "scopes")
		_, _, err = w.RotateAPIKey(t.Context(), s.caller, s.key.ID, -time.Second)
		wantError(t, err, ErrInvalidRequest, "overlap")
		_, _, err = w.RotateAPIKey(t.Context(), s.caller, "*", 0)
		wantError(t, err, ErrInvalidRequest, "id")
	})
}

func TestTestTokensManageTestKeysOnly(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		s := newScene(t, w)
		tokens, err := w.Login(t.Context(), Login{Username: "vera", Password: password, Mode: events.ModeTest}, Client{})
		if err != nil {
			t.Fatal(err)
		}
		c := w.caller(t, tokens.AccessToken)
		_, err = w.CreateAPIKey(t.Context(), c, NewAPIKey{Name: "x", Mode: events.ModeLive})
		wantError(t, err, ErrForbidden, "")
		_, _, err = w.RotateAPIKey(t.Context(), c, s.key.ID, 0)
		wantError(t, err, ErrForbidden, "")
		if _, err = w.CreateAPIKey(t.Context(), c, NewAPIKey{Name: "x", Mode: events.ModeTest}); err != nil {
			t.Error(err)
		}
	})
}

func TestAPIKeysCannotManageCredentials(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		s := newScene(t, w)
		c, err := w.AuthenticateKey(t.Context(), s.key.Key, Client{})
		if err != nil {
			t.Fatal(err)
		}
		_, err = w.CreateAPIKey(t.Context(), c, NewAPIKey{Name: "x", Mode: events.ModeLive})
		wantError(t, err, ErrForbidden, "")
		_, err = w.ChangePassword(t.Context(), c, password, "another horse battery")
		wantError(t, err, ErrForbidden, "")
		_, err = w.Sessions(t.Context(), c, PageRequest{})
		wantError(t, err, ErrForbidden, "")
		_, err = w.Logout(t.Context(), c)
		wantError(t, err, ErrForbidden, "")
	})
}

// A key whose creation was asked for before a revocation, and that commits after it, must not live.
func TestKeyCreationThatRacesARevocationGivesNothing(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		s := newScene(t, w)
		if _, err := w.RevokeUser(t.Context(), s.root, s.user.ID); err != nil {
			t.Fatal(err)
		}
		_, err := w.CreateAPIKey(t.Context(), s.caller, NewAPIKey{Name: "x", Mode: events.ModeLive})
		wantError(t, err, ErrUnauthenticated, "")
	})
}

func TestListsShowWhyAKeyDoesNotWork(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		s := newScene(t, w)
		expired := s.key1(t, NewAPIKey{Name: "expired", Mode: events.ModeLive, ExpiresAt: ptr(time.Now().Add(time.Minute))})
		if _, _, err := w.UpdateAPIKey(t.Context(), s.caller, s.key.ID, APIKeyPatch{Disabled: ptr(true)}); err != nil {
			t.Fatal(err)
		}
		w.clock.Advance(time.Minute)
		want := map[string]KeyStatus{expired.ID: KeyExpired, s.key.ID: KeySuspended}
		check := func(keys []APIKey, otherwise KeyStatus) {
			t.Helper()
			for _, k := range keys {
				status, known := want[k.ID]
				if !known {
					status = otherwise
				}
				if k.Status != status {
					t.Errorf("%s: %s, want %s", k.Name, k.Status, status)
				}
			}
		}
		page, err := w.APIKeys(t.Context(), s.caller, PageRequest{})
		if err != nil || len(page.Items) != 3 {
			t.Fatalf("%+v %v", page, err)
		}
		check(page.Items, KeyActive)
		if _, err := w.Revoke(t.Context(), s.root, Revocation{UserID: &s.user.ID}); err != nil {
			t.Fatal(err)
		}
		want = nil
		all, err := w.AllAPIKeys(t.Context(), s.root, KeyQuery{User: s.user.ID})
		if err != nil || len(all.Items) != 3 {
			t.Fatalf("%+v %v", all, err)
		}
		check(all.Items, KeyRevoked)
	})
}
