package auth

import (
	"encoding/json"
	"errors"
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

// Verifiers grant exp a leeway, and a job grant that came of the token lives on: what has expired is revoked like any other, until
// nothing can rest on it any more.
func TestTokensThatHaveExpiredAreRevokedWhileSomethingMayRestOnThem(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		s := newScene(t, w)
		s.hire(t)
		grant, _ := s.exchange(t, s.wantGrant())
		w.clock.Advance(w.cfg.AccessTTL + time.Hour)
		done, err := w.RevokeToken(t.Context(), s.caller, s.a.AccessToken)
		if err != nil || !done.Changed() {
			t.Errorf("%+v %v", done, err)
		}
		if w.alive(t, grant.AccessToken) {
			t.Error("the grant that came of the token lives")
		}
		w.clock.Advance(JobGrantTTL + expiryMargin - time.Hour)
		done, err = w.RevokeToken(t.Context(), s.caller, s.b.AccessToken)
		if err != nil || done.Changed() {
			t.Errorf("after every grant's end: %+v %v", done, err)
		}
	})
}

// What is suspended may be resumed: who revoked it meanwhile was told that it is dead.
func TestWhatIsRevokedWhileItsKeyIsSuspendedStaysDead(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		s := newScene(t, w)
		s.hire(t)
		grant, _ := s.exchange(t, s.wantGrantOfKey())
		own, err := w.ClientCredentials(t.Context(), w.authenticate(t, s.key.Key), TokenRequest{})
		if err != nil {
			t.Fatal(err)
		}
		suspend := func(on bool) {
			t.Helper()
			if _, _, err := w.UpdateAPIKey(t.Context(), s.caller, s.key.ID, APIKeyPatch{Disabled: &on}); err != nil {
				t.Fatal(err)
			}
		}
		suspend(true)
		for name, token := range map[string]string{"grant": grant.AccessToken, "token of the key": own.AccessToken, "key": s.key.Key} {
			if done, err := w.RevokeToken(t.Context(), s.client, token); err != nil || !done.Changed() {
				t.Errorf("%s: %+v %v", name, done, err)
			}
		}
		suspend(false)
		for name, token := range map[string]string{"grant": grant.AccessToken, "token of the key": own.AccessToken} {
			if w.alive(t, token) {
				t.Errorf("the %s lives again", name)
			}
		}
		if _, err := w.AuthenticateKey(t.Context(), s.key.Key, Client{}); !errors.Is(err, ErrUnauthenticated) {
			t.Errorf("the key lives again: %v", err)
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
