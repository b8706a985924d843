package auth

import (
	"context"
	"slices"
	"time"

	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/pkg/events"
)

// UserQuery filters the user list: Text is a part of the username or the email, or a whole id.
type UserQuery struct {
	PageRequest
	Text string
}

// Users lists users, oldest first, for admins.
func (s *Service) Users(ctx context.Context, c Caller, q UserQuery) (Page[User], error) {
	p, err := q.PageRequest.check()
	if err == nil {
		err = checkText("query", q.Text)
	}
	if err != nil {
		return Page[User]{}, err
	}
	var rows []store.User
	err = s.view(ctx, func(tx *store.Tx) (err error) {
		if err = admin(ctx, tx, c); err == nil {
			rows, err = tx.Users(ctx, q.Text, p.Cursor, p.Limit+1)
		}
		return err
	})
	return pageOf(rows, p.Limit, showUser, func(u store.User) string { return u.ID }), err
}

// User returns one user to an admin.
func (s *Service) User(ctx context.Context, c Caller, id string) (User, error) {
	if err := checkID("id", id); err != nil {
		return User{}, err
	}
	var user store.User
	err := s.view(ctx, func(tx *store.Tx) (err error) {
		if err = admin(ctx, tx, c); err == nil {
			user, err = tx.User(ctx, id)
		}
		return err
	})
	return showUser(user), err
}

// DeleteUser removes a user with all sessions and keys. Error [ErrLastAdmin] for the last admin.
func (s *Service) DeleteUser(ctx context.Context, c Caller, id string) (Change, error) {
	_, done, err := s.changeUser(ctx, c, id, func(w *work, user store.User) (store.User, error) {
		d := deed{action: "user.deleted"}
		rv, err := w.SetAuthorization(ctx, user.ID, nil, user.Plan, true)
		if err != nil {
			return user, err
		}
		d.events = []events.Payload{events.RoleChanged{UserID: user.ID, RV: rv, Roles: []string{}, Plan: user.Plan, Disabled: true}}
		if err := w.revokeUser(ctx, user, true, d); err != nil {
			return user, err
		}
		user.Disabled = true
		return user, w.DeleteUser(ctx, user.ID)
	})
	return done, err
}

// SetRoles replaces a user's roles. Error [ErrLastAdmin] when it would leave no enabled admin.
func (s *Service) SetRoles(ctx context.Context, c Caller, id string, roles []string) (User, Change, error) {
	roles, err := canonicalNames("roles", roles)
	if err != nil {
		return User{}, Change{}, err
	}
	return s.changeUser(ctx, c, id, func(w *work, user store.User) (store.User, error) {
		if sameSet(roles, user.Roles) {
			return user, w.nothingChanged(ctx, userTarget(user.ID), events.TypeRoleChanged)
		}
		user.Roles = roles
		return user, w.authorize(ctx, user, deed{action: "user.roles", detail: map[string]any{"roles": roles}})
	})
}

// SetPlan changes a user's plan.
func (s *Service) SetPlan(ctx context.Context, c Caller, id, plan string) (User, Change, error) {
	if err := checkName("plan", plan); err != nil {
		return User{}, Change{}, err
	}
	return s.changeUser(ctx, c, id, func(w *work, user store.User) (store.User, error) {
		if plan == user.Plan {
			return user, w.nothingChanged(ctx, userTarget(user.ID), events.TypeRoleChanged)
		}
		user.Plan = plan
		return user, w.authorize(ctx, user, deed{action: "user.plan", detail: map[string]any{"plan": plan}})
	})
}

// SetStatus disables or enables a user. Disabling ends the sessions for good and suspends the keys until enabled again.
// Error [ErrLastAdmin] for the last admin.
func (s *Service) SetStatus(ctx context.Context, c Caller, id string, disabled bool) (User, Change, error) {
	return s.changeUser(ctx, c, id, func(w *work, user store.User) (store.User, error) {
		if disabled == user.Disabled {
			return user, w.nothingChanged(ctx, userTarget(user.ID), events.TypeRoleChanged)
		}
		user.Disabled = disabled
		if !disabled {
			return user, w.authorize(ctx, user, deed{action: "user.enabled"})
		}
		tv, err := w.BumpTokens(ctx, []store.User{user}, false)
		if err != nil {
			return user, err
		}
		return user, w.authorize(ctx, user, deed{action: "user.disabled",
			events: []events.Payload{events.TokenRevoked{UserID: user.ID, TV: tv}}})
	})
}

