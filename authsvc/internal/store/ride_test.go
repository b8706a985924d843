package store

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"net/url"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"
)

// jam is a SQLite database whose writer is kept busy by somebody else until it is opened.
type jam struct {
	*DB
	other *sql.Conn
	calls sync.WaitGroup
}

func newJam(t *testing.T) *jam {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tocsin.db")
	db, err := Open(t.Context(), "sqlite:"+path, slog.New(slog.DiscardHandler))
	if err == nil {
		err = db.Migrate(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	pool := sql.OpenDB(compiling{sqliteDSN(path, url.Values{})})
	t.Cleanup(func() { pool.Close() })
	other, err := pool.Conn(t.Context())
	if err == nil {
		t.Cleanup(func() { other.Close() })
		_, err = other.ExecContext(t.Context(), "BEGIN IMMEDIATE")
	}
	if err != nil {
		t.Fatal(err)
	}
	return &jam{DB: db, other: other}
}

// call begins an update and returns when it waits, behind those that were called before.
func (j *jam) call(t *testing.T, ctx context.Context, fn func(tx *Tx) error) *outcome {
	t.Helper()
	before, o := j.standing(), &outcome{}
	j.calls.Go(func() {
		defer func() { o.panicked = recover() }()
		o.err = j.UpdateBriefly(ctx, fn)
	})
	for j.standing() == before {
		time.Sleep(time.Millisecond) // nothing tells
	}
	return o
}

// standing returns how many have come: the leader and those behind.
func (j *jam) standing() int {
	j.queue.mu.Lock()
	defer j.queue.mu.Unlock()
	if !j.queue.busy {
		return 0
	}
	return 1 + len(j.queue.waiting)
}

type outcome struct {
	err      error
	panicked any
}

func (j *jam) open(t *testing.T) {
	t.Helper()
	if _, err := j.other.ExecContext(t.Context(), "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	j.calls.Wait()
}

// secrets returns the names of what was committed.
func (j *jam) secrets(t *testing.T) []string {
	t.Helper()
	var all []string
	err := j.View(t.Context(), func(tx *Tx) (err error) {
		all, err = queryAll(t.Context(), tx, scanString, `SELECT name FROM secrets ORDER BY name`)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func (j *jam) committed(t *testing.T, want ...string) {
	t.Helper()
	if got := j.secrets(t); !slices.Equal(got, want) {
		t.Errorf("committed: %q, want %q", got, want)
	}
}

// write returns an update that writes one row and remembers its transaction.
func write(name string, in **sql.Tx) func(tx *Tx) error {
	return func(tx *Tx) error {
		*in = tx.tx
		return tx.InsertSecret(tx.ctx, name, []byte{1})
	}
}

var errRefused = errors.New("refused")

func TestUpdatesThatCameMeanwhileShareACommit(t *testing.T) {
	j := newJam(t)
	var in [3]*sql.Tx
	var all []*outcome
	for i, name := range []string{"a", "b", "c"} {
		all = append(all, j.call(t, t.Context(), write(name, &in[i])))
	}
	j.open(t)
	for _, o := range all {
		if o.err != nil {
			t.Error(o.err)
		}
	}
	if in[0] == nil || in[0] != in[1] || in[1] != in[2] {
		t.Error("they had transactions of their own")
	}
	j.committed(t, "a", "b", "c")
}

func TestOneThatFailsLeavesNothingAndTheOthersDoNotNotice(t *testing.T) {
	for failing := range 3 {
		for how, fail := range map[string]func(*Tx) error{
			"refuses":  func(*Tx) error { return errRefused },
			"panics":   func(*Tx) error { panic(errRefused) },
			"conflict": func(tx *Tx) error { tx.InsertSecret(tx.ctx, "failing", []byte{1}); return nil }, // and keeps it to itself
		} {
			j := newJam(t)
			var in *sql.Tx
			var all []*outcome
			var want []string
			for i, name := range []string{"a", "b", "c"} {
				if i != failing {
					all, want = append(all, j.call(t, t.Context(), write(name, &in))), append(want, name)
					continue
				}
				all = append(all, j.call(t, t.Context(), func(tx *Tx) error {
					if err := write("failing", &in)(tx); err != nil {
						return err
					}
					return fail(tx)
				}))
			}
			j.open(t)
			for i, o := range all {
				if failed := o.err != nil || o.panicked != nil; failed != (i == failing) {
					t.Errorf("number %d %s: number %d: %v %v", failing, how, i, o.err, o.panicked)
				}
			}
			j.committed(t, want...)
		}
	}
}

func TestOneThatGivesUpLeavesNothing(t *testing.T) {
	j := newJam(t)
	var in *sql.Tx
	first := j.call(t, t.Context(), write("a", &in))
	waiting, cancelWaiting := context.WithCancel(t.Context())
	running, cancelRunning := context.WithCancel(t.Context())
	ran := make(chan struct{})
	gone := j.call(t, waiting, func(*Tx) error { t.Error("it had given up"); return nil })
	late := j.call(t, running, func(tx *Tx) error {
		defer close(ran)
		if err := write("b", &in)(tx); err != nil {
			return err
		}
		cancelRunning()
		_, err := tx.Secret(running, "a")
		return err
	})
	last := j.call(t, t.Context(), write("c", &in))
	cancelWaiting()
	for j.standing() > 3 {
		time.Sleep(time.Millisecond) // nothing tells
	}
	j.open(t)
	<-ran
	if !errors.Is(gone.err, context.Canceled) || !errors.Is(late.err, context.Canceled) || first.err != nil || last.err != nil {
		t.Errorf("%v, %v; %v, %v", gone.err, late.err, first.err, last.err)
	}
	j.committed(t, "a", "c")
}

// Some errors make SQLite roll back all of a transaction; what it would execute then is in none.
func TestWhoSharesABrokenTransactionIsRunAgain(t *testing.T) {
	j := newJam(t)
	var in [2]*sql.Tx
	before := j.call(t, t.Context(), write("a", &in[0]))
	breaks := j.call(t, t.Context(), func(tx *Tx) error {
		tx.tx.ExecContext(t.Context(), "ROLLBACK")
		tx.failed = errRefused
		return errRefused
	})
	after := j.call(t, t.Context(), write("b", &in[1]))
	j.open(t)
	if before.err != nil || after.err != nil || !errors.Is(breaks.err, errRefused) {
		t.Errorf("%v, %v; %v", before.err, after.err, breaks.err)
	}
	j.committed(t, "a", "b")
}

// A refusal may rest on what another wrote in the same transaction, which is undone with it.
func TestARefusalInABrokenTransactionIsMadeAgain(t *testing.T) {
	j := newJam(t)
	runs := 0
	refused := j.call(t, t.Context(), func(tx *Tx) error {
		if runs++; runs == 1 {
			tx.tx.ExecContext(t.Context(), "ROLLBACK")
		}
		return errRefused
	})
	j.open(t)
	if !errors.Is(refused.err, errRefused) || runs != 2 {
		t.Errorf("%v after %d runs", refused.err, runs)
	}
}

func TestWhenTheCommitFailsAllFail(t *testing.T) {
	j := newJam(t)
	var in *sql.Tx
	all := []*outcome{
		j.call(t, t.Context(), write("a", &in)),
		j.call(t, t.Context(), func(*Tx) error { return errRefused }), // perhaps for what the first has written
		j.call(t, t.Context(), func(tx *Tx) error {
			if _, err := tx.exec(t.Context(), "PRAGMA defer_foreign_keys = ON"); err != nil {
				return err
			}
			return tx.InsertRefreshToken(t.Context(), RefreshToken{Hash: []byte{1}, SessionID: "nobody's"})
		}),
	}
	j.open(t)
	for _, o := range all {
		if o.err == nil || errors.Is(o.err, errRefused) {
			t.Errorf("it says %v", o.err)
		}
	}
	j.committed(t)
	if err := j.UpdateBriefly(t.Context(), write("b", &in)); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}
