package auth

import (
	"context"

	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
)

// ChangePassword sets a new password and ends every session but the caller's own, in which it was asked for.
// Errors: [ErrInvalidCredentials] when current is wrong, [ErrWeakPassword] and [ErrInvalidRequest] for new,
// [ErrThrottled], [ErrConflict] when the password was changed at the same time.
func (s *Service) ChangePassword(ctx context.Context, c Caller, current, next string) (Change, error) {
	var user store.User
	err := s.view(ctx, func(tx *store.Tx) (err error) {
		if _, err = self(ctx, tx, c); err == nil {
			user, err = tx.User(ctx, c.UserID)
		}
		return err
	})
	if err != nil {
		return Change{}, err
	}
	if err := checkPassword("new", next, user.Username, s.cfg.PasswordMin); err != nil {
		return Change{}, err
	}
	ok, _, err := s.hasher.verify(ctx, user.PasswordHash, current)
	if err != nil {
		return Change{}, err
	}
	if !ok {
		return Change{}, ErrInvalidCredentials
	}
	hash, err := s.hasher.hash(ctx, next)
	if err != nil {
		return Change{}, err
	}
	return s.change(ctx, c, func(w *work) error { return w.setPassword(ctx, user.PasswordHash, hash) })
}

// setPassword replaces the hash if it is still the one that was verified, and ends the other sessions one by one: the
// user's token version stays, since the current session's tokens carry it.
func (w *work) setPassword(ctx context.Context, verified, hash string) error {
	user, err := w.lockSelf(ctx)
	if err != nil {
		return err
	}
	if user.PasswordHash != verified {
		return errPasswordChanged
	}
	if err := w.SetPassword(ctx, user.ID, hash); err != nil {
		return err
	}
	sessions, err := livingSessions(ctx, w.Tx, user, w.Now()-expiryMargin.Microseconds())
	if err != nil {
		return err
	}
	d := deed{action: "password.changed", target: userTarget(user.ID)}
	for _, session := range sessions {
		if session.ID == w.by.SessionID {
			continue
		}
		if err := w.endSession(ctx, session.ID, deed{action: "session.ended", reason: "password changed"}); err != nil {
			return err
		}
	}
	return w.record(ctx, d)
}

var errPasswordChanged = &Error{Code: CodeConflict, Message: "the password was changed at the same time"}
