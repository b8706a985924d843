package auth

import (
	"context"
	"errors"
	"time"

	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/pkg/events"
)

// User is what users and admins see of a user.
type User struct {
	ID        string    `json:"id"`
	Username  string    `json:"username"`
	Email     string    `json:"email,omitempty"`
	Roles     []string  `json:"roles"`
	Plan      string    `json:"plan"`
	Disabled  bool      `json:"disabled"`
	CreatedAt time.Time `json:"created_at"`
}

func showUser(u store.User) User {
	return User{ID: u.ID, Username: u.Username, Email: u.Email, Roles: u.Roles, Plan: u.Plan, Disabled: u.Disabled,
		CreatedAt: fromMicros(u.CreatedAt)}
}

// Registration is a new user's wish.
type Registration struct {
	Username string
	Password string
	Email    string // may be empty
}

// Registered is the new user with a live and a test key.
type Registered struct {
	User User
	Keys []IssuedKey
}

// defaultPlan is the plan of new users.
const defaultPlan = "free"

// Register creates a user with a live and a test key in one transaction.
// Errors: [ErrInvalidRequest], [ErrUsernameTaken], [ErrWeakPassword], [ErrThrottled].
func (s *Service) Register(ctx context.Context, r Registration, from Client) (Registered, error) {
	username, err := canonicalUsername(r.Username)
	if err != nil {
		return Registered{}, err
	}
	if err := checkEmail(r.Email); err != nil {
		return Registered{}, err
	}
	if err := checkPassword("password", r.Password, username, s.cfg.PasswordMin); err != nil {
		return Registered{}, err
	}
	hash, err := s.hasher.hash(ctx, r.Password)
	if err != nil {
		return Registered{}, err
	}
	var done Registered
	_, err = s.issue(ctx, Caller{Client: from.cut()}, 0, func(w *work, _ store.Authority) error {
		user, err := w.createUser(ctx, store.User{Username: username, Email: r.Email, PasswordHash: hash, Roles: []string{RoleUser}})
		if err != nil {
			return err
		}
		done = Registered{User: showUser(user)}
		for _, mode := range []events.Mode{events.ModeLive, events.ModeTest} {
			key, err := w.createKey(ctx, user, NewAPIKey{Name: "default " + string(mode), Mode: mode})
			if err != nil {
				return err
			}
			done.Keys = append(done.Keys, key)
		}
		return nil
	})
	if err != nil {
		return Registered{}, err
	}
	return done, nil
}

// createUser fills in id, versions and plan, and makes the new user the actor of what this transaction does.
func (w *work) createUser(ctx context.Context, u store.User) (store.User, error) {
	u.ID, u.Plan, u.CreatedAt = w.NewID(), defaultPlan, w.Now()
	u.TV, u.KeysTV, u.RV = w.Now(), w.Now(), w.Now()
	if err := w.InsertUser(ctx, u); errors.Is(err, store.ErrConflict) {
		return u, &Error{Code: CodeUsernameTaken, Field: "username", Message: ErrUsernameTaken.Message}
	} else if err != nil {
		return u, err
	}
	if w.by.UserID == "" {
		w.by.UserID = u.ID
	}
	return u, w.record(ctx, deed{action: "user.registered", target: userTarget(u.ID)})
}

// Me returns the caller's own user.
func (s *Service) Me(ctx context.Context, c Caller) (User, error) {
	var user store.User
	err := s.view(ctx, func(tx *store.Tx) (err error) {
		user, err = tx.User(ctx, c.UserID)
		return err
	})
	return showUser(user), err
}

// DirectoryEntry is what services may learn of a user beyond the token.
type DirectoryEntry struct {
	ID       string `json:"id"`
	Username string `json:"username"`
	Email    string `json:"email,omitempty"`
	Plan     string `json:"plan"`
	Disabled bool   `json:"disabled"`
}

// Directory returns one user to callers with the role directory, by token or API key. Users are live, so test credentials
// are refused.
func (s *Service) Directory(ctx context.Context, c Caller, id string) (DirectoryEntry, error) {
	if !c.Has(RoleDirectory) {
		return DirectoryEntry{}, ErrForbidden
	}
	if err := sameMode(c, events.ModeLive); err != nil {
		return DirectoryEntry{}, err
	}
	if err := checkID("id", id); err != nil {
		return DirectoryEntry{}, err
	}
	var u store.User
	err := s.view(ctx, func(tx *store.Tx) (err error) {
		u, err = tx.User(ctx, id)
		return err
	})
	return DirectoryEntry{ID: u.ID, Username: u.Username, Email: u.Email, Plan: u.Plan, Disabled: u.Disabled}, err
}
