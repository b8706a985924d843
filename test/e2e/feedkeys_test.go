package e2e

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/test/machine"
	"github.com/tocsin-auth/tocsin/test/system"
)

// feedKIDs are the feed keys that an issuer publishes.
func feedKIDs(t *testing.T, a *system.Auth) (kids []string) {
	t.Helper()
	var set struct{ Keys []struct{ KID string } }
	a.Must(t, http.StatusOK, "GET", "/.well-known/tocsin-feed.json", "", nil).Into(t, &set)
	for _, key := range set.Keys {
		kids = append(kids, key.KID)
	}
	return kids
}

// rotateFeedKey starts a rotation and returns the new key.
func rotateFeedKey(t *testing.T, a *system.Auth, authorization string, body map[string]any) string {
	t.Helper()
	var made struct{ KID string }
	a.Must(t, http.StatusOK, "POST", "/v1/admin/feed-keys/rotate", authorization, body).Into(t, &made)
	return made.KID
}

// untilOnly waits until a key is the only feed key. The programs are real, and so is the time that an old key stays.
func untilOnly(t *testing.T, a *system.Auth, kid string) {
	t.Helper()
	for deadline := time.Now().Add(2 * machine.Patience); !slices.Equal(feedKIDs(t, a), []string{kid}); time.Sleep(time.Second) {
		if time.Now().After(deadline) {
			t.Fatalf("feed keys %v, want %s only", feedKIDs(t, a), kid)
		}
	}
}

// traffic asks with good credentials until it is stopped, and complains about each refusal.
func traffic(t *testing.T, credential string, resources ...*system.Resource) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	for _, r := range resources {
		running.Go(func() {
			for ctx.Err() == nil {
				if got, err := r.Try(ctx, "GET", "/v1/whoami", credential, nil); ctx.Err() == nil && (err != nil || got.Status != http.StatusOK) {
					t.Errorf("a good credential is refused: %v %v", got, err)
					return
				}
				time.Sleep(5 * time.Millisecond) // real programs, and other tests beside them
			}
		})
	}
	return func() { cancel(); running.Wait() }
}

// A feed key is replaced while everything goes on, and authsvc is killed when the new one begins to sign. Who starts after
// the old key is gone reads what was published before.
func TestNoCollateralOfAFeedKeyRotation(t *testing.T) {
	for engine, env := range engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			a := system.StartAuth(t, env(t))
			settings := resourceDatabase(t, engine)
			settings["TOCSIN_MAX_STALENESS"] = patiently
			r := system.StartResource(t, a, settings)
			admin, good, bad := a.Admin(t), a.Register(t, "good"), a.Register(t, "bad")
			a.Must(t, 200, "POST", "/v1/admin/revocations?wait=fleet&timeout=30s", admin.Auth(), map[string]any{"token": bad.Token})
			old := feedKIDs(t, a)
			stop := traffic(t, good.Auth(), r)
			defer stop()

			kid := rotateFeedKey(t, a, admin.Auth(), map[string]any{"ahead": "2s"})
			if kids := feedKIDs(t, a); len(old) != 1 || !slices.Contains(kids, old[0]) || !slices.Contains(kids, kid) {
				t.Fatalf("feed keys %v, were %v", kids, old)
			}
			time.Sleep(2500 * time.Millisecond) // so that the kill falls into the republication
			a.Kill()
			a.Restart(t)
			a.Login(t, &good)
			more := a.Register(t, "more")
			a.Must(t, 200, "POST", "/v1/admin/revocations?wait=fleet&timeout=30s", admin.Auth(), map[string]any{"token": more.Token})
			r.Eventually(t, "GET", "/v1/whoami", more.Auth(), revoked)
			untilOnly(t, a, kid)

			late := system.StartResource(t, a, resourceDatabase(t, engine))
			for _, dead := range []system.User{bad, more} {
				late.Must(t, 401, "GET", "/v1/whoami", dead.Auth(), nil)
			}
			late.Must(t, 200, "GET", "/v1/whoami", good.Auth(), nil)
		})
	}
}

// In an emergency the old key is gone at once. The promise goes on: revocations reach everybody, and nobody is refused.
func TestNoCollateralOfAFeedKeyEmergency(t *testing.T) {
	f := startFleet(t)
	first, second := f.auth[0], f.auth[1]
	admin, good, bad := first.Admin(t), first.Register(t, "good"), first.Register(t, "bad")
	stop := traffic(t, good.Auth(), f.resources...)
	defer stop()
	kid := rotateFeedKey(t, second, admin.Auth(), map[string]any{"emergency": true})
	for _, a := range f.auth {
		if kids := feedKIDs(t, a); !slices.Equal(kids, []string{kid}) {
			t.Fatalf("feed keys %v, want %s only", kids, kid)
		}
	}
	second.Must(t, 200, "POST", "/v1/admin/revocations?wait=published&timeout=30s", admin.Auth(), map[string]any{"token": bad.Token})
	f.everywhere(t, bad.Auth())
	late := system.StartResource(t, first, map[string]string{"TOCSIN_NATS_CREDS": f.nats.SeedFile("resourcesvc")})
	late.Must(t, 401, "GET", "/v1/whoami", bad.Auth(), nil)
	late.Must(t, 200, "GET", "/v1/whoami", good.Auth(), nil)
}
