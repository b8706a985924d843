package auth

import (
	"context"
	"time"
)

// Session is one login, as its user sees it.
type Session struct {
	ID         string    `json:"id"`
	CreatedAt  time.Time `json:"created_at"`
	LastUsedAt time.Time `json:"last_used_at"`
	IP         string    `json:"ip"`
	UserAgent  string    `json:"user_agent"`
	Current    bool      `json:"current"`
}

// Sessions lists the caller's living sessions, newest first.
func (s *Service) Sessions(ctx context.Context, c Caller, p PageRequest) (Page[Session], error) {
	return Page[Session]{}, errNotImplemented
}

// EndSession ends one of the caller's sessions. Other people's are [ErrNotFound].
func (s *Service) EndSession(ctx context.Context, c Caller, id string) (Change, error) {
	return Change{}, errNotImplemented
}

// Logout ends the caller's session.
func (s *Service) Logout(ctx context.Context, c Caller) (Change, error) {
	return Change{}, errNotImplemented
}

// LogoutAll ends every session and token of the caller; API keys live on.
func (s *Service) LogoutAll(ctx context.Context, c Caller) (Change, error) {
	return Change{}, errNotImplemented
}
