package auth

import "context"

// ChangePassword sets a new password and ends every session but the caller's own.
// Errors: [ErrInvalidCredentials] when current is wrong, [ErrWeakPassword], [ErrThrottled].
func (s *Service) ChangePassword(ctx context.Context, c Caller, current, next string) (Change, error) {
	return Change{}, errNotImplemented
}
