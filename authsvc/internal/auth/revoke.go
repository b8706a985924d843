package auth

import (
	"context"
	"encoding/json"
	"time"
)

// Revocation names what shall die by exactly one selector: Token, JTI, SessionID, UserID, UserIDs, Role, APIKeyID,
// IssuedBefore or All. Nil and false mean not given.
type Revocation struct {
	Token        *string
	JTI          *string
	SessionID    *string
	UserID       *string
	UserIDs      []string
	Role         *string
	APIKeyID     *string
	IssuedBefore *time.Time
	All          bool
	// Keys extends IssuedBefore and All to API keys. By user and role they are always included: false is refused.
	Keys   *bool
	Reason string
}

// RevokeUser ends all sessions and tokens of a user, for admins; API keys live on.
func (s *Service) RevokeUser(ctx context.Context, c Caller, id string) (Change, error) {
	return Change{}, errNotImplemented
}

// Revoke ends what the selector names, for admins. An unknown jti or token is accepted, as it may have been issued by
// a replica that this one can't see; other unknown ids are [ErrNotFound].
func (s *Service) Revoke(ctx context.Context, c Caller, r Revocation) (Change, error) {
	return Change{}, errNotImplemented
}

// RevocationEntry is one event that still matters to verifiers.
type RevocationEntry struct {
	ID        string          `json:"event_id"`
	Type      string          `json:"type"`
	Seq       *uint64         `json:"seq"`
	CreatedAt time.Time       `json:"created_at"`
	Until     *time.Time      `json:"until,omitempty"`
	Actor     string          `json:"actor"`
	Reason    string          `json:"reason,omitempty"`
	Published bool            `json:"published"`
	Content   json.RawMessage `json:"content"`
}

// Revocations lists live revocations for admins, newest first.
func (s *Service) Revocations(ctx context.Context, c Caller, p PageRequest) (Page[RevocationEntry], error) {
	return Page[RevocationEntry]{}, errNotImplemented
}

// RevokeToken is RFC 7009: it ends the session of an access or refresh token of ours, or the API key itself when that is
// what was given. Unknown tokens are no error. Holding the token is the right to revoke it.
func (s *Service) RevokeToken(ctx context.Context, token string, from Client) (Change, error) {
	return Change{}, errNotImplemented
}
