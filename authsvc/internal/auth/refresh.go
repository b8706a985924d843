package auth

import (
	"context"
	"errors"
	"time"

	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/pkg/events"
)

// RefreshGrace is how long after its first use a refresh token gives the same successor again, for clients that lost
// the answer.
const RefreshGrace = 10 * time.Second

// Refresh exchanges a refresh token for its successor and a new access token. The same token again within
// [RefreshGrace] gives the same successor again; later it ends the session with its event.
// Every refusal is [ErrInvalidRefreshToken].
func (s *Service) Refresh(ctx context.Context, refreshToken string, from Client) (Tokens, error) {
	if !looksLikeRefreshToken(refreshToken) {
		return Tokens{}, ErrInvalidRefreshToken
	}
	var given grant
	var refused error // unlike an error of the transaction it lets what was written stand
	done, err := s.issue(ctx, Caller{Client: from.cut()}, s.cfg.AccessTTL, func(w *work, a store.Authority) (err error) {
		given, refused = grant{}, nil
		f, err := w.lockFamily(ctx, refreshToken)
		if err != nil {
			return err
		}
		w.by.UserID = f.user.ID
		given, err = s.rotate(ctx, w, f, a)
		if errors.Is(err, ErrInvalidRefreshToken) {
			refused, err = err, nil
		}
		return err
	})
	if done.Changed() {
		s.log.WarnContext(ctx, "refresh token used again; its session was ended", "ip", from.IP)
	}
	switch {
	case errors.Is(err, ErrNotFound):
		return Tokens{}, ErrInvalidRefreshToken
	case err != nil:
		return Tokens{}, err
	case refused != nil:
		return Tokens{}, refused
	}
	return given.sign()
}

// family is a refresh token with its session and user, all locked.
type family struct {
	secret  string
	token   store.RefreshToken
	session store.Session
	user    store.User
}

func (w *work) lockFamily(ctx context.Context, secret string) (family, error) {
	f, err := family{secret: secret}, error(nil)
	f.token, f.session, f.user, err = w.LockFamily(ctx, hashSecret(secret))
	return f, err
}

func (s *Service) rotate(ctx context.Context, w *work, f family, a store.Authority) (grant, error) {
	now := w.Now()
	alive := f.session.Alive(f.user, a, now)
	switch {
	case f.token.UsedAt != nil && now-*f.token.UsedAt > RefreshGrace.Microseconds():
		return grant{}, w.refuseReuse(ctx, f)
	case !alive:
		return grant{}, ErrInvalidRefreshToken
	case f.token.UsedAt != nil:
		return s.repeat(ctx, w, f)
	}
	return s.succeed(ctx, w, f)
}

// refuseReuse ends the session: of the two who hold this token, one has stolen it.
func (w *work) refuseReuse(ctx context.Context, f family) error {
	err := w.endSession(ctx, f.session.ID, deed{action: "session.reuse", reason: "refresh token used again"})
	if err != nil {
		return err
	}
	return ErrInvalidRefreshToken
}

// succeed uses the token up.
func (s *Service) succeed(ctx context.Context, w *work, f family) (grant, error) {
	now := w.Now()
	if err := w.UseRefreshToken(ctx, f.token.Hash); err != nil {
		return grant{}, err
	}
	successor := successorOf(s.ring.RefreshSecret(), f.secret)
	err := w.InsertRefreshToken(ctx, store.RefreshToken{Hash: hashSecret(successor), SessionID: f.session.ID,
		Generation: f.token.Generation + 1, CreatedAt: now})
	if err != nil {
		return grant{}, err
	}
	f.session.IdleExpiresAt = min(f.session.ExpiresAt, now+s.cfg.RefreshIdle.Microseconds())
	if err := w.TouchSession(ctx, f.session.ID, f.session.IdleExpiresAt, w.by.IP, w.by.UserAgent); err != nil {
		return grant{}, err
	}
	return s.grant(ctx, w, f.user, f.session, successor)
}

// repeat gives the successor again that the token has already. It is derived, not stored, and checked against the
// stored hash: a secret that has changed in between must not make a second successor.
func (s *Service) repeat(ctx context.Context, w *work, f family) (grant, error) {
	successor := successorOf(s.ring.RefreshSecret(), f.secret)
	switch _, err := w.RefreshToken(ctx, hashSecret(successor)); {
	case errors.Is(err, store.ErrNotFound):
		return grant{}, ErrInvalidRefreshToken
	case err != nil:
		return grant{}, err
	}
	if err := w.record(ctx, deed{action: "session.refresh_repeated", target: sessionTarget(f.session.ID)}); err != nil {
		return grant{}, err
	}
	return s.grant(ctx, w, f.user, f.session, successor)
}

// endSession ends a session with its event, or remembers the earlier event when it has ended before.
func (w *work) endSession(ctx context.Context, id string, d deed) error {
	d.target = sessionTarget(id)
	changed, err := w.EndSession(ctx, id)
	if err != nil {
		return err
	}
	if !changed {
		return w.nothingChanged(ctx, d.target, events.TypeTokenRevoked)
	}
	d.events = []events.Payload{events.TokenRevoked{SessionID: id}}
	return w.record(ctx, d)
}
