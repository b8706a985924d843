package auth

import (
	"context"

	"github.com/tocsin-auth/tocsin/pkg/events"
)

// Login is a user's proof of identity. Mode empty means live.
type Login struct {
	Username string
	Password string
	Mode     events.Mode
}

// Tokens are what login and refresh give. Lives are in whole seconds.
type Tokens struct {
	AccessToken      string `json:"access_token"`
	TokenType        string `json:"token_type"`
	ExpiresIn        int64  `json:"expires_in"`
	RefreshToken     string `json:"refresh_token"`
	RefreshExpiresIn int64  `json:"refresh_expires_in"`
	SessionID        string `json:"session_id"`
}

// Login opens a session. An unknown user, a wrong password and a disabled user give the same [ErrInvalidCredentials]
// after the same work.
func (s *Service) Login(ctx context.Context, l Login, from Client) (Tokens, error) {
	return Tokens{}, errNotImplemented
}
