package storetest

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
)

// bumpRole kills what everybody with a role has.
func bumpRole(t *testing.T, db *store.DB, role string) (ids []string, tv int64) {
	t.Helper()
	update(t, db, func(tx *store.Tx) (err error) {
		ids, tv, err = tx.BumpTokensByRole(t.Context(), role)
		return err
	})
	return ids, tv
}

func everybodyWithARoleGetsOneVersion(t *testing.T, db *store.DB) {
	a, b := AddUser(t, db, "a.a", "user", "clerk"), AddUser(t, db, "b.b", "clerk")
	others := []store.User{AddUser(t, db, "c.c", "clerks"), AddUser(t, db, "d.d", "user"), AddUser(t, db, "e.e")}
	var future int64
	for range 2 { // the second time one of them has a version that the clock hasn't reached
		ids, tv := bumpRole(t, db, "clerk")
		same(t, []string{a.ID, b.ID}, ids)
		if tv <= max(a.TV, b.TV, future) {
			t.Errorf("tv %d isn't above all old ones", tv)
		}
		for _, id := range ids {
			got := userOf(t, db, id)
			same(t, [2]int64{tv, tv}, [2]int64{got.TV, got.KeysTV})
		}
		future = tv + hour
		update(t, db, func(tx *store.Tx) error {
			_, err := tx.BumpTokens(t.Context(), []store.User{{ID: b.ID, TV: future}}, false)
			return err
		})
		future++
	}
	for _, u := range others {
		same(t, u, userOf(t, db, u.ID))
	}
}

func userOf(t *testing.T, db *store.DB, id string) (u store.User) {
	t.Helper()
	view(t, db, func(tx *store.Tx) (err error) {
		u, err = tx.User(t.Context(), id)
		return err
	})
	return u
}

func nobodyHasARole(t *testing.T, db *store.DB) {
	u := AddUser(t, db, "ada", "user")
	for _, role := range []string{"nobody", "use_", "%", `user"%`} {
		if ids, _ := bumpRole(t, db, role); len(ids) > 0 {
			t.Errorf("%s: %v", role, ids)
		}
	}
	same(t, u, userOf(t, db, u.ID))
}

// massWaitsForNobodyWhoWaits has everybody with a role, lists of users and admins locked at once, in the orders in which the
// domain does. A deadlock would show as a transaction that runs again, after a second in which everybody waited.
func massWaitsForNobodyWhoWaits(t *testing.T, db *store.DB) {
	var ids []string
	for i := range 20 {
		ids = append(ids, AddUser(t, db, fmt.Sprintf("user-%d", i), "user", []string{"clerk", store.RoleAdmin}[i%2]).ID)
	}
	for _, id := range slices.Backward(ids) { // the rows lie in another order than the ids
		update(t, db, func(tx *store.Tx) error { return tx.SetPassword(t.Context(), id, "other") })
	}
	var runs, calls atomic.Int32
	atOnce(t, 6, func(ctx context.Context, i int) error {
		for round := range 20 {
			calls.Add(1)
			err := db.Update(ctx, func(tx *store.Tx) error {
				runs.Add(1)
				return lockMany(ctx, tx, i, ids, ids[(i+round)%len(ids)])
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	same(t, calls.Load(), runs.Load())
}

func lockMany(ctx context.Context, tx *store.Tx, how int, ids []string, one string) error {
	switch how % 3 {
	case 0:
		_, _, err := tx.BumpTokensByRole(ctx, "user")
		return err
	case 1:
		users, err := tx.LockUsers(ctx, ids)
		if err == nil {
			_, err = tx.BumpTokens(ctx, users, true)
		}
		return err
	}
	if _, err := tx.LockAdmins(ctx); err != nil {
		return err
	}
	u, err := tx.LockUser(ctx, one)
	if err == nil {
		_, err = tx.BumpTokens(ctx, []store.User{u}, false)
	}
	return err
}

// issuersAreAwaited: what began to issue before the call has ended when it returns, and whoever begins later needn't wait.
func issuersAreAwaited(t *testing.T, db *store.DB) {
	var ended atomic.Bool
	began, end := make(chan struct{}), make(chan struct{})
	issuing := make(chan error, 1)
	go func() {
		issuing <- db.Issue(t.Context(), 0, func(tx *store.Tx, _ store.Authority) error {
			close(began)
			<-end
			ended.Store(true)
			return tx.InsertUser(t.Context(), store.User{ID: tx.NewID(), Username: "ada", Roles: []string{"clerk"}, Plan: "free"})
		})
	}()
	<-began
	awaited := make(chan error, 1)
	go func() {
		err := db.AwaitIssuers(t.Context())
		if err == nil {
			err = db.Update(t.Context(), func(tx *store.Tx) error {
				ids, _, err := tx.BumpTokensByRole(t.Context(), "clerk")
				if err == nil && (len(ids) != 1 || !ended.Load()) {
					err = fmt.Errorf("%d holders of the role, of whom one was being registered", len(ids))
				}
				return err
			})
		}
		awaited <- err
	}()
	close(end)
	for _, done := range []chan error{issuing, awaited} {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if db.Engine() == store.SQLite {
		return // one writes at a time, whatever it writes
	}
	update(t, db, func(tx *store.Tx) error {
		if _, _, err := tx.BumpTokensByRole(t.Context(), "clerk"); err != nil {
			return err
		}
		return db.Issue(t.Context(), 0, func(tx *store.Tx, _ store.Authority) error { // meanwhile
			return tx.InsertUser(t.Context(), store.User{ID: tx.NewID(), Username: "bob", Roles: []string{"clerk"}, Plan: "free"})
		})
	})
}
