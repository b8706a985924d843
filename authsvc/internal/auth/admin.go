package auth

import (
	"context"
	"time"
)

// UserQuery filters the user list: Text is a part of the username, the email or the whole id.
type UserQuery struct {
	PageRequest
	Text string
}

// Users lists users, oldest first, for admins.
func (s *Service) Users(ctx context.Context, c Caller, q UserQuery) (Page[User], error) {
	return Page[User]{}, errNotImplemented
}

// User returns one user to an admin.
func (s *Service) User(ctx context.Context, c Caller, id string) (User, error) {
	return User{}, errNotImplemented
}

// DeleteUser removes a user with all sessions and keys. Error [ErrLastAdmin] for the last admin.
func (s *Service) DeleteUser(ctx context.Context, c Caller, id string) (Change, error) {
	return Change{}, errNotImplemented
}

// SetRoles replaces a user's roles. Error [ErrLastAdmin] when it would leave no enabled admin.
func (s *Service) SetRoles(ctx context.Context, c Caller, id string, roles []string) (User, Change, error) {
	return User{}, Change{}, errNotImplemented
}

// SetPlan changes a user's plan.
func (s *Service) SetPlan(ctx context.Context, c Caller, id, plan string) (User, Change, error) {
	return User{}, Change{}, errNotImplemented
}

// SetStatus disables or enables a user. Disabling ends the sessions for good and suspends the keys until enabled again.
func (s *Service) SetStatus(ctx context.Context, c Caller, id string, disabled bool) (User, Change, error) {
	return User{}, Change{}, errNotImplemented
}

// KeyQuery filters the list of all API keys.
type KeyQuery struct {
	PageRequest
	Prefix string // leading characters of the key, at most those that lists show
	User   string // user id
	// ExpiringBefore, when set, keeps living keys that die before it.
	ExpiringBefore time.Time
}

// AllAPIKeys lists keys of all users for admins, newest first.
func (s *Service) AllAPIKeys(ctx context.Context, c Caller, q KeyQuery) (Page[APIKey], error) {
	return Page[APIKey]{}, errNotImplemented
}
