package fanout

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"
	_ "modernc.org/sqlite"

	"github.com/tocsin-auth/tocsin/test/bench/stage"
)

// sweep revokes with more and more callers, and tells what all of it has left behind.
func (b *bench) sweep(t testing.TB, clients []int) (all []reading, growth [][]string) {
	fleets := b.start(t, 1)
	database, stream, heap := b.databaseSize(t), b.streamSize(t), fleets[0].Usage(t, true)
	for _, n := range clients {
		r := b.measure(t, fleets, eager(b.auth, b.admin, n))
		r.verifiers, r.rate, r.together = 1, n, 1
		all = append(all, r)
		t.Logf("%d callers: %d calls in %v", n, r.calls.Len(), r.elapsed)
	}
	after := fleets[0].Usage(t, true)
	n := float64(after.Events - heap.Events)
	d, s := b.databaseSize(t), b.streamSize(t)
	growth = append(growth, []string{"", "measured over", "rows", "database", "stream", "verifier's memory"}, []string{
		"a live revocation by jti, each by a call of its own", fmt.Sprintf("%.0f", n), fmt.Sprintf("%.1f (event, audit)", float64(d.rows-database.rows)/n),
		fmt.Sprintf("%.0f B", float64(d.bytes-database.bytes)/n), fmt.Sprintf("%.0f B, %.2f messages", float64(s.Bytes-stream.Bytes)/n, float64(s.Messages-stream.Messages)/n),
		fmt.Sprintf("%.0f B", (float64(after.Heap)-float64(heap.Heap))/n)})
	fleets[0].Close()
	return all, growth
}

// sessions logs a user in and refreshes.
func (b *bench) sessions(t testing.TB, logins int) [][]string {
	u := b.auth.Register(t, "sessions")
	before := b.databaseSize(t)
	for range logins {
		b.auth.Must(t, 200, "POST", "/v1/login", "", map[string]any{"username": u.Name, "password": u.Password}).Into(t, &struct{}{})
	}
	between := b.databaseSize(t)
	for range 10 * logins {
		stage.Refresh(t, b.auth, &u)
	}
	return [][]string{growthRow("a login", logins, before, between), growthRow("a refresh", 10*logins, between, b.databaseSize(t))}
}

func growthRow(name string, n int, before, after size) []string {
	return []string{name, fmt.Sprint(n), fmt.Sprintf("%.1f", float64(after.rows-before.rows)/float64(n)),
		fmt.Sprintf("%.0f B", float64(after.bytes-before.bytes)/float64(n)), "0", "0 (its tokens: an entry of the cache each while they are shown)"}
}

func (b *bench) streamSize(t testing.TB) stored {
	time.Sleep(50 * time.Millisecond) // what was published is stored beside everything else
	return monitored[stored](t, b.NATS.Monitor(), "/jsz")
}

// size is that of the database: rows of the tables that grow, and bytes of pages in use, indexes included.
type size struct{ rows, bytes int64 }

func (b *bench) databaseSize(t testing.TB) (s size) {
	t.Helper()
	driver, source := "sqlite", filepath.Join(b.auth.DataDir, "tocsin.db")
	pages := `SELECT (page_count - freelist_count) * page_size FROM pragma_page_count(), pragma_freelist_count(), pragma_page_size()`
	if b.Postgres != nil {
		driver, source, pages = "pgx", b.DatabaseURL, `SELECT pg_database_size(current_database())`
	}
	db, err := sql.Open(driver, source)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.QueryRowContext(t.Context(), pages).Scan(&s.bytes); err != nil {
		t.Fatal(err)
	}
	for _, table := range []string{"events", "audit", "sessions", "refresh_tokens"} {
		var n int64
		if err := db.QueryRowContext(t.Context(), `SELECT count(*) FROM `+table).Scan(&n); err != nil {
			t.Fatal(err)
		}
		s.rows += n
	}
	return s
}
