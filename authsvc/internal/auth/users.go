package auth

import (
	"context"
	"time"
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

// Register creates a user with a live and a test key in one transaction.
// Errors: [ErrInvalidRequest], [ErrUsernameTaken], [ErrWeakPassword], [ErrThrottled].
func (s *Service) Register(ctx context.Context, r Registration, from Client) (Registered, error) {
	return Registered{}, errNotImplemented
}

// Me returns the caller's own user.
func (s *Service) Me(ctx context.Context, c Caller) (User, error) {
	return User{}, errNotImplemented
}

// DirectoryEntry is what services may learn of a user beyond the token.
type DirectoryEntry struct {
	ID       string `json:"id"`
	Username string `json:"username"`
	Email    string `json:"email,omitempty"`
	Plan     string `json:"plan"`
	Disabled bool   `json:"disabled"`
}

// Directory returns one user to callers with the role directory, by token or API key.
func (s *Service) Directory(ctx context.Context, c Caller, id string) (DirectoryEntry, error) {
	return DirectoryEntry{}, errNotImplemented
}
