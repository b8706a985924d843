package auth

import (
	"errors"
	"testing"
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
