package auth

import (
	"context"
	"database/sql"
	"errors"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/test/pgtest"
)

// A call that gives up while its commit waits for the standby ends that wait: the commit is visible, and the standby may
// never get it. Whoever asks again must wait for the standby as well, though there is nothing left to change.
func TestNothingLostARepeatedRevocationWaitsForTheStandby(t *testing.T) {
	t.Parallel()
	w, primary, standby := newSynchronousWorld(t)
	root := w.as(t, "root")
	for _, name := range []string{"jti", "token", "key", "session"} {
		w.register(t, name)
	}
	tokens := w.login(t, "token")
	session := w.caller(t, w.login(t, "session").AccessToken)
	claims, err := peekToken(w.login(t, "jti").AccessToken)
	if err != nil {
		t.Fatal(err)
	}
	holder := w.as(t, "key")
	key, err := w.CreateAPIKey(t.Context(), holder, NewAPIKey{Name: "one", Mode: events.ModeLive})
	if err != nil {
		t.Fatal(err)
	}
	calls := map[string]func(ctx context.Context) (Change, error){
		"by jti": func(ctx context.Context) (Change, error) { return w.Revoke(ctx, root, Revocation{JTI: &claims.ID}) },
		"of a token by its holder": func(ctx context.Context) (Change, error) {
			return w.RevokeToken(ctx, root, tokens.AccessToken)
		},
		"of a key by its holder": func(ctx context.Context) (Change, error) { return w.RevokeToken(ctx, holder, key.Key) },
		"by session": func(ctx context.Context) (Change, error) {
			return w.Revoke(ctx, root, Revocation{SessionID: &session.SessionID})
		},
	}
	if err := standby.Freeze(); err != nil {
		t.Fatal(err)
	}
	for name, call := range calls {
		if err := primary.givenUp(t, call); err == nil {
			t.Fatalf("%s: returned without the standby", name)
		}
		for range 4 {
			if err := primary.givenUp(t, call); err == nil {
				t.Errorf("%s: said to be done when asked again, while only the primary knows of it", name)
				break
			}
		}
	}
	if err := standby.Thaw(); err != nil {
		t.Fatal(err)
	}
	for name, call := range calls {
		if done, err := call(t.Context()); err != nil || done.Changed() {
			t.Errorf("%s, once the standby is back: %+v, %v", name, done, err)
		}
	}
}

// onlooker tells how many commits wait for the standby.
type onlooker struct{ *sql.DB }

func (o onlooker) waiting(t *testing.T) (n int) {
	t.Helper()
	if err := o.QueryRowContext(t.Context(), `SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// givenUp begins a call, gives it up when its commit waits for the standby, and returns when nobody waits any more.
func (o onlooker) givenUp(t *testing.T, call func(ctx context.Context) (Change, error)) error {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	returned := make(chan error, 1)
	go func() { _, err := call(ctx); returned <- err }()
	for o.waiting(t) == 0 {
		select {
		case err := <-returned: // without waiting
			return err
		case <-time.After(10 * time.Millisecond): // a real server
		}
	}
	cancel()
	for o.waiting(t) > 0 { // the wait is given up in the background
		time.Sleep(10 * time.Millisecond)
	}
	return <-returned
}

// newSynchronousWorld is a domain on a PostgreSQL that waits for a standby.
func newSynchronousWorld(t *testing.T) (*world, onlooker, *pgtest.Server) {
	t.Helper()
	primary, err := pgtest.StartPrivate(t.Context())
	if errors.Is(err, pgtest.ErrMissing) && !pgtest.Required() {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { primary.Stop() })
	database, err := primary.CreateDatabase(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	standby, err := primary.Standby(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { standby.Stop() })
	look, err := sql.Open("pgx", database)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { look.Close() })
	return newWorld(t, database), onlooker{look}, standby
}
