package verifier

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tocsin-auth/tocsin/pkg/events"
)

// Method is how a caller authenticated.
type Method string

// The methods.
const (
	MethodBearer Method = "bearer"
	MethodAPIKey Method = "api_key"
)

// Mode separates live from test credentials.
type Mode = events.Mode

// The modes.
const (
	ModeLive = events.ModeLive
	ModeTest = events.ModeTest
)

// Principal is who is calling. It is shared by all requests with the same credential: it and what it holds MUST NOT be
// changed.
type Principal struct {
	// Subject is the user's id.
	Subject string
	// Roles are the user's now, as far as the verifier knows, narrowed by the scopes of a key or a derived token.
	Roles  []string
	Method Method
	Mode   Mode
	// Plan is the user's, or "" while neither the credential nor the feed told it: no token tells it, so it is "" for one until the user's
	// roles or plan change, except on [Elite] routes. [Quota] needs none of this.
	Plan string
	// SessionID is the login that a token belongs to, or "".
	SessionID string
	// KeyID is the API key that was used, or that a token was issued to, or "".
	KeyID string
	// Scopes are those of an API key; nil if it has none and so isn't narrowed.
	Scopes []string
	// Actor is the sub of who acts for the subject (RFC 8693, outermost), or "". KeyID and ClientID are then the actor's.
	Actor string
	// TokenID and ClientID are the token's jti and client_id, or "" for API keys.
	TokenID, ClientID string
	// AuthTime and AuthMethods say when and how the user logged in (amr, RFC 8176); zero if the credential doesn't.
	AuthTime    time.Time
	AuthMethods []string
	// Expires is when the credential ends by itself; zero for API keys without an end.
	Expires time.Time

	claims string // the token's payload
}

// HasRole reports whether the principal has a role.
func (p *Principal) HasRole(name string) bool { return slices.Contains(p.Roles, name) }

// ErrNoClaim means that a token has no such claim; API keys have none at all.
var ErrNoClaim = errors.New("verifier: no such claim")

// Claim decodes one claim of the token into a value, as json.Unmarshal does. It reads the token again each time.
func (p *Principal) Claim(name string, into any) error {
	var all map[string]json.RawMessage
	if p.claims != "" {
		if err := json.Unmarshal([]byte(p.claims), &all); err != nil {
			return fmt.Errorf("verifier: claims: %w", err)
		}
	}
	raw, ok := all[name]
	if !ok {
		return fmt.Errorf("%w: %s", ErrNoClaim, name)
	}
	return json.Unmarshal(raw, into)
}

type contextKey struct{}

// NewContext returns a context that carries a principal, for tests of handlers and for transports other than HTTP.
func NewContext(ctx context.Context, p *Principal) context.Context {
	return context.WithValue(ctx, contextKey{}, p)
}

// FromContext returns who is calling, as [Verifier.Require] left it.
func FromContext(ctx context.Context) (*Principal, bool) {
	p, ok := ctx.Value(contextKey{}).(*Principal)
	return p, ok
}
