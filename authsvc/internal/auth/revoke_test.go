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
		done, err := w.RevokeToken(t.Context(), s.caller, s.a.AccessToken)
		if err != nil || !done.Changed() {
			t.Errorf("within the leeway: %+v %v", done, err)
		}
		w.clock.Advance(expiryMargin)
		done, err = w.RevokeToken(t.Context(), s.caller, s.b.AccessToken)
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

// Whoever holds a token may revoke it, so the one who did isn't always the one whose it was.
func TestTheAuditLogNamesWhoRevokedATokenAndWhoseItWas(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		s := newScene(t, w)
		finder := w.register(t, "finder")
		c, err := w.AuthenticateKey(t.Context(), finder.Keys[0].Key, Client{IP: "192.0.2.7"})
		if err != nil {
			t.Fatal(err)
		}
		for _, held := range []struct{ token, target string }{
			{s.b.AccessToken, jtiTarget(w.caller(t, s.b.AccessToken).TokenID)},
			{s.a.RefreshToken, sessionTarget(s.a.SessionID)},
			{s.key.Key, keyTarget(s.key.ID)},
		} {
			done, err := w.RevokeToken(t.Context(), c, held.token)
			if err != nil || !done.Changed() {
				t.Fatalf("%s: %+v %v", held.target, done, err)
			}
			row := w.newestAudit(t, "token.revoked")
			var detail map[string]any
			if err := json.Unmarshal([]byte(row.Detail), &detail); err != nil {
				t.Fatal(err)
			}
			if row.Actor != finder.User.ID || row.Target != held.target || row.IP != "192.0.2.7" ||
				detail["user"] != s.user.ID || detail["client_id"] != finder.Keys[0].ID {
				t.Errorf("%+v", row)
			}
			if event := w.event(t, done.EventIDs[0]); event.Actor != finder.User.ID {
				t.Errorf("the event's actor is %s", event.Actor)
			}
		}
	})
}
