package auth

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A racer is a call that runs beside the test.
type racer struct {
	done      chan struct{}
	goroutine chan string
	id        string // of the goroutine
}

func begin(run func()) *racer {
	r := &racer{done: make(chan struct{}), goroutine: make(chan string, 1)}
	go func() {
		defer close(r.done)
		r.goroutine <- goroutineID()
		run()
	}()
	r.id = <-r.goroutine
	return r
}

func (r *racer) ended() bool {
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

// goroutineID reads it from a stack trace, which begins with "goroutine 7 [running]:".
func goroutineID() string {
	var b [64]byte
	return string(bytes.Fields(b[:runtime.Stack(b[:], false)])[1])
}

// turn is the order in which two calls took effect, as far as what was seen tells.
type turn int

const (
	unknown turn = iota
	firstFirst
	secondFirst
)

// A gate keeps transactions from going on at one point, until it is opened.
type gate interface {
	// stalled returns what names the transactions that wait now, in the order of their coming where that is known.
	stalled(t *testing.T, racers ...*racer) []string
	// waitsFor reports whether one that waits does so for another that waits.
	waitsFor(t *testing.T, waiting, other string) bool
	open(t *testing.T)
}

// race lets first run into a gate, then begins second, opens the gate when second has come to wait or has ended, and
// waits for both.
func race(t *testing.T, g gate, first, second func()) (order turn) {
	t.Helper()
	a := begin(first)
	waiting := await(t, g, 1, a)
	if a.ended() {
		g.open(t)
		t.Fatal("the first call wasn't stopped")
	}
	b := begin(second)
	all := await(t, g, 2, a, b)
	switch {
	case b.ended():
		order = secondFirst
	case len(all) == 2:
		late := slices.DeleteFunc(all, func(name string) bool { return name == waiting[0] })
		if len(late) == 1 && g.waitsFor(t, late[0], waiting[0]) {
			order = firstFirst
		}
	}
	g.open(t)
	for _, r := range []*racer{a, b} {
		<-r.done
	}
	return order
}

// await polls until n transactions wait at the gate or behind one that does, or the last racer has ended. Another process
// knows who waits, and doesn't tell unasked.
func await(t *testing.T, g gate, n int, racers ...*racer) []string {
	t.Helper()
	for !racers[len(racers)-1].ended() {
		if waiting := g.stalled(t, racers...); len(waiting) >= n {
			return waiting
		}
		time.Sleep(500 * time.Microsecond)
	}
	return nil
}

// lockGate is a transaction of its own on PostgreSQL that holds a lock.
type lockGate struct {
	db *sql.DB
	tx *sql.Tx
}

func closePostgres(t *testing.T, db *sql.DB, lock string, args ...any) *lockGate {
	t.Helper()
	tx, err := db.BeginTx(t.Context(), nil)
	if err == nil {
		_, err = tx.ExecContext(t.Context(), lock, args...)
	}
	if err != nil {
		t.Fatal(err)
	}
	return &lockGate{db: db, tx: tx}
}

func (g *lockGate) open(t *testing.T) {
	t.Helper()
	if err := g.tx.Rollback(); err != nil {
		t.Fatal(err)
	}
}

func (g *lockGate) stalled(t *testing.T, _ ...*racer) (pids []string) {
	t.Helper()
	rows, err := g.db.QueryContext(t.Context(), `SELECT pid FROM pg_stat_activity
		WHERE wait_event_type = 'Lock' AND datname = current_database() ORDER BY query_start`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var pid int
		if err := rows.Scan(&pid); err != nil {
			t.Fatal(err)
		}
		pids = append(pids, strconv.Itoa(pid))
	}
	return pids
}

func (g *lockGate) waitsFor(t *testing.T, waiting, other string) bool {
	t.Helper()
	var blocked bool
	err := g.db.QueryRowContext(t.Context(), `SELECT $2::text::int = ANY(pg_blocking_pids($1::text::int))`, waiting, other).Scan(&blocked)
	if err != nil {
		t.Fatal(err)
	}
	return blocked
}

// writerGate is another connection that writes to the SQLite database. Of the store's transactions one has its only writing
// connection and waits to begin, the next waits for that connection, or to share the transaction.
type writerGate struct {
	db   *sql.DB
	conn *sql.Conn
	// traces is room for stack traces of all goroutines.
	traces []byte
}

func closeSQLite(t *testing.T, db *sql.DB) *writerGate {
	t.Helper()
	conn, err := db.Conn(t.Context())
	if err == nil {
		_, err = conn.ExecContext(t.Context(), "BEGIN IMMEDIATE")
	}
	if err != nil {
		t.Fatal(err)
	}
	return &writerGate{db: db, conn: conn, traces: make([]byte, 256<<10)}
}

func (g *writerGate) open(t *testing.T) {
	t.Helper()
	if _, err := g.conn.ExecContext(context.WithoutCancel(t.Context()), "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	if err := g.conn.Close(); err != nil {
		t.Fatal(err)
	}
}

// stalled reads stack traces: nothing else tells who waits for a connection.
func (g *writerGate) stalled(t *testing.T, racers ...*racer) (names []string) {
	t.Helper()
	stacks := string(g.traces[:runtime.Stack(g.traces, true)])
	for i, r := range racers {
		_, trace, found := strings.Cut(stacks, fmt.Sprintf("goroutine %s [", r.id))
		trace, _, _ = strings.Cut(trace, "\n\n")
		waits := strings.Contains(trace, ").BeginTx(") && strings.Contains(trace, "modernc.org/sqlite.") // begins, and is kept from it
		if i > 0 {
			waits = strings.Contains(trace, "database/sql.(*DB).conn(") || strings.Contains(trace, "store.(*queue).join(")
		}
		if found && waits && strings.Contains(trace, "store.retry(") {
			names = append(names, r.id)
		}
	}
	return names
}

func (g *writerGate) waitsFor(_ *testing.T, waiting, other string) bool { return waiting != other }
