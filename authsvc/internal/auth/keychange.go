package auth

import (
	"context"
	"time"

	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/pkg/events"
)

// APIKeyPatch changes what isn't nil. ExpiresAt only ever comes nearer; a time that has passed is at once. It ends the overlap
// of a rotation early.
type APIKeyPatch struct {
	Name      *string
	Disabled  *bool
	ExpiresAt *time.Time
}

func (p APIKeyPatch) check() error {
	if p.Name == nil {
		return nil
	}
	if *p.Name == "" {
		return invalid("name", "must not be empty")
	}
	return checkText("name", *p.Name)
}

// Rotation is the outcome of rotating a key.
type Rotation struct {
	Key      IssuedKey
	Previous PreviousKey
}

// PreviousKey tells until when the old key of a rotation lives.
type PreviousKey struct {
	ID        string    `json:"id"`
	ExpiresAt time.Time `json:"expires_at"`
}

// DefaultOverlap is how long a rotated key lives on unless asked otherwise; MaxOverlap is the longest.
const (
	DefaultOverlap = 24 * time.Hour
	MaxOverlap     = 90 * 24 * time.Hour
)

// lockOwnKey locks one of the caller's keys, alive or not, and the caller's user. Other people's are [ErrNotFound].
func (w *work) lockOwnKey(ctx context.Context, id string) (store.APIKey, store.User, error) {
	user, err := w.lockSelf(ctx)
	if err != nil {
		return store.APIKey{}, user, err
	}
	key, err := w.LockAPIKey(ctx, id)
	if err != nil {
		return key, user, err
	}
	if key.UserID != w.by.UserID {
		return key, user, ErrNotFound
	}
	return key, user, sameMode(w.by, events.Mode(key.Mode))
}

// lockAnyKey is lockOwnKey for admins, whosever the key is. It locks in the order of changeUser.
func (w *work) lockAnyKey(ctx context.Context, id string) (store.APIKey, store.User, error) {
	if _, err := w.LockAdmins(ctx); err != nil {
		return store.APIKey{}, store.User{}, err
	}
	if err := w.lockAdmin(ctx); err != nil {
		return store.APIKey{}, store.User{}, err
	}
	found, err := w.APIKey(ctx, id)
	if err != nil {
		return found, store.User{}, err
	}
	user, err := w.LockUser(ctx, found.UserID)
	if err != nil {
		return found, user, err
	}
	key, err := w.LockAPIKey(ctx, id)
	return key, user, err
}

// keyLock is lockOwnKey or lockAnyKey.
type keyLock func(w *work, ctx context.Context, id string) (store.APIKey, store.User, error)

// UpdateAPIKey renames, suspends, resumes or shortens one of the caller's keys. To resume one that an admin suspended is
// [ErrForbidden], to admins too: theirs is [Service.UpdateAnyAPIKey].
func (s *Service) UpdateAPIKey(ctx context.Context, c Caller, id string, p APIKeyPatch) (APIKey, Change, error) {
	return s.updateKey(ctx, c, (*work).lockOwnKey, ByOwner, id, p)
}

// UpdateAnyAPIKey is UpdateAPIKey for admins, whosever the key is.
func (s *Service) UpdateAnyAPIKey(ctx context.Context, c Caller, id string, p APIKeyPatch) (APIKey, Change, error) {
	if err := s.RequireAdmin(c); err != nil {
		return APIKey{}, Change{}, err
	}
	return s.updateKey(ctx, c, (*work).lockAnyKey, ByAdmin, id, p)
}

func (s *Service) updateKey(ctx context.Context, c Caller, lock keyLock, by Suspender, id string, p APIKeyPatch) (APIKey, Change, error) {
	err := checkID("id", id)
	if err == nil {
		err = p.check()
	}
	if err != nil {
		return APIKey{}, Change{}, err
	}
	var shown APIKey
	done, err := s.change(ctx, c, func(w *work) error {
		key, user, err := lock(w, ctx, id)
		if err != nil {
			return err
		}
		if err := w.renameKey(ctx, &key, p.Name); err != nil {
			return err
		}
		if err := w.suspendKey(ctx, &key, p.Disabled, by); err != nil {
			return err
		}
		if err := w.shortenKey(ctx, &key, p.ExpiresAt); err != nil {
			return err
		}
		kc, err := readKeyContext(ctx, w.Tx, user)
		shown = kc.show(key)
		return err
	})
	return shown, done, err
}

