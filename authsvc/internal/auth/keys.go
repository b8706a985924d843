package auth

import (
	"cmp"
	"context"
	"strconv"
	"time"

	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/pkg/events/apikey"
)

// KeyStatus says in one word whether a key works, and if not, why.
type KeyStatus string

// The statuses, the first that holds.
const (
	KeyRevoked   KeyStatus = "revoked" // by a revocation of the user's, a role's or all credentials
	KeyExpired   KeyStatus = "expired" // past ExpiresAt: set at creation, by a rotation or by a revocation
	KeySuspended KeyStatus = "suspended"
	KeyActive    KeyStatus = "active"
)

// APIKey is what lists show of a key: never the secret.
type APIKey struct {
	ID       string      `json:"id"`
	UserID   string      `json:"user_id"`
	Name     string      `json:"name"`
	Mode     events.Mode `json:"mode"`
	Prefix   string      `json:"prefix"`
	Scopes   []string    `json:"scopes,omitempty"`
	Status   KeyStatus   `json:"status"`
	Disabled bool        `json:"disabled"`
	// DisabledBy is empty unless Disabled.
	DisabledBy Suspender  `json:"disabled_by,omitempty" enum:"owner,admin" doc:"Who suspended it. What an admin suspended only admins resume"`
	ExpiresAt  *time.Time `json:"expires_at,omitempty"`
	Successor  string     `json:"successor,omitempty"`
	CreatedAt  time.Time  `json:"created_at"`
	CreatedBy  string     `json:"created_by,omitempty" doc:"Id of the user who made it"`
	// Uses are told by the services now and then: nil doesn't say that a key is unused.
	LastUsedAt      *time.Time `json:"last_used_at" doc:"As services tell about once a minute, so up to two minutes behind. null: not known, which doesn't mean never"`
	LastUsedService string     `json:"last_used_service,omitempty" doc:"The service that told so; authsvc for calls made to it and for introspection"`
}

// IssuedKey is a new key with its secret, shown once.
type IssuedKey struct {
	APIKey
	Key string `json:"key"`
}

// keyContext is what a key's status depends on besides the key.
type keyContext struct {
	user      store.User
	authority store.Authority
	now       int64
}

func readKeyContext(ctx context.Context, tx *store.Tx, user store.User) (keyContext, error) {
	authority, err := tx.Authority(ctx)
	return keyContext{user: user, authority: authority, now: tx.Now()}, err
}

func (c keyContext) show(k store.APIKey) APIKey {
	return APIKey{ID: k.ID, UserID: k.UserID, Name: k.Name, Mode: events.Mode(k.Mode), Prefix: k.Prefix, Scopes: k.Scopes,
		Status: c.status(k), Disabled: k.Suspended, DisabledBy: suspenderOf(k), ExpiresAt: optionalTime(k.NotAfter), Successor: k.Successor,
		CreatedAt: fromMicros(k.CreatedAt), CreatedBy: k.CreatedBy, LastUsedAt: optionalTime(k.LastUsedAt), LastUsedService: k.LastUsedService}
}

func (c keyContext) status(k store.APIKey) KeyStatus {
	switch {
	case k.TV < c.user.KeysTV, madeBefore(k.ID, c.authority.KeysBefore):
		return KeyRevoked
	case k.Ended, k.NotAfter != nil && *k.NotAfter <= c.now:
		return KeyExpired
	case k.Suspended || c.user.Disabled:
		return KeySuspended
	}
	return KeyActive
}

// APIKeys lists the caller's keys, newest first.
func (s *Service) APIKeys(ctx context.Context, c Caller, p PageRequest) (Page[APIKey], error) {
	p, err := p.check()
	if err != nil {
		return Page[APIKey]{}, err
	}
	var rows []store.APIKey
	var kc keyContext
	err = s.view(ctx, func(tx *store.Tx) error {
		user, err := self(ctx, tx, c)
		if err != nil {
			return err
		}
		if kc, err = readKeyContext(ctx, tx, user); err != nil {
			return err
		}
		rows, err = tx.APIKeysOf(ctx, c.UserID)
		return err
	})
	return pageOf(descending(rows, p.Cursor, keyID), p.Limit, kc.show, keyID), err
}

func keyID(k store.APIKey) string { return k.ID }

