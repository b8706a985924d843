package coldstart

import (
	"context"
	"database/sql"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	_ "modernc.org/sqlite" // the driver

	"github.com/tocsin-auth/tocsin/pkg/events"
)

// columns are those of an event that was numbered and published.
var columns = []string{"id", "created_at", "type", "payload", "target", "actor", "reason", "epoch", "seq", "at", "until", "body", "chain", "published_at"}

// position is where the feed ends.
type position struct {
	epoch string
	head  uint64
	chain events.Hash
}

// next makes a revocation of a token, as if it had been numbered and published alone at a time.
func (p *position) next(t testing.TB, at, until time.Time) []any {
	jti := uuid.Must(uuid.NewV7()).String()
	payload, err := events.EncodePayload(events.TokenRevoked{JTI: jti})
	if err != nil {
		t.Fatal(err)
	}
	p.head++
	body, err := events.EncodeEvent(p.head, events.TypeTokenRevoked, at.UnixMicro(), until.UnixMicro(), payload)
	if err != nil {
		t.Fatal(err)
	}
	p.chain = p.chain.Next(body)
	return []any{uuid.Must(uuid.NewV7()).String(), at.UnixMicro(), string(events.TypeTokenRevoked), string(payload), "jti:" + jti, "", "",
		p.epoch, int64(p.head), at.UnixMicro(), until.UnixMicro(), body, p.chain[:], at.UnixMicro()}
}

// revocations makes the next n, a millisecond apart, which live as long as a token of four hours makes them.
func (p *position) revocations(t testing.TB, n int) func() ([]any, error) {
	at := time.Now().Add(-time.Duration(n) * time.Millisecond)
	return func() ([]any, error) {
		if n--; n < 0 {
			return nil, nil
		}
		at = at.Add(time.Millisecond)
		return p.next(t, at, at.Add(4*time.Hour+events.KeyRetention+time.Minute)), nil
	}
}

// fill puts n live revocations into the database of an authsvc that isn't running, and has all of it written to disk, so that
// no commit of what is measured has to wait for it.
func fill(t testing.TB, url string, n int) {
	t.Helper()
	defer syscall.Sync()
	if path, ok := strings.CutPrefix(url, "sqlite:"); ok {
		fillSQLite(t, path, n)
	} else {
		fillPostgres(t, url, n)
	}
}

const (
	where = `SELECT epoch, head, chain FROM feed_state`
	set   = `UPDATE feed_state SET head = $1, chain = $2`
)

// piece is how many rows share a transaction: as one, ten million would all lie in the log first.
const piece = 100_000

func fillSQLite(t testing.TB, path string, n int) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=synchronous(OFF)")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var p position
	var chain []byte
	if err := db.QueryRow(where).Scan(&p.epoch, &p.head, &chain); err != nil {
		t.Fatal(err)
	}
	copy(p.chain[:], chain)
	next := p.revocations(t, n)
	for ; n > 0; n -= piece {
		fillPiece(t, db, &p, next)
	}
}

func fillPiece(t testing.TB, db *sql.DB, p *position, next func() ([]any, error)) {
	t.Helper()
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	insert, err := tx.Prepare(`INSERT INTO events (` + strings.Join(columns, ", ") + `) VALUES (?` + strings.Repeat(", ?", len(columns)-1) + `)`)
	if err != nil {
		t.Fatal(err)
	}
	for range piece {
		values, _ := next()
		if values == nil {
			break
		}
		if _, err := insert.Exec(values...); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := tx.Exec(set, p.head, p.chain[:]); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
}

func fillPostgres(t testing.TB, url string, n int) {
	t.Helper()
	ctx := context.Background()
	db, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close(ctx)
	var p position
	var chain []byte
	if err := db.QueryRow(ctx, where).Scan(&p.epoch, &p.head, &chain); err != nil {
		t.Fatal(err)
	}
	copy(p.chain[:], chain)
	if _, err := db.CopyFrom(ctx, pgx.Identifier{"events"}, columns, pgx.CopyFromFunc(p.revocations(t, n))); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(ctx, set, int64(p.head), p.chain[:]); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(ctx, `ANALYZE events`); err != nil {
		t.Fatal(err)
	}
}