func (w *work) renameKey(ctx context.Context, key *store.APIKey, name *string) error {
	if name == nil || *name == key.Name {
		return nil
	}
	key.Name = *name
	if err := w.RenameAPIKey(ctx, key.ID, key.Name); err != nil {
		return err
	}
	return w.record(ctx, deed{action: "api_key.renamed", target: keyTarget(key.ID), detail: w.aboutKey(*key)})
}

// Suspender says by what right a key was suspended.
type Suspender string

// The suspenders. An admin takes the suspension of an owner over; the reverse doesn't happen.
const (
	ByOwner Suspender = "owner"
	ByAdmin Suspender = "admin"
)

func suspenderOf(k store.APIKey) Suspender {
	switch {
	case !k.Suspended:
		return ""
	case k.Held:
		return ByAdmin
	}
	return ByOwner
}

var errHeld = &Error{Code: CodeForbidden, Message: "an admin suspended the key; only an admin can resume it"}

// suspendKey suspends or resumes a key. An admin who suspends what its owner had suspended changes no verdict, and yet
// there is an event: a database that loses the commit learns from it.
func (w *work) suspendKey(ctx context.Context, key *store.APIKey, suspend *bool, by Suspender) error {
	switch {
	case suspend == nil:
		return nil
	case key.Held && !*suspend && by != ByAdmin:
		return errHeld
	case *suspend == key.Suspended && (by == ByOwner || *suspend == key.Held):
		return w.nothingChanged(ctx, keyTarget(key.ID), events.TypeAPIKeyRotated)
	}
	key.Suspended, key.Held = *suspend, *suspend && by == ByAdmin
	kv, err := w.SetAPIKeySuspended(ctx, key.ID, key.Suspended, key.Held)
	if err != nil {
		return err
	}
	action := "api_key.resumed"
	if key.Suspended {
		action = "api_key.suspended"
	}
	detail := w.aboutKey(*key)
	detail["by"] = by
	return w.record(ctx, deed{action: action, target: keyTarget(key.ID), detail: detail,
		events: []events.Payload{events.APIKeyRotated{KeyID: key.ID, Suspended: &key.Suspended, KV: kv}}})
}

// aboutKey is what the audit log says of a key whatever was done to it: its mode, and whose it is unless it is the actor's.
func (w *work) aboutKey(key store.APIKey) map[string]any {
	detail := map[string]any{"mode": key.Mode}
	if key.UserID != w.by.UserID {
		detail["user"] = key.UserID
	}
	return detail
}

// shortenKey lets a key die at a time that isn't later than its end; at once if that has passed, by the database's clock.
func (w *work) shortenKey(ctx context.Context, key *store.APIKey, at *time.Time) error {
	if at == nil {
		return nil
	}
	ends := max(at.UnixMicro(), w.Now())
	atOnce := ends == w.Now()
	if !atOnce && key.NotAfter != nil && ends > *key.NotAfter {
		return invalid("expires_at", "must not be later than the key's present end")
	}
	if key.Ended || !atOnce && key.NotAfter != nil && ends == *key.NotAfter {
		return w.nothingChanged(ctx, keyTarget(key.ID), events.TypeAPIKeyRotated)
	}
	dies, err := w.EndAPIKey(ctx, key.ID, ends, "")
	if err != nil {
		return err
	}
	key.NotAfter, key.Ended = &dies, atOnce
	detail := w.aboutKey(*key)
	detail["not_after"] = dies
	return w.record(ctx, deed{action: "api_key.shortened", target: keyTarget(key.ID), detail: detail,
		events: []events.Payload{w.endOfKey(key.ID, "", dies)}})
}

// atOnce is the not_after of an event that ends a key at once: before the time of any event, wherever the database's clock
// is by the time at which this one is numbered.
const atOnce int64 = 1

// endOfKey returns the event that tells of a key's end, which EndAPIKey has written.
func (w *work) endOfKey(id, successor string, dies int64) events.APIKeyRotated {
	if dies <= w.Now() {
		dies = atOnce
	}
	return events.APIKeyRotated{KeyID: id, Successor: successor, NotAfter: &dies}
}

