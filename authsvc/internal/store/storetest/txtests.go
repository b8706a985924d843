package storetest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/pkg/events"
)

func issuingRaisesTheBounds(t *testing.T, db *store.DB) {
	for _, life := range []time.Duration{15 * time.Minute, time.Minute, 0, time.Hour} {
		var now int64
		var seen store.Authority
		err := db.Issue(t.Context(), life, func(tx *store.Tx, a store.Authority) error {
			now, seen = tx.Now(), a
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		var after store.Authority
		view(t, db, func(tx *store.Tx) (err error) { after, err = tx.Authority(t.Context()); return err })
		same(t, seen, after)
		if after.MaxAccessTTL < life.Microseconds() || (life > 0 && after.ExpCeiling < now+life.Microseconds()) {
			t.Errorf("issued for %v at %d under %+v", life, now, after)
		}
	}
	update(t, db, func(tx *store.Tx) error { return tx.RaiseAccessTTL(t.Context(), time.Minute) })
	view(t, db, func(tx *store.Tx) error {
		a, err := tx.Authority(t.Context())
		same(t, time.Hour.Microseconds(), a.MaxAccessTTL)
		return err
	})
}

func idsAscend(t *testing.T, db *store.DB) {
	var mark int64
	update(t, db, func(tx *store.Tx) error {
		last := ""
		for range 10_000 { // more than fit into one millisecond's fraction
			id := tx.NewID()
			parsed, err := events.ParseID(id)
			if err != nil || !parsed.IsV7() || id <= last {
				t.Fatalf("%q after %q: %v", id, last, err)
			}
			last = id
		}
		mark = tx.Now()/1000 + 60_000
		changed, err := tx.RaiseBefore(t.Context(), mark, false)
		same(t, true, changed)
		return err
	})
	update(t, db, func(tx *store.Tx) error {
		changed, err := tx.RaiseBefore(t.Context(), mark-1, false)
		same(t, false, changed)
		id, parseErr := events.ParseID(tx.NewID())
		if parseErr != nil || id.Millis() < mark {
			t.Errorf("an id of %d under the watermark %d, %v", id.Millis(), mark, parseErr)
		}
		a, authErr := tx.Authority(t.Context())
		same(t, int64(0), a.KeysBefore)
		return errors.Join(err, authErr)
	})
}

func failedTransactionLeavesNothing(t *testing.T, db *store.DB) {
	u := AddUser(t, db, "ada")
	boom := errors.New("boom")
	err := db.Update(t.Context(), func(tx *store.Tx) error {
		if err := tx.SetPassword(t.Context(), u.ID, "lost"); err != nil {
			return err
		}
		return boom
	})
	if !errors.Is(err, boom) {
		t.Fatalf("%v", err)
	}
	// An error that the function swallows must not be half committed either.
	err = db.Update(t.Context(), func(tx *store.Tx) error {
		if err := tx.SetPassword(t.Context(), u.ID, "lost too"); err != nil {
			return err
		}
		if err := tx.InsertUser(t.Context(), u); !errors.Is(err, store.ErrConflict) {
			t.Errorf("%v", err)
		}
		return nil
	})
	if !errors.Is(err, store.ErrConflict) {
		t.Fatalf("committed after an error: %v", err)
	}
	func() {
		defer func() { recover() }()
		_ = db.Update(t.Context(), func(tx *store.Tx) error {
			if err := tx.SetPassword(t.Context(), u.ID, "lost in a panic"); err != nil {
				return err
			}
			panic("boom")
		})
	}()
	view(t, db, func(tx *store.Tx) error {
		got, err := tx.User(t.Context(), u.ID)
		same(t, "hash", got.PasswordHash)
		return err
	})
}

func viewCannotWrite(t *testing.T, db *store.DB) {
	u := AddUser(t, db, "ada")
	if err := db.View(t.Context(), func(tx *store.Tx) error { return tx.DeleteUser(t.Context(), u.ID) }); err == nil {
		t.Error("a view deleted a user")
	}
	err := db.View(t.Context(), func(tx *store.Tx) error { tx.NewID(); return nil })
	if !errors.Is(err, store.ErrReadOnly) {
		t.Errorf("a view made an id: %v", err)
	}
	view(t, db, func(tx *store.Tx) error { _, err := tx.User(t.Context(), u.ID); return err })
}

func viewSeesOneSnapshot(t *testing.T, db *store.DB) {
	u := AddUser(t, db, "ada")
	view(t, db, func(tx *store.Tx) error {
		if _, err := tx.User(t.Context(), u.ID); err != nil {
			return err
		}
		update(t, db, func(tx *store.Tx) error { return tx.SetPassword(t.Context(), u.ID, "new") })
		got, err := tx.User(t.Context(), u.ID)
		same(t, "hash", got.PasswordHash)
		return err
	})
	view(t, db, func(tx *store.Tx) error {
		got, err := tx.User(t.Context(), u.ID)
		same(t, "new", got.PasswordHash)
		return err
	})
}

func cancelledContext(t *testing.T, db *store.DB) {
	ctx, cancel := context.WithCancel(t.Context())
	u := AddUser(t, db, "ada")
	err := db.Update(ctx, func(tx *store.Tx) error {
		if err := tx.SetPassword(ctx, u.ID, "lost"); err != nil {
			return err
		}
		cancel()
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	view(t, db, func(tx *store.Tx) error {
		got, err := tx.User(t.Context(), u.ID)
		same(t, "hash", got.PasswordHash)
		return err
	})
}
