package auth

import "context"

// RotateSigningKey makes a new token signing key and returns its kid, for admins. An emergency drops the old keys
// everywhere at once, so every living access token dies.
func (s *Service) RotateSigningKey(ctx context.Context, c Caller, emergency bool) (string, Change, error) {
	return "", Change{}, errNotImplemented
}