// NewAPIKey describes a key to create. Without scopes it has all of the user's roles.
type NewAPIKey struct {
	Name      string
	Mode      events.Mode
	ExpiresAt *time.Time
	Scopes    []string
}

// check leaves ExpiresAt to the transaction, which knows the time.
func (k NewAPIKey) check() (NewAPIKey, error) {
	if k.Name == "" {
		return k, invalid("name", "is required")
	}
	if err := checkText("name", k.Name); err != nil {
		return k, err
	}
	if err := checkMode(k.Mode); err != nil {
		return k, err
	}
	scopes, err := canonicalNames("scopes", k.Scopes)
	if err == nil && k.Scopes != nil && len(scopes) == 0 {
		err = invalid("scopes", "must name at least one, or be left out")
	}
	k.Scopes = scopes
	return k, err
}

// MaxAPIKeys is how many keys a user may have, besides dead ones. Rotations, which leave two where one was, may go up to
// twice as many: a key that has leaked can always be replaced.
const MaxAPIKeys = 100

// boundKeys refuses one more key for a locked user who has as many as limit. Suspended ones count.
func (w *work) boundKeys(ctx context.Context, user store.User, limit int) error {
	kc, err := readKeyContext(ctx, w.Tx, user)
	if err != nil {
		return err
	}
	keys, err := w.APIKeysOf(ctx, user.ID)
	if err != nil {
		return err
	}
	usable := 0
	for _, key := range keys {
		if status := kc.status(key); status == KeyActive || status == KeySuspended {
			usable++
		}
	}
	if usable >= limit {
		return &Error{Code: CodeConflict, Message: "there are too many API keys, " + strconv.Itoa(usable) + "; delete one that isn't needed"}
	}
	return nil
}

// CreateAPIKey issues a key to the caller. A test token can make test keys only. With [MaxAPIKeys] it is [ErrConflict].
func (s *Service) CreateAPIKey(ctx context.Context, c Caller, k NewAPIKey) (IssuedKey, error) {
	k, err := k.check()
	if err != nil {
		return IssuedKey{}, err
	}
	var issued IssuedKey
	_, err = s.issue(ctx, c, 0, func(w *work, _ store.Authority) error {
		user, err := w.lockSelf(ctx)
		if err != nil {
			return err
		}
		if err := sameMode(c, k.Mode); err != nil {
			return err
		}
		if k.ExpiresAt != nil && k.ExpiresAt.UnixMicro() <= w.Now() {
			return invalid("expires_at", "must be in the future")
		}
		if err := w.boundKeys(ctx, user, MaxAPIKeys); err != nil {
			return err
		}
		issued, err = w.createKey(ctx, user, k)
		return err
	})
	if err != nil {
		return IssuedKey{}, err
	}
	return issued, nil
}

// sameMode keeps test credentials, which are handled with less care, away from live ones.
func sameMode(c Caller, mode events.Mode) error {
	if c.Mode == events.ModeTest && mode != events.ModeTest {
		return &Error{Code: CodeForbidden, Message: "a test credential can't be used on live ones"}
	}
	return nil
}

// createKey makes a key of a user who is locked, or was made by this transaction.
func (w *work) createKey(ctx context.Context, user store.User, k NewAPIKey) (IssuedKey, error) {
	secret := apikey.New(k.Mode)
	by := cmp.Or(w.by.UserID, user.ID) // who registers has no credential yet
	row := store.APIKey{ID: w.NewID(), UserID: user.ID, Name: k.Name, Mode: string(k.Mode), Hash: hashSecret(secret),
		Prefix: secret[:apikey.ShownPrefix], Scopes: k.Scopes, TV: user.TV, KV: w.Now(), CreatedAt: w.Now(), CreatedBy: by}
	if k.ExpiresAt != nil {
		at := k.ExpiresAt.UnixMicro()
		row.NotAfter = &at
	}
	if err := w.InsertAPIKey(ctx, row); err != nil {
		return IssuedKey{}, err
	}
	err := w.record(ctx, deed{action: "api_key.created", target: keyTarget(row.ID), detail: map[string]any{"mode": k.Mode}})
	if err != nil {
		return IssuedKey{}, err
	}
	kc, err := readKeyContext(ctx, w.Tx, user)
	return IssuedKey{APIKey: kc.show(row), Key: secret}, err
}
