package auth

import "context"

// Refresh exchanges a refresh token for its successor and a new access token. The same token again within
// [RefreshGrace] gives the same successor again; later it ends the session with its event.
// Every refusal is [ErrInvalidRefreshToken].
func (s *Service) Refresh(ctx context.Context, refreshToken string, from Client) (Tokens, error) {
	return Tokens{}, errNotImplemented
}
