package auth

import "context"

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
}

// Introspect tells whether an access token, refresh token or API key is alive. Callers see their own, and all with the
// role introspect; everything else is exactly inactive.
func (s *Service) Introspect(ctx context.Context, c Caller, token string) (Introspection, error) {
	return Introspection{}, errNotImplemented
}
