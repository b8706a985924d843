package auth

import (
	"context"
	"slices"
	"time"

	"github.com/tocsin-auth/tocsin/pkg/events"
)

// Client is where a request came from, as far as httpapi trusts it. Both texts are cut to what the database takes.
type Client struct {
	IP        string
	UserAgent string
}

// The ways in which a caller can have authenticated.
const (
	MethodBearer = "bearer"
	MethodAPIKey = "api_key"
)

// Caller is an authenticated user, as the database knew them when the credential was checked.
type Caller struct {
	Client
	UserID string
	// SessionID and TokenID are set for access tokens, KeyID for API keys.
	SessionID string
	TokenID   string
	KeyID     string
	Method    string
	// Roles are the user's, narrowed by the key's scopes.
	Roles    []string
	Mode     events.Mode
	AuthTime time.Time
	AMR      []string
}

// Has reports whether the caller has a role.
func (c Caller) Has(role string) bool { return slices.Contains(c.Roles, role) }

// The roles that mean something to authsvc itself.
const (
	RoleUser       = "user"
	RoleAdmin      = "admin"
	RoleDirectory  = "directory"
	RoleIntrospect = "introspect"
)

// AuthenticateBearer checks an access token of ours against keys and database. The error is [ErrUnauthenticated].
func (s *Service) AuthenticateBearer(ctx context.Context, token string, from Client) (Caller, error) {
	return Caller{}, errNotImplemented
}

// AuthenticateKey checks an API key against the database. The error is [ErrUnauthenticated].
func (s *Service) AuthenticateKey(ctx context.Context, key string, from Client) (Caller, error) {
	return Caller{}, errNotImplemented
}

// RequireAdmin returns [ErrForbidden] unless the caller is an admin with a live access token. Methods of Service that
// are for admins check it themselves; it is for the admin calls that other packages answer.
func (s *Service) RequireAdmin(c Caller) error {
	return errNotImplemented
}
