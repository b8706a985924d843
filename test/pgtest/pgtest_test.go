package pgtest

import (
	"os"
	"testing"

	"github.com/jackc/pgx/v5"
)

func TestMain(m *testing.M) { os.Exit(Run(m)) }

func TestDatabasesAreFreshDurableAndOfASupportedRelease(t *testing.T) {
	first, second := URL(t), URL(t)
	conn, err := pgx.Connect(t.Context(), first)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), "CREATE TABLE t (id INTEGER)"); err != nil {
		t.Fatal(err)
	}
	var version int
	var fsync, commit string
	err = conn.QueryRow(t.Context(), "SELECT current_setting('server_version_num')::int, current_setting('fsync'), current_setting('synchronous_commit')").
		Scan(&version, &fsync, &commit)
	if err != nil || version < oldest*10_000 || fsync != "on" || commit != "on" {
		t.Fatalf("version %d, fsync %s, synchronous_commit %s, %v", version, fsync, commit, err)
	}
	other, err := pgx.Connect(t.Context(), second)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close(t.Context())
	var tables int
	err = other.QueryRow(t.Context(), "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'").Scan(&tables)
	if err != nil || tables != 0 {
		t.Fatalf("the second database has %d tables, %v", tables, err)
	}
}

func TestADatabaseThatIsNotOursIsNotDropped(t *testing.T) {
	if err := (&Server{}).DropDatabase(t.Context(), "postgres://localhost/production"); err == nil {
		t.Fatal("dropped")
	}
}
