package upgrade

import (
	"database/sql"
	"maps"
	"path/filepath"
	"strings"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib"

	"github.com/tocsin-auth/tocsin/test/system"
)

// newerSchema is what the migration of a later release may do by the rules of docs/operations.md: it adds, and notes
// itself where migrations are noted. Each statement is its own transaction and meets a system under load.
var newerSchema = []string{
	`ALTER TABLE users ADD COLUMN nickname TEXT`,
	`ALTER TABLE sessions ADD COLUMN device TEXT NOT NULL DEFAULT ''`,
	`ALTER TABLE api_keys ADD COLUMN budget BIGINT NOT NULL DEFAULT 0`,
	`ALTER TABLE events ADD COLUMN region TEXT NOT NULL DEFAULT ''`,
	`ALTER TABLE feed_state ADD COLUMN shards BIGINT NOT NULL DEFAULT 1`,
	`ALTER TABLE authority ADD COLUMN tier TEXT`,
	`CREATE TABLE passkeys (id TEXT PRIMARY KEY, user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE)`,
	`CREATE INDEX events_region ON events (region)`,
	`INSERT INTO goose_db_version (version_id, is_applied) VALUES (99, TRUE)`,
}

func execute(t *testing.T, url, statement string) {
	t.Helper()
	db, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

// The replicas of the test are the older program; the newer one is what it does to the database.
func TestNoCollateralOfAMigrationByANewerReplica(t *testing.T) {
	f := startFleet(t)
	tr := f.load(t)
	tr.enter("migrating")
	for _, statement := range newerSchema {
		execute(t, f.database, statement)
		f.settle(t)
	}
	tr.enter("the older program starts on the newer schema")
	restart(t, f.authBalancer[1], f.auth[1].Process)
	f.settle(t)

	tr.enter("the schema is marked incompatible")
	execute(t, f.database, `UPDATE compatibility SET min_version = 99`)
	env := maps.Clone(f.env)
	env["TOCSIN_HTTP_ADDR"], env["TOCSIN_DATA_DIR"] = "127.0.0.1:0", filepath.Join(t.TempDir(), "data")
	exit, out := system.Run(t, "authsvc", env, "serve")
	if exit != 1 || strings.Count(strings.TrimSpace(out), "\n") != 0 || !strings.Contains(out, "newer") {
		t.Errorf("an older program starts on an incompatible schema: exit %d:\n%s", exit, out)
	}
	f.settle(t) // the mark stops nobody who runs
	tr.stop()
	tr.report(t)
	for phase, n := range tr.absent {
		t.Errorf("%s: %d elite calls found no authority", phase, n)
	}
}
