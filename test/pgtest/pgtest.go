// Package pgtest gives tests a real PostgreSQL: one private server per test process, started from the binaries on the
// machine when the first test asks, and a fresh database for each test. With TOCSIN_TEST_POSTGRES_URL it makes the
// databases on that server instead. Durability is on, as in production.
//
//	func TestMain(m *testing.M) { os.Exit(pgtest.Run(m)) }
//
//	func TestSomething(t *testing.T) {
//		db := open(t, pgtest.URL(t))
//		…
//
// Where there is no PostgreSQL, [URL] skips the test, unless TOCSIN_REQUIRE (a comma list) names postgres: then it fails.
package pgtest

import (
	"context"
	"errors"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
)

// Variables that this package reads.
const (
	EnvURL     = "TOCSIN_TEST_POSTGRES_URL"
	EnvRequire = "TOCSIN_REQUIRE"
)

// ErrMissing means that this machine has no PostgreSQL binaries.
var ErrMissing = errors.New("no PostgreSQL binaries on this machine, and " + EnvURL + " is not set")

// shared is the process's server.
var shared struct {
	sync.Mutex
	server *Server
	err    error
}

// Runner is what [testing.M] is to this package.
type Runner interface{ Run() int }

// Run runs the tests and stops the server, if one was started, before it returns their exit code.
func Run(m Runner) int {
	code := m.Run()
	shared.Lock()
	defer shared.Unlock()
	if shared.server != nil {
		if err := shared.server.Stop(); err != nil {
			os.Stderr.WriteString("pgtest: " + err.Error() + "\n")
		}
		shared.server = nil
	}
	return code
}

// Main makes [Run] a [Runner], for goleak.VerifyTestMain(pgtest.Main{M: m}).
type Main struct{ M Runner }

// Run implements Runner.
func (m Main) Run() int { return Run(m.M) }

// URL returns the URL of a fresh, empty database, which is gone when the tests have ended. It skips or fails the test when
// there is no PostgreSQL.
func URL(t testing.TB) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	server, err := process(ctx)
	if errors.Is(err, ErrMissing) && !Required() {
		t.Skip(err)
	}
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	database, err := server.CreateDatabase(ctx)
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	if server.private() { // it goes as a whole: dropping would flush everything to disk each time
		return database
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := server.DropDatabase(ctx, database); err != nil {
			t.Errorf("pgtest: %v", err)
		}
	})
	return database
}

// Private starts a server of this test alone, as one that is restarted must be, and makes a database in it. The caller MUST call
// [Server.Stop]. It skips or fails the test when there is no PostgreSQL.
func Private(t testing.TB) (*Server, *url.URL) {
	t.Helper()
	server, err := StartPrivate(t.Context())
	if errors.Is(err, ErrMissing) && !Required() {
		t.Skip(err)
	}
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	database, err := server.CreateDatabase(t.Context())
	if err != nil {
		t.Fatal(errors.Join(err, server.Stop()))
	}
	u, err := url.Parse(database)
	if err != nil {
		t.Fatal(errors.Join(err, server.Stop()))
	}
	return server, u
}

// Required reports whether a missing PostgreSQL must fail tests.
func Required() bool {
	return slices.Contains(strings.Split(os.Getenv(EnvRequire), ","), "postgres")
}

// process returns the server of this process and starts it when it is the first to ask.
func process(ctx context.Context) (*Server, error) {
	shared.Lock()
	defer shared.Unlock()
	if shared.server == nil && shared.err == nil {
		shared.server, shared.err = Start(ctx)
	}
	return shared.server, shared.err
}
