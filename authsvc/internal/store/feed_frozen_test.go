package store

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/test/pgtest"
)

// A dispatcher that stops in the middle of its transaction, with its lock held and its sockets open, is what SIGSTOP makes.
func TestPostgresFrozenHolderCannotBlockTakeover(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	open := func() *DB {
		db, err := Open(t.Context(), url, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { db.Close() })
		return db
	}
	holder, standby := open(), open()
	if err := holder.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	request := LeaseRequest{Holder: "a", Issuer: "x", Life: time.Millisecond}
	lease, err := holder.AcquireFeed(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	locked, thaw, frozen := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		frozen <- holder.updateWithPen(context.WithoutCancel(t.Context()), func(tx *Tx) error {
			s, err := tx.feedState(t.Context(), tx.db.dialect.forUpdate)
			close(locked)
			<-thaw
			if err != nil {
				return err
			}
			s.Chain = s.Chain.Next([]byte("too late"))
			_, err = tx.exec(t.Context(), `UPDATE feed_state SET head = head + 1, chain = $1`, s.Chain[:])
			return err
		})
	}()
	<-locked
	request.Holder = "b"
	taken, err := standby.AcquireFeed(t.Context(), request)
	for errors.Is(err, ErrUnavailable) { // the frozen transaction isn't thawed before
		taken, err = standby.AcquireFeed(t.Context(), request)
	}
	if err != nil {
		t.Fatalf("takeover: %v", err)
	}
	close(thaw)
	if err := <-frozen; !errors.Is(err, ErrUnavailable) {
		t.Errorf("the frozen transaction ended with %v", err)
	}
	if taken.Term != lease.Term+1 || taken.Chain != events.ChainStart("x", lease.Epoch) {
		t.Errorf("%+v after %+v", taken, lease)
	}
}

func TestPostgresNumbersReadCommittedWhateverTheServersDefault(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	for round := range 2 {
		db, err := Open(t.Context(), url, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		for name, update := range map[string]func(context.Context, func(*Tx) error) error{"Update": db.Update, "the pen": db.updateWithPen} {
			var level string
			err := update(t.Context(), func(tx *Tx) error {
				return tx.queryRow(t.Context(), `SELECT current_setting('transaction_isolation')`).Scan(&level)
			})
			if err != nil || level != "read committed" {
				t.Errorf("%s, round %d: %s, %v", name, round, level, err)
			}
		}
		err = db.Update(t.Context(), func(tx *Tx) error {
			_, err := tx.exec(t.Context(), `DO $$ BEGIN
				EXECUTE format('ALTER DATABASE %I SET default_transaction_isolation = ''serializable''', current_database()); END $$`)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}