// RotateAPIKey issues a successor of one of the caller's keys, with the same name, mode, scopes and length of life; the
// old one dies after overlap, at once for 0. A key that doesn't work or was rotated already is [ErrConflict].
func (s *Service) RotateAPIKey(ctx context.Context, c Caller, id string, overlap time.Duration) (Rotation, Change, error) {
	if err := checkID("id", id); err != nil {
		return Rotation{}, Change{}, err
	}
	if overlap < 0 || overlap > MaxOverlap {
		return Rotation{}, Change{}, invalid("overlap", "must be between 0s and 2160h")
	}
	var r Rotation
	done, err := s.issue(ctx, c, 0, func(w *work, a store.Authority) error {
		key, user, err := w.lockOwnKey(ctx, id)
		if err != nil {
			return err
		}
		if key.Successor != "" {
			return &Error{Code: CodeConflict, Message: "the key was rotated already"}
		}
		if !key.Alive(user, a, w.Now()) {
			return &Error{Code: CodeConflict, Message: "the key is suspended or dead"}
		}
		if overlap > 0 {
			if err := w.boundKeys(ctx, user, 2*MaxAPIKeys); err != nil {
				return err
			}
		}
		r, err = w.rotateKey(ctx, user, key, overlap)
		return err
	})
	return r, done, err
}

func (w *work) rotateKey(ctx context.Context, user store.User, old store.APIKey, overlap time.Duration) (Rotation, error) {
	next := NewAPIKey{Name: old.Name, Mode: events.Mode(old.Mode), Scopes: old.Scopes}
	if old.NotAfter != nil {
		expires := fromMicros(w.Now() + *old.NotAfter - old.CreatedAt)
		next.ExpiresAt = &expires
	}
	issued, err := w.createKey(ctx, user, next)
	if err != nil {
		return Rotation{}, err
	}
	dies, err := w.EndAPIKey(ctx, old.ID, w.Now()+overlap.Microseconds(), issued.ID)
	if err != nil {
		return Rotation{}, err
	}
	detail := w.aboutKey(old)
	detail["successor"], detail["not_after"] = issued.ID, dies
	err = w.record(ctx, deed{action: "api_key.rotated", target: keyTarget(old.ID), detail: detail,
		events: []events.Payload{w.endOfKey(old.ID, issued.ID, dies)}})
	return Rotation{Key: issued, Previous: PreviousKey{ID: old.ID, ExpiresAt: fromMicros(dies)}}, err
}

// DeleteAPIKey ends one of the caller's keys for good.
func (s *Service) DeleteAPIKey(ctx context.Context, c Caller, id string) (Change, error) {
	return s.deleteKey(ctx, c, (*work).lockOwnKey, id)
}

// DeleteAnyAPIKey is DeleteAPIKey for admins, whosever the key is.
func (s *Service) DeleteAnyAPIKey(ctx context.Context, c Caller, id string) (Change, error) {
	if err := s.RequireAdmin(c); err != nil {
		return Change{}, err
	}
	return s.deleteKey(ctx, c, (*work).lockAnyKey, id)
}

func (s *Service) deleteKey(ctx context.Context, c Caller, lock keyLock, id string) (Change, error) {
	if err := checkID("id", id); err != nil {
		return Change{}, err
	}
	return s.change(ctx, c, func(w *work) error {
		key, _, err := lock(w, ctx, id)
		if err != nil {
			return err
		}
		if err := w.DeleteAPIKey(ctx, key.ID); err != nil {
			return err
		}
		return w.record(ctx, deed{action: "api_key.deleted", target: keyTarget(key.ID), detail: w.aboutKey(key),
			events: []events.Payload{w.endOfKey(key.ID, "", atOnce)}})
	})
}

// revokeKey lets a key die at once; its row stays, to show that it did.
func (w *work) revokeKey(ctx context.Context, id string, d deed) error {
	key, err := w.LockAPIKey(ctx, id)
	if err != nil {
		return err
	}
	d.target = keyTarget(id)
	if key.Ended { // not merely past its end: the clock may be set back
		return w.nothingChanged(ctx, d.target, events.TypeAPIKeyRotated)
	}
	dies, err := w.EndAPIKey(ctx, id, w.Now(), "")
	if err != nil {
		return err
	}
	d.events = []events.Payload{w.endOfKey(id, "", dies)}
	if d.detail == nil {
		d.detail = w.aboutKey(key)
	}
	d.detail["mode"] = key.Mode
	return w.record(ctx, d)
}
