package auth

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/pkg/events"
)

// When the database's clock goes back, ids are in use that are yet to come. The end of everything ends those too.
func TestRevokingAllEndsWhatAClockAheadIssued(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.clock.Advance(time.Hour)
		s := newScene(t, w)
		w.clock.Advance(10 * time.Second)
		refreshed, err := w.Refresh(t.Context(), s.a.RefreshToken, Client{})
		if err != nil {
			t.Fatal(err)
		}
		s.a = refreshed
		w.clock.Advance(-time.Hour)
		for range 2 {
			done, err := w.Revoke(t.Context(), w.as(t, "root"), Revocation{All: true, Keys: ptr(true)})
			if err != nil || !done.Changed() {
				t.Fatalf("%+v %v", done, err)
			}
			if living := s.living(); living != "" {
				t.Errorf("living afterwards: %s", living)
			}
			var said struct{ Before int64 }
			if err := json.Unmarshal(w.event(t, done.EventIDs[0]).Payload, &said); err != nil {
				t.Fatal(err)
			}
			if claims, err := peekToken(s.a.AccessToken); err != nil || !madeBefore(claims.ID, said.Before) {
				t.Errorf("the event doesn't tell verifiers that the token is dead: %v", err)
			}
			s.a, s.b = w.login(t, "vera"), w.login(t, "vera")
			s.caller = w.caller(t, s.a.AccessToken)
			s.key = s.key1(t, NewAPIKey{Name: "after", Mode: events.ModeLive})
			if living := s.living(); living != "a b key" {
				t.Errorf("of what was issued afterwards there lives: %s", living)
			}
		}
	})
}

// Verifiers grant exp a leeway: a token that has only just expired is still accepted, and is revoked like any other.
func TestTokensThatHaveJustExpiredAreRevoked(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		s := newScene(t, w)
		w.clock.Advance(w.cfg.AccessTTL + 20*time.Second)
		done, err := w.RevokeToken(t.Context(), s.a.AccessToken, Client{})
		if err != nil || !done.Changed() {
			t.Errorf("within the leeway: %+v %v", done, err)
		}
		w.clock.Advance(expiryMargin)
		done, err = w.RevokeToken(t.Context(), s.b.AccessToken, Client{})
		if err != nil || done.Changed() {
			t.Errorf("beyond it: %+v %v", done, err)
		}
	})
}

func TestAPasswordChangeEndsSessionsThatHaveJustExpired(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		s := newScene(t, w)
		w.clock.Advance(w.cfg.RefreshIdle + 5*time.Second)
		c := w.as(t, "vera")
		done, err := w.ChangePassword(t.Context(), c, password, "another horse battery")
		if err != nil || len(done.EventIDs) != 2 {
			t.Errorf("%q, want the events of sessions %s and %s: %v", s.said(done.EventIDs), s.a.SessionID, s.b.SessionID, err)
		}
	})
}
