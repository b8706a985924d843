package auth

import (
	"context"
	"errors"
	"strings"

	"github.com/tocsin-auth/tocsin/authsvc/internal/liveness"
	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/pkg/events/apikey"
)

// Introspection is an answer of RFC 7662. Inactive: all else is empty.
type Introspection struct {
	Active    bool     `json:"active"`
	Scope     string   `json:"scope,omitempty"`
	ClientID  string   `json:"client_id,omitempty"`
	Username  string   `json:"username,omitempty"`
	TokenType string   `json:"token_type,omitempty"`
	Exp       int64    `json:"exp,omitempty"`
	Iat       int64    `json:"iat,omitempty"`
	Sub       string   `json:"sub,omitempty"`
	Aud       string   `json:"aud,omitempty"`
	Iss       string   `json:"iss,omitempty"`
	JTI       string   `json:"jti,omitempty"`
	SessionID string   `json:"sid,omitempty"`
	KeyID     string   `json:"key_id,omitempty"`
	Mode      string   `json:"mode,omitempty"`
	Roles     []string `json:"roles,omitempty"`
	Actor     *Actor   `json:"act,omitempty"`
	JobID     string   `json:"job_id,omitempty"`
}

// Introspect tells whether an access token, job grant, refresh token or API key is alive. Callers see their own, and all with the
// role introspect, but by a test key only test credentials; everything else is exactly inactive.
func (s *Service) Introspect(ctx context.Context, c Caller, token string) (Introspection, error) {
	found, err := s.introspect(ctx, token)
	switch {
	case errors.Is(err, errNotAlive), errors.Is(err, ErrNotFound):
		return Introspection{}, nil
	case err != nil:
		return Introspection{}, err
	case found.Sub != c.UserID && !c.Has(RoleIntrospect), sameMode(c, events.Mode(found.Mode)) != nil:
		return Introspection{}, nil
	}
	if _, err := apikey.Parse(token); err == nil {
		s.cfg.Used(found.KeyID)
	}
	found.Active, found.Iss = true, s.cfg.Issuer
	return found, nil
}

func (s *Service) introspect(ctx context.Context, token string) (found Introspection, err error) {
	if looksLikeRefreshToken(token) {
		err = s.view(ctx, func(tx *store.Tx) (err error) {
			found, err = introspectRefresh(ctx, tx, token)
			return err
		})
		return found, err
	}
	if _, err := apikey.Parse(token); err == nil {
		return s.introspectKey(ctx, token)
	}
	access, err := s.findToken(ctx, liveness.Introspected, token)
	if err != nil {
		return Introspection{}, err
	}
	c, roles := access.claims, access.roles()
	kind := tokenTypeBearer
	if c.isJobGrant() {
		kind, err = tokenTypeNone, s.unspent(ctx, c.ID)
	}
	if err != nil {
		return Introspection{}, err
	}
	return Introspection{Scope: strings.Join(roles, " "), ClientID: c.ClientID, Username: access.user.Username,
		TokenType: kind, Exp: c.Expires, Iat: c.IssuedAt, Sub: c.Subject, Aud: c.Audience, JTI: c.ID,
		SessionID: c.SessionID, KeyID: c.KeyID, Mode: string(c.Mode), Roles: roles, Actor: c.Actor, JobID: c.JobID}, nil
}

// unspent returns errNotAlive for a job grant that nothing is exchanged for any more.
func (s *Service) unspent(ctx context.Context, jti string) error {
	return s.view(ctx, func(tx *store.Tx) error {
		if spent, err := tx.GrantSpent(ctx, jti); err != nil || !spent {
			return err
		}
		return errNotAlive
	})
}

func introspectRefresh(ctx context.Context, tx *store.Tx, token string) (Introspection, error) {
	row, err := tx.RefreshToken(ctx, hashSecret(token))
	if err != nil {
		return Introspection{}, err
	}
	session, user, authority, err := tx.SessionWithUser(ctx, row.SessionID)
	if err != nil {
		return Introspection{}, err
	}
	if row.UsedAt != nil || !session.Alive(user, authority, tx.Now()) {
		return Introspection{}, errNotAlive
	}
	return Introspection{Scope: strings.Join(user.Roles, " "), ClientID: clientLogin, Username: user.Username,
		Exp: min(session.ExpiresAt, session.IdleExpiresAt) / 1e6, Iat: row.CreatedAt / 1e6, Sub: user.ID,
		SessionID: session.ID, Mode: session.Mode, Roles: user.Roles}, nil
}

func (s *Service) introspectKey(ctx context.Context, key string) (Introspection, error) {
	k, user, err := s.findKey(ctx, liveness.Introspected, key)
	if err != nil {
		return Introspection{}, err
	}
	roles := narrowed(user.Roles, k.Scopes)
	found := Introspection{Scope: strings.Join(roles, " "), ClientID: k.ID, Username: user.Username,
		Iat: k.CreatedAt / 1e6, Sub: user.ID, KeyID: k.ID, Mode: k.Mode, Roles: roles}
	if k.NotAfter != nil {
		found.Exp = *k.NotAfter / 1e6
	}
	return found, nil
}
