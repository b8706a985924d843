package auth

import (
	"crypto/rand"
	"strings"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/pkg/events"
)

// fill gives a user sessions and keys until there are n of each, without the work of logins.
func (s *scene) fill(sessions, keys int) {
	s.t.Helper()
	s.update(s.t, func(tx *store.Tx) error {
		user, err := tx.User(s.t.Context(), s.user.ID)
		if err != nil {
			return err
		}
		now := tx.Now()
		for range sessions {
			err := tx.InsertSession(s.t.Context(), store.Session{ID: tx.NewID(), UserID: user.ID, Mode: "live", AMR: []string{"pwd"}, TV: user.TV,
				CreatedAt: now, LastUsedAt: now, ExpiresAt: now + time.Hour.Microseconds(), IdleExpiresAt: now + time.Hour.Microseconds()})
			if err != nil {
				return err
			}
		}
		for range keys {
			hash := make([]byte, 32)
			rand.Read(hash)
			err := tx.InsertAPIKey(s.t.Context(), store.APIKey{ID: tx.NewID(), UserID: user.ID, Name: "filler", Mode: "live", Hash: hash,
				TV: user.TV, KV: now, CreatedAt: now, CreatedBy: user.ID})
			if err != nil {
				return err
			}
		}
		return nil
	})
}

func TestTheSessionThatWasUnusedForTheLongestMakesRoom(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		s := newScene(t, w) // a is older than b
		w.clock.Advance(time.Minute)
		refreshed, err := w.Refresh(t.Context(), s.a.RefreshToken, Client{})
		if err != nil {
			t.Fatal(err)
		}
		s.a = refreshed
		s.fill(MaxSessions-2, 0)
		if got := s.living(); got != "a b key" {
			t.Fatalf("with as many as are allowed there live %q", got)
		}
		nudges := w.nudges.Load()
		w.login(t, "vera")
		if got := s.living(); got != "a key" {
			t.Errorf("after one more login there live %q", got)
		}
		row := w.newestAudit(t, "session.displaced")
		if row.Target != sessionTarget(s.b.SessionID) || !strings.Contains(row.Detail, `"events":["`) || w.nudges.Load() == nudges {
			t.Errorf("its end wasn't announced: %+v", row)
		}
		page, err := w.Sessions(t.Context(), s.caller, PageRequest{Limit: 200})
		if err != nil || len(page.Items) != MaxSessions || page.NextCursor != "" {
			t.Errorf("%d sessions, %v", len(page.Items), err)
		}
	})
}

func TestAPIKeysAreBounded(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		s := newScene(t, w) // registered with two keys
		create := func() (IssuedKey, error) {
			return w.CreateAPIKey(t.Context(), s.caller, NewAPIKey{Name: "more", Mode: events.ModeLive})
		}
		s.fill(0, MaxAPIKeys-3)
		last, err := create()
		if err != nil {
			t.Fatalf("the last one that is allowed: %v", err)
		}
		_, err = create()
		wantError(t, err, ErrConflict, "")
		if !strings.Contains(err.Error(), "100") || !strings.Contains(err.Error(), "delete") {
			t.Errorf("the message doesn't say what to do: %v", err)
		}
		if _, _, err := w.UpdateAPIKey(t.Context(), s.caller, last.ID, APIKeyPatch{Disabled: ptr(true)}); err != nil {
			t.Fatal(err)
		}
		_, err = create() // a suspended key can come back
		wantError(t, err, ErrConflict, "")
		if _, _, err := w.RotateAPIKey(t.Context(), s.caller, s.key.ID, time.Hour); err != nil {
			t.Errorf("a key can't be rotated: %v", err)
		}
		w.clock.Advance(time.Hour + time.Second) // the old key is dead
		s.caller = w.as(t, "vera")
		_, err = create()
		wantError(t, err, ErrConflict, "")
		if _, err := w.DeleteAPIKey(t.Context(), s.caller, last.ID); err != nil {
			t.Fatal(err)
		}
		one, err := create()
		if err != nil {
			t.Fatalf("dead keys count: %v", err)
		}
		s.fill(0, MaxAPIKeys)
		_, _, err = w.RotateAPIKey(t.Context(), s.caller, one.ID, time.Hour)
		wantError(t, err, ErrConflict, "")
		if _, _, err := w.RotateAPIKey(t.Context(), s.caller, one.ID, 0); err != nil {
			t.Errorf("a key can't be replaced: %v", err)
		}
	})
}
