package auth

import (
	"context"
	"time"

	"github.com/tocsin-auth/tocsin/pkg/events"
)

// APIKey is what lists show of a key: never the secret.
type APIKey struct {
	ID        string      `json:"id"`
	UserID    string      `json:"user_id"`
	Name      string      `json:"name"`
	Mode      events.Mode `json:"mode"`
	Prefix    string      `json:"prefix"`
	Scopes    []string    `json:"scopes,omitempty"`
	Disabled  bool        `json:"disabled"`
	ExpiresAt *time.Time  `json:"expires_at,omitempty"`
	Successor string      `json:"successor,omitempty"`
	CreatedAt time.Time   `json:"created_at"`
	// LastUsedAt and LastUsedService are there once the key was resolved for a service.
	LastUsedAt      *time.Time `json:"last_used_at,omitempty"`
	LastUsedService string     `json:"last_used_service,omitempty"`
}

// IssuedKey is a new key with its secret, shown once.
type IssuedKey struct {
	APIKey
	Key string `json:"key"`
}

// NewAPIKey describes a key to create. Scopes nil: all of the user's roles.
type NewAPIKey struct {
	Name      string
	Mode      events.Mode
	ExpiresAt *time.Time
	Scopes    []string
}

// APIKeyPatch changes what isn't nil.
type APIKeyPatch struct {
	Name     *string
	Disabled *bool
}

// Rotation is the outcome of rotating a key.
type Rotation struct {
	Key      IssuedKey
	Previous PreviousKey
}

// PreviousKey tells until when the old key of a rotation lives.
type PreviousKey struct {
	ID        string    `json:"id"`
	ExpiresAt time.Time `json:"expires_at"`
}

// DefaultOverlap is how long a rotated key lives on unless asked otherwise; MaxOverlap is the longest.
const (
	DefaultOverlap = 24 * time.Hour
	MaxOverlap     = 90 * 24 * time.Hour
)

// APIKeys lists the caller's keys, newest first.
func (s *Service) APIKeys(ctx context.Context, c Caller, p PageRequest) (Page[APIKey], error) {
	return Page[APIKey]{}, errNotImplemented
}

// CreateAPIKey issues a key to the caller.
func (s *Service) CreateAPIKey(ctx context.Context, c Caller, k NewAPIKey) (IssuedKey, error) {
	return IssuedKey{}, errNotImplemented
}

// UpdateAPIKey renames, suspends or resumes one of the caller's keys.
func (s *Service) UpdateAPIKey(ctx context.Context, c Caller, id string, p APIKeyPatch) (APIKey, Change, error) {
	return APIKey{}, Change{}, errNotImplemented
}

// RotateAPIKey issues a successor of one of the caller's keys; the old one dies after overlap, at once for 0.
// A key that is dead or was rotated already is [ErrConflict].
func (s *Service) RotateAPIKey(ctx context.Context, c Caller, id string, overlap time.Duration) (Rotation, Change, error) {
	return Rotation{}, Change{}, errNotImplemented
}

// DeleteAPIKey ends one of the caller's keys for good.
func (s *Service) DeleteAPIKey(ctx context.Context, c Caller, id string) (Change, error) {
	return Change{}, errNotImplemented
}
