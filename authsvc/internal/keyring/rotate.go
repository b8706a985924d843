package keyring

import (
	"context"

	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/pkg/events"
)

// NewKey is a token key that is in no set yet.
type NewKey struct{ row store.SigningKey }

// NewKey makes a token key for [Ring.Rotate]. It takes its time for RSA, seconds on a busy machine, and so MUST NOT be
// called in a transaction, where everybody who writes to the same SQLite database would wait for it.
func (r *Ring) NewKey() (NewKey, error) {
	row, err := r.newKey(store.PurposeToken, r.alg)
	return NewKey{row}, err
}

// Rotate adds a token key to the set and returns its kid and the ids of the events that announce it. The new key signs
// after a minute, when every verifier has it; the old ones stay until the last token that they signed is dead. In an
// emergency the old keys leave the set at once and for ever, every token signed with them is dead, and the new one
// signs at once. A caller that locks users too MUST do that first.
func (r *Ring) Rotate(ctx context.Context, tx *store.Tx, key NewKey, emergency bool) (kid string, eventIDs []string, err error) {
	if _, err := tx.BumpKeySetVersion(ctx); err != nil {
		return "", nil, err
	}
	id, err := r.replace(ctx, tx, key.row, emergency)
	return key.row.KID, []string{id}, err
}

// replace puts a key in the place of all others. The set MUST be locked.
func (r *Ring) replace(ctx context.Context, tx *store.Tx, key store.SigningKey, emergency bool) (eventID string, err error) {
	authority, err := tx.Authority(ctx)
	if err != nil {
		return "", err
	}
	key.CreatedAt = tx.Now()
	key.ActiveAt = key.CreatedAt
	if !emergency {
		key.ActiveAt += publishAhead.Microseconds()
	}
	// Job grants are signed like access tokens, and live longer.
	retire := key.ActiveAt + max(authority.MaxAccessTTL, store.MaxGrantLife.Microseconds()) + retireMargin.Microseconds()
	old, err := tx.SigningKeys(ctx)
	if err != nil {
		return "", err
	}
	for _, k := range old {
		switch {
		case k.Purpose != store.PurposeToken:
		case emergency:
			err = tx.RetireSigningKey(ctx, k.KID)
		case k.RetireAt == nil:
			err = tx.SetRetireAt(ctx, k.KID, retire)
		}
		if err != nil {
			return "", err
		}
	}
	if err := tx.InsertSigningKey(ctx, key); err != nil {
		return "", err
	}
	return announce(ctx, tx)
}

// RetireDue removes token keys whose time has come and reports whether there were any: then an event was written and
// the dispatcher wants a nudge. One replica calling it now and then is enough; several do no harm.
func (r *Ring) RetireDue(ctx context.Context) (bool, error) {
	due := false
	err := r.db.View(ctx, func(tx *store.Tx) error {
		s, err := r.load(ctx, tx)
		due = err == nil && s.nextRetire != 0 && s.nextRetire <= tx.Now()
		return err
	})
	if err != nil || !due {
		return false, err
	}
	err = r.db.Update(ctx, func(tx *store.Tx) error {
		if _, err := tx.BumpKeySetVersion(ctx); err != nil {
			return err
		}
		due, err = retireDue(ctx, tx)
		return err
	})
	return due, err
}

func retireDue(ctx context.Context, tx *store.Tx) (bool, error) {
	keys, err := tx.SigningKeys(ctx)
	if err != nil {
		return false, err
	}
	retired := false
	for _, k := range keys {
		if k.Purpose != store.PurposeToken || k.RetireAt == nil || *k.RetireAt > tx.Now() {
			continue
		}
		if err := tx.RetireSigningKey(ctx, k.KID); err != nil {
			return false, err
		}
		retired = true
	}
	if !retired { // another replica was faster
		return false, nil
	}
	_, err = announce(ctx, tx)
	return true, err
}

// announce writes the event of a changed set, in the transaction that changed it.
func announce(ctx context.Context, tx *store.Tx) (string, error) {
	keys, err := tx.SigningKeys(ctx)
	if err != nil {
		return "", err
	}
	var kids []string
	for _, k := range keys {
		if k.Purpose == store.PurposeToken {
			kids = append(kids, k.KID)
		}
	}
	return tx.InsertEvent(ctx, store.NewEvent{
		Payload: events.KeysChanged{Hash: events.KeySetHash(kids)}, Target: "keys", Actor: "system",
	})
}
