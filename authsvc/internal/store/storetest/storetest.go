// Package storetest is the one suite that both engines pass, and how other packages' tests get a database of each.
//
// A package that uses it needs a TestMain that calls pgtest.Run.
package storetest

import (
	"log/slog"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/test/pgtest"
)

// URL returns the URL of a fresh, empty database of an engine. PostgreSQL skips the test where it is missing.
func URL(t testing.TB, engine store.Engine) string {
	t.Helper()
	if engine == store.Postgres {
		return pgtest.URL(t)
	}
	return "sqlite:" + filepath.Join(t.TempDir(), "tocsin.db")
}

// Open opens a database that waits for PostgreSQL for as long as it takes, brings its schema up to date, and closes it when the
// test ends.
func Open(t testing.TB, url string, opts ...store.Option) *store.DB {
	t.Helper()
	return OpenAsShipped(t, url, append(opts, store.WithPatience(time.Hour))...)
}

// OpenAsShipped is Open with the limits that ship, for tests of what they are for.
func OpenAsShipped(t testing.TB, url string, opts ...store.Option) *store.DB {
	t.Helper()
	db, err := store.Open(t.Context(), url, slog.New(slog.DiscardHandler), opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return db
}

// Each runs a test on a fresh database of each engine.
func Each(t *testing.T, test func(t *testing.T, db *store.DB)) {
	EachURL(t, func(t *testing.T, url string) { test(t, Open(t, url)) })
}

// EachURL runs a test with the URL of a fresh, empty database of each engine, for tests that open it more than once.
func EachURL(t *testing.T, test func(t *testing.T, url string)) {
	for _, engine := range []store.Engine{store.SQLite, store.Postgres} {
		t.Run(string(engine), func(t *testing.T) {
			t.Parallel()
			test(t, URL(t, engine))
		})
	}
}

// Clock lets a database's time pass in tests: Open(t, url, clock.Option()).
type Clock struct{ offset atomic.Int64 }

// Option makes a database follow the clock.
func (c *Clock) Option() store.Option {
	return store.WithClockOffset(func() time.Duration { return time.Duration(c.offset.Load()) })
}

// Early lets time pass until a few seconds after the beginning of the next window of a quota, so that none ends during a test.
func (c *Clock) Early(window time.Duration) {
	now := time.Now().Add(time.Duration(c.offset.Load()))
	c.Advance(now.Truncate(window).Add(window + 5*time.Second).Sub(now))
}

// Advance lets time pass.
func (c *Clock) Advance(d time.Duration) { c.offset.Add(int64(d)) }
