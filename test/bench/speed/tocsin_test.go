package speed

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"testing"

	"github.com/tocsin-auth/tocsin/pkg/verifier"
)

// Names of what others are compared with.
const (
	hot        = "Tocsin, seen before"
	hotAll     = "Tocsin, seen before, on all cores"
	hotRoles   = "Tocsin, seen before, with roles"
	hotQuota   = "Tocsin, seen before, with a quota"
	hotRevoked = "Tocsin, seen before, revoked"
	hotKey     = "Tocsin, an API key"
	cold       = "Tocsin, never seen"
	coldDead   = "Tocsin, never seen, revoked"
	firstKey   = "Tocsin, an API key, first use (SQLite)"
	firstKeyPG = "Tocsin, an API key, first use (PostgreSQL)"
	quota      = "Tocsin, an exact quota (SQLite)"
	quotaPG    = "Tocsin, an exact quota (PostgreSQL)"
	elite      = "Tocsin, elite (SQLite)"
	elite64    = "Tocsin, elite (SQLite), 64 at once"
	elitePG    = "Tocsin, elite (PostgreSQL)"
	elitePG64  = "Tocsin, elite (PostgreSQL), 64 at once"
)

func (w *world) tocsin(t *testing.T) []contender {
	v := w.verifier(t, w.auth)
	fresh := w.verifier(t, w.auth, verifier.WithTokenCacheSize(1)) // a few tokens fit, so each of a ring is new again
	admin := verifier.Bearer(w.admin.Token)
	return []contender{
		{hot, true, verifying(v, nil, route(t, v), verifier.Bearer(w.token))},
		{hotAll, true, onAllCores(v, route(t, v), verifier.Bearer(w.token))},
		{hotRoles, true, verifying(v, nil, route(t, v, verifier.Role("admin"), verifier.AnyRole("none", "admin")), admin)},
		{hotQuota, true, verifying(v, nil, route(t, v, verifier.Quota(requests)), verifier.Bearer(w.token))},
		{hotRevoked, true, verifying(v, verifier.ErrRevoked, route(t, v), verifier.Bearer(w.dead[0]))},
		{hotKey, true, verifying(v, nil, route(t, v), verifier.APIKey(w.user.LiveKey))},
		{cold, true, verifying(fresh, nil, route(t, fresh), bearers(w.tokens[:neverSeen])...)},
		{coldDead, true, verifying(fresh, verifier.ErrRevoked, route(t, fresh), bearers(w.dead)...)},
	}
}

func route(t *testing.T, v *verifier.Verifier, opts ...verifier.RouteOption) *verifier.Route {
	t.Helper()
	r, err := v.Route(opts...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func bearers(tokens []string) []verifier.Credential {
	all := make([]verifier.Credential, len(tokens))
	for i, token := range tokens {
		all[i] = verifier.Bearer(token)
	}
	return all
}

// verifying verifies credentials in turn and checks that each time the answer is the same.
func verifying(v *verifier.Verifier, want error, route *verifier.Route, all ...verifier.Credential) func(n int) error {
	ctx, next := context.Background(), 0
	if len(all) == 1 { // what is hot is hot: not even an index changes
		return func(n int) error {
			c := all[0]
			for range n {
				if _, err := v.Verify(ctx, c, route); err != want && !errors.Is(err, want) {
					return err
				}
			}
			return nil
		}
	}
	return func(n int) error {
		for range n {
			if next++; next >= len(all) {
				next = 0
			}
			if _, err := v.Verify(ctx, all[next], route); err != want && !errors.Is(err, want) {
				return err
			}
		}
		return nil
	}
}

func onAllCores(v *verifier.Verifier, route *verifier.Route, c verifier.Credential) func(n int) error {
	width := runtime.GOMAXPROCS(0)
	return func(n int) error {
		var group sync.WaitGroup
		errs := make(chan error, width)
		for i := range width {
			share := (n + i) / width
			group.Go(func() {
				for range share {
					if _, err := v.Verify(context.Background(), c, route); err != nil {
						errs <- err
						return
					}
				}
			})
		}
		group.Wait()
		close(errs)
		return <-errs
	}
}