// changeUser runs fn with a locked user, for admins, and refuses an outcome without an enabled admin. Whether the caller
// is an admin is decided under the lock on all of them: otherwise one who is being demoted could undo that.
func (s *Service) changeUser(ctx context.Context, c Caller, id string,
	fn func(w *work, user store.User) (store.User, error)) (User, Change, error) {
	if err := checkID("id", id); err != nil {
		return User{}, Change{}, err
	}
	if err := s.RequireAdmin(c); err != nil {
		return User{}, Change{}, err
	}
	var after store.User
	done, err := s.change(ctx, c, func(w *work) error {
		admins, err := w.LockAdmins(ctx)
		if err != nil {
			return err
		}
		if err := w.lockAdmin(ctx); err != nil {
			return err
		}
		before, err := w.LockUser(ctx, id)
		if err != nil {
			return err
		}
		if after, err = fn(w, before); err != nil {
			return err
		}
		if isAdmin(before) && !isAdmin(after) && admins < 2 {
			return ErrLastAdmin
		}
		return nil
	})
	if err != nil {
		return User{}, Change{}, err
	}
	return showUser(after), done, nil
}

// isAdmin reports whether a user can act as an admin.
func isAdmin(u store.User) bool { return !u.Disabled && slices.Contains(u.Roles, RoleAdmin) }

// authorize stores a user's new authorization state and announces all of it.
func (w *work) authorize(ctx context.Context, user store.User, d deed) error {
	rv, err := w.SetAuthorization(ctx, user.ID, user.Roles, user.Plan, user.Disabled)
	if err != nil {
		return err
	}
	d.target = userTarget(user.ID)
	d.events = append(d.events, events.RoleChanged{UserID: user.ID, RV: rv, Roles: user.Roles, Plan: user.Plan, Disabled: user.Disabled})
	return w.record(ctx, d)
}

// sameSet compares a canonical set with one that the database holds.
func sameSet(canonical, stored []string) bool {
	return slices.Equal(canonical, slices.Compact(slices.Sorted(slices.Values(stored))))
}

// KeyQuery filters the list of all API keys.
type KeyQuery struct {
	PageRequest
	Prefix string // leading characters of the key, at most those that lists show
	User   string // user id
	// ExpiringBefore, when set, keeps living keys that die by then.
	ExpiringBefore time.Time
}

func (q KeyQuery) check() (KeyQuery, error) {
	p, err := q.PageRequest.check()
	if err == nil {
		err = checkText("prefix", q.Prefix)
	}
	if err == nil && q.User != "" {
		err = checkID("user", q.User)
	}
	q.PageRequest = p
	return q, err
}

// AllAPIKeys lists keys of all users for admins, oldest first.
func (s *Service) AllAPIKeys(ctx context.Context, c Caller, q KeyQuery) (Page[APIKey], error) {
	q, err := q.check()
	if err != nil {
		return Page[APIKey]{}, err
	}
	filter := store.KeyFilter{Prefix: q.Prefix, UserID: q.User}
	if !q.ExpiringBefore.IsZero() {
		filter.ExpiringBy = q.ExpiringBefore.UnixMicro()
	}
	var rows []store.APIKey
	var owners map[string]store.User
	var kc keyContext
	err = s.view(ctx, func(tx *store.Tx) (err error) {
		if err = admin(ctx, tx, c); err != nil {
			return err
		}
		if kc, err = readKeyContext(ctx, tx, store.User{}); err != nil {
			return err
		}
		if rows, err = tx.APIKeys(ctx, filter, q.Cursor, q.Limit+1); err != nil {
			return err
		}
		owners, err = tx.UsersByID(ctx, userIDs(rows))
		return err
	})
	show := func(k store.APIKey) APIKey {
		kc.user = owners[k.UserID]
		return kc.show(k)
	}
	return pageOf(rows, q.Limit, show, keyID), err
}

func userIDs(keys []store.APIKey) []string {
	ids := make([]string, 0, len(keys))
	for _, k := range keys {
		ids = append(ids, k.UserID)
	}
	return slices.Compact(slices.Sorted(slices.Values(ids)))
}
