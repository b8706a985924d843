package auth

import (
	"context"
	"encoding/base64"
	"errors"

	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
)

// BootstrapRequest describes the first admin.
type BootstrapRequest struct {
	Username string
	// Password may be empty: then a random one is made and given to Keep.
	Password string
	// Keep stores a random password before the user is committed, so that it can't be lost; its error stops the
	// bootstrap. It isn't called for a given password, nor when an admin exists already, and may be called twice.
	Keep func(password string) error
}

// Bootstrap creates the first admin when no user has the role admin, and reports whether it did. Two replicas that
// start at once make one.
func (s *Service) Bootstrap(ctx context.Context, r BootstrapRequest) (bool, error) {
	if exists, err := s.adminExists(ctx); exists || err != nil {
		return false, err
	}
	username, err := canonicalUsername(r.Username)
	if err != nil {
		return false, err
	}
	password, random := r.Password, r.Password == ""
	if random {
		password = base64.RawURLEncoding.EncodeToString(randomBytes(max(18, s.cfg.PasswordMin)))
	} else if err := checkPassword("password", password, username, s.cfg.PasswordMin); err != nil {
		return false, err
	}
	hash, err := s.hasher.hash(ctx, password)
	if err != nil {
		return false, err
	}
	_, err = s.issue(ctx, Caller{UserID: actorSystem}, 0, func(w *work, _ store.Authority) error {
		_, err := w.createUser(ctx, store.User{Username: username, PasswordHash: hash, Roles: []string{RoleAdmin, RoleUser}})
		if err != nil || !random {
			return err
		}
		return r.Keep(password)
	})
	if errors.Is(err, ErrUsernameTaken) {
		if exists, again := s.adminExists(ctx); exists || again != nil {
			return false, again
		}
	}
	return err == nil, err
}

func (s *Service) adminExists(ctx context.Context) (bool, error) {
	var n int
	err := s.view(ctx, func(tx *store.Tx) (err error) {
		n, err = tx.CountAdmins(ctx)
		return err
	})
	return n > 0, err
}
