package store_test

import (
	"errors"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/authsvc/internal/store/storetest"
)

func TestNothingLostACommitWhoseWaitForTheStandbyIsCancelledHasNotSucceeded(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	db := storetest.Open(t, p.url)
	u := storetest.AddUser(t, db, "ada")
	if err := p.standby.Freeze(); err != nil {
		t.Fatal(err)
	}
	committed := make(chan error, 1)
	go func() {
		committed <- db.Update(t.Context(), func(tx *store.Tx) error { return tx.SetPassword(t.Context(), u.ID, "new") })
	}()
	// Somebody looks after what hangs.
	var err error
	for waiting := true; waiting; {
		direct(t, at(t, p.url, p.primary.Addr()), "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
		select {
		case err = <-committed:
			waiting = false
		case <-time.After(50 * time.Millisecond): // a real server
		}
	}
	if !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("only the primary has it, and the commit said %v", err)
	}
	if err := p.standby.Thaw(); err != nil {
		t.Fatal(err)
	}
}
