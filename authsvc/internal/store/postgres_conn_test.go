package store_test

import (
	"errors"
	"testing"

	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/authsvc/internal/store/storetest"
)

// What fails although nobody waits for it fails the commit, or what comes next, and is found by neither the next transaction.
func TestAWriteThatNobodyWaitsForFailsTheTransaction(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		u := storetest.AddUser(t, db, "ada")
		orphan := store.RefreshToken{Hash: []byte{1}, SessionID: "nobody's"}
		for name, next := range map[string]func(*store.Tx) error{
			"the commit": func(*store.Tx) error { return nil },
			"a read":     func(tx *store.Tx) error { _, err := tx.User(t.Context(), u.ID); return err },
			"a write":    func(tx *store.Tx) error { return tx.SetPassword(t.Context(), u.ID, "lost") },
		} {
			err := db.Update(t.Context(), func(tx *store.Tx) error {
				if err := tx.SetPassword(t.Context(), u.ID, "lost"); err != nil {
					return err
				}
				tx.InsertRefreshToken(t.Context(), orphan) // it refers to no session
				return next(tx)
			})
			if err == nil || errors.Is(err, store.ErrUnavailable) {
				t.Errorf("%s: %v", name, err)
			}
			err = db.View(t.Context(), func(tx *store.Tx) error {
				got, err := tx.User(t.Context(), u.ID)
				if got.PasswordHash != "hash" {
					t.Errorf("%s: it was committed", name)
				}
				return err
			})
			if err != nil {
				t.Errorf("after %s: %v", name, err)
			}
		}
	})
}

// Nothing has happened when the first sending is lost, so that it is sent again.
func TestATransactionWhoseConnectionWasLostBeforeItBeganIsRunAgain(t *testing.T) {
	address := storetest.URL(t, store.Postgres)
	db := storetest.Open(t, address)
	u := storetest.AddUser(t, db, "ada")
	direct(t, address, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
		WHERE datname = current_database() AND pid <> pg_backend_pid()`)
	runs := 0
	err := db.Update(t.Context(), func(tx *store.Tx) error {
		runs++
		return tx.SetPassword(t.Context(), u.ID, "new")
	})
	if err != nil {
		t.Fatalf("after %d runs: %v", runs, err)
	}
}
