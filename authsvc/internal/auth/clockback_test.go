package auth

import (
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/authsvc/internal/liveness"
	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/pkg/events"
)

// What ended a key doesn't stop to be true when somebody sets the database's clock back: not for authsvc, not for the elite
// check, and not for verifiers that read the event later.
func TestEndedKeyStaysDeadWhenTheClockIsSetBack(t *testing.T) {
	ends := map[string]func(t *testing.T, s *scene) (Change, error){
		"rotated": func(t *testing.T, s *scene) (Change, error) {
			_, done, err := s.RotateAPIKey(t.Context(), s.caller, s.key.ID, 0)
			return done, err
		},
		"deleted": func(t *testing.T, s *scene) (Change, error) { return s.DeleteAPIKey(t.Context(), s.caller, s.key.ID) },
		"revoked": func(t *testing.T, s *scene) (Change, error) {
			return s.Revoke(t.Context(), s.root, Revocation{APIKeyID: &s.key.ID})
		},
		"revoked after its end": func(t *testing.T, s *scene) (Change, error) {
			if _, _, err := s.RotateAPIKey(t.Context(), s.caller, s.key.ID, time.Second); err != nil {
				return Change{}, err
			}
			s.clock.Advance(2 * time.Second)
			return s.Revoke(t.Context(), s.root, Revocation{APIKeyID: &s.key.ID})
		},
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, w *world) {
				s := newScene(t, w)
				done, err := end(t, s)
				if err != nil {
					t.Fatal(err)
				}
				w.clock.Advance(-20 * time.Minute)
				if s.works(s.key.Key) {
					t.Error("it works at authsvc")
				}
				state, err := w.askKey(t.Context(), s.key.Key)
				if err != nil {
					t.Fatal(err)
				}
				if liveness.Key(state) == liveness.Alive {
					t.Error("the elite check takes it")
				}
				w.diesWithItsEvent(t, done)
			})
		})
	}
}

// diesWithItsEvent looks whether an event that is numbered only now says that the key is dead at once.
func (w *world) diesWithItsEvent(t *testing.T, done Change) {
	t.Helper()
	var now int64
	w.update(t, func(tx *store.Tx) error {
		now = tx.Now()
		return nil
	})
	row := w.event(t, done.EventIDs[0])
	body, err := events.EncodeEvent(1, row.Type, now, now, row.Payload)
	if err != nil {
		t.Fatal(err)
	}
	e, err := events.DecodeEvent(body)
	if err != nil {
		t.Fatal(err)
	}
	if p := e.Payload.(events.APIKeyRotated); *p.NotAfter > now {
		t.Errorf("not_after is %v after the event", time.Duration(*p.NotAfter-now)*time.Microsecond)
	}
}
