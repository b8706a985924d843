package keyring

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
)

// ErrFeedKeyWaits means that a new feed key is published that doesn't sign yet: one rotation at a time.
var ErrFeedKeyWaits = errors.New("a new feed key waits for its time to sign")

// NewFeedKey is a feed key that is in no set yet.
type NewFeedKey struct{ row store.SigningKey }

// KID returns the key's RFC 7638 thumbprint.
func (k NewFeedKey) KID() string { return k.row.KID }

// NewFeedKey makes a key for [Ring.RotateFeed].
func (r *Ring) NewFeedKey() (NewFeedKey, error) {
	row, err := r.newKey(store.PurposeFeed, EdDSA)
	return NewFeedKey{row}, err
}

// RotateFeed publishes a feed key and returns when it begins to sign, in microseconds of the database: after ahead, so that
// verifiers know it by then. The keys before it stay until the stream can be read without them ([Ring.RetireFeedKeys]).
// In an emergency they leave at once and for ever, and the new one signs at once. No event tells of it: a key that may be
// known to others must have no say in what replaces it.
func (r *Ring) RotateFeed(ctx context.Context, tx *store.Tx, key NewFeedKey, ahead time.Duration, emergency bool) (signsAt int64, err error) {
	if _, err := tx.BumpKeySetVersion(ctx); err != nil {
		return 0, err
	}
	old, err := feedRows(ctx, tx)
	if err != nil {
		return 0, err
	}
	for _, k := range old {
		switch {
		case emergency:
			err = tx.RetireSigningKey(ctx, k.KID)
		case k.ActiveAt > tx.Now():
			err = ErrFeedKeyWaits
		}
		if err != nil {
			return 0, err
		}
	}
	row := key.row
	row.CreatedAt = tx.Now()
	if row.ActiveAt = row.CreatedAt; !emergency {
		row.ActiveAt += ahead.Microseconds()
	}
	return row.ActiveAt, tx.InsertSigningKey(ctx, row)
}

func feedRows(ctx context.Context, tx *store.Tx) (feeds []store.SigningKey, err error) {
	all, err := tx.SigningKeys(ctx)
	for _, k := range all {
		if k.Purpose == store.PurposeFeed {
			feeds = append(feeds, k)
		}
	}
	return feeds, err
}

// RetireFeedKeys ends rotations: keys that the stream can be read without get a time to leave, and those whose time has come
// leave. Call it now and then on one replica; several do no harm. It goes on from whatever state a crash has left.
func (r *Ring) RetireFeedKeys(ctx context.Context) error {
	var due bool
	err := r.db.View(ctx, func(tx *store.Tx) error {
		steps, err := r.feedSteps(ctx, tx)
		due = len(steps) > 0
		return err
	})
	if err != nil || !due {
		return err
	}
	return r.db.Update(ctx, func(tx *store.Tx) error {
		if _, err := tx.BumpKeySetVersion(ctx); err != nil {
			return err
		}
		steps, err := r.feedSteps(ctx, tx) // another replica may have been faster
		for _, step := range steps {
			if err := step(); err != nil {
				return err
			}
		}
		return err
	})
}

// feedSteps returns what is to be done with the keys that became active before the one that the stream can be read with.
func (r *Ring) feedSteps(ctx context.Context, tx *store.Tx) (steps []func() error, err error) {
	readable, err := tx.StreamKey(ctx)
	if err != nil {
		return nil, err
	}
	feeds, err := feedRows(ctx, tx)
	// -1: by none, or by a key that an emergency has dropped.
	newest := slices.IndexFunc(feeds, func(k store.SigningKey) bool { return k.KID == readable })
	for _, k := range feeds[:max(newest, 0)] {
		switch {
		case k.RetireAt == nil:
			steps = append(steps, func() error {
				r.log.InfoContext(ctx, "an old feed key is needed no more and leaves soon", "kid", k.KID)
				return tx.SetRetireAt(ctx, k.KID, tx.Now()+feedRetireMargin.Microseconds())
			})
		case *k.RetireAt <= tx.Now():
			steps = append(steps, func() error {
				r.log.InfoContext(ctx, "an old feed key leaves the set", "kid", k.KID)
				return tx.RetireSigningKey(ctx, k.KID)
			})
		}
	}
	return steps, err
}
