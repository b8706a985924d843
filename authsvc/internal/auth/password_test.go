package auth

import (
	"errors"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/pkg/events"
)

func TestPasswordChange(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		s := newScene(t, w)
		const next = "another horse battery"
		_, err := w.ChangePassword(t.Context(), s.caller, "wrong horse battery", next)
		wantError(t, err, ErrInvalidCredentials, "")
		_, err = w.ChangePassword(t.Context(), s.caller, password, "vera-1234567")
		wantError(t, err, ErrWeakPassword, "new")
		if got := s.living(); got != "a b key" {
			t.Fatalf("a refusal ended something: living %q", got)
		}
		if _, err := w.ChangePassword(t.Context(), s.caller, password, next); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Login(t.Context(), Login{Username: "vera", Password: password}, Client{}); !errors.Is(err, ErrInvalidCredentials) {
			t.Errorf("the old password: %v", err)
		}
		if _, err := w.Login(t.Context(), Login{Username: "vera", Password: next}, Client{}); err != nil {
			t.Errorf("the new password: %v", err)
		}
		if _, err := w.Refresh(t.Context(), s.a.RefreshToken, Client{}); err != nil {
			t.Errorf("the current session: %v", err)
		}
		if _, err := w.Refresh(t.Context(), s.b.RefreshToken, Client{}); !errors.Is(err, ErrInvalidRefreshToken) {
			t.Errorf("the other session: %v", err)
		}
	})
}

// The database's clock may be ahead for a while, and be set right: whoever has stolen a session that only seemed to be over then
// would go on with it, past a call that was told to have ended it.
func TestAPasswordChangeWhileTheClockIsAheadEndsWhatOnlySeemsToHaveExpired(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		s := newScene(t, w)
		w.clock.Advance(w.cfg.RefreshIdle - time.Second)
		w.clock.Advance(events.KeyRetention)
		if _, err := w.ChangePassword(t.Context(), w.as(t, "vera"), password, "another horse battery"); err != nil {
			t.Fatal(err)
		}
		w.clock.Advance(-events.KeyRetention)
		if _, err := w.Refresh(t.Context(), s.b.RefreshToken, Client{}); !errors.Is(err, ErrInvalidRefreshToken) {
			t.Errorf("the other session lives: %v", err)
		}
	})
}
