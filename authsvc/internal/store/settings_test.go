package store

import (
	"database/sql"
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/tocsin-auth/tocsin/test/pgtest"
)

func opened(t *testing.T, url string) *DB {
	t.Helper()
	db, err := Open(t.Context(), url, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func setting(t *testing.T, pool *sql.DB, query string) (value string) {
	t.Helper()
	if err := pool.QueryRowContext(t.Context(), query).Scan(&value); err != nil {
		t.Fatal(err)
	}
	return value
}

func TestSQLiteIsDurableOnEveryConnection(t *testing.T) {
	db := opened(t, "sqlite:"+filepath.Join(t.TempDir(), "t.db"))
	for name, pool := range map[string]*sql.DB{"writer": db.writer, "reader": db.reader} {
		for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1", "busy_timeout": "5000"} {
			if got := setting(t, pool, "PRAGMA "+pragma); got != want {
				t.Errorf("%s: %s is %s", name, pragma, got)
			}
		}
	}
}

func TestPostgresIsDurableAndAFrozenHolderLetsGo(t *testing.T) {
	url := pgtest.URL(t)
	db := opened(t, url+"&synchronous_commit=off")
	migrator := db.migrator()
	t.Cleanup(func() { migrator.Close() })
	for name, want := range map[string]struct {
		pool            *sql.DB
		idle, statement string
	}{"writer": {db.writer, "5s", "30s"}, "pen": {db.pen, "1s", "1s"}, "migrator": {migrator, "5s", "0"}} {
		if got := setting(t, want.pool, "SHOW synchronous_commit"); got != "on" {
			t.Errorf("%s: synchronous_commit is %s", name, got)
		}
		if got := setting(t, want.pool, "SHOW idle_in_transaction_session_timeout"); got != want.idle {
			t.Errorf("%s: idle_in_transaction_session_timeout is %s", name, got)
		}
		if got := setting(t, want.pool, "SHOW statement_timeout"); got != want.statement {
			t.Errorf("%s: statement_timeout is %s", name, got)
		}
	}
}
