//go:build linux

package pgtest

import (
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

func TestAPromotedStandbyHasEverythingThatWasCommitted(t *testing.T) {
	ctx := t.Context()
	primary, err := StartPrivate(ctx)
	if errors.Is(err, ErrMissing) && !Required() {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	first := primary
	t.Cleanup(func() { first.Stop() })
	if err := primary.exec(ctx, "CREATE TABLE t (id INTEGER)"); err != nil {
		t.Fatal(err)
	}
	const each = 50
	for round := 1; round <= 3; round++ {
		began := time.Now()
		standby, err := primary.Standby(ctx)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { standby.Stop() })
		made := time.Since(began)
		insert(t, primary, each)
		if round%2 == 0 {
			if err := primary.Freeze(); err != nil {
				t.Fatal(err)
			}
		}
		if err := primary.Crash(); err != nil {
			t.Fatal(err)
		}
		began = time.Now()
		if err := standby.Promote(ctx); err != nil {
			t.Fatal(err)
		}
		t.Logf("made in %v, promoted in %v", made, time.Since(began))
		primary = standby
		if got := count(t, primary); got != round*each {
			t.Errorf("%d rows after %d promotions, want %d", got, round, round*each)
		}
	}
}

func insert(t *testing.T, s *Server, rows int) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), s.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	for range rows {
		if _, err := conn.Exec(t.Context(), "INSERT INTO t VALUES (1)"); err != nil {
			t.Fatal(err)
		}
	}
}

func count(t *testing.T, s *Server) (rows int) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), s.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM t").Scan(&rows); err != nil {
		t.Fatal(err)
	}
	return rows
}
