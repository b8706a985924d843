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
