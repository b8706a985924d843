package e2e

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/test/machine"
	"github.com/tocsin-auth/tocsin/test/system"
)

// call is one request as its caller saw it.
type call struct {
	began  time.Time
	status int
}

// callers send requests from several goroutines until stop is called, which returns everything that was answered.
func callers(t *testing.T, r *system.Resource, path, authorization string) (stop func() []call) {
	ctx, cancel := context.WithCancel(t.Context())
	var mu sync.Mutex
	var all []call
	var running sync.WaitGroup
	for range 4 {
		running.Go(func() {
			for ctx.Err() == nil {
				began := time.Now()
				got, err := r.Try(ctx, "GET", path, authorization, nil)
				if err != nil {
					continue
				}
				mu.Lock()
				all = append(all, call{began, got.Status})
				mu.Unlock()
				time.Sleep(time.Millisecond) // real programs, and other tests beside them
			}
		})
	}
	return func() []call {
		cancel()
		running.Wait()
		return all
	}
}

func TestEliteLinearizableNoCallAfterTheRevocationIsAccepted(t *testing.T) {
	onEachEngine(t, func(t *testing.T, a *system.Auth, r *system.Resource) {
		admin := a.Admin(t)
		for _, name := range []string{"olivia", "peggy", "quentin"} {
			u := a.Register(t, name)
			for _, end := range []struct {
				path       string
				body       any
				credential string
			}{
				{"/v1/admin/revocations?wait=none", map[string]any{"token": u.Token}, u.Auth()},
				{"/v1/admin/revocations?wait=none", map[string]any{"api_key_id": u.LiveKeyID}, system.Key(u.LiveKey)},
			} {
				stop := callers(t, r, "/v1/whoami/elite", end.credential)
				a.Must(t, 200, "POST", end.path, admin.Auth(), end.body)
				returned := time.Now()
				r.Eventually(t, "GET", "/v1/whoami/elite", end.credential, func(got system.Answer) bool { return got.Status == 401 })
				for _, c := range stop() {
					if c.status == 200 && c.began.After(returned) {
						t.Errorf("%s: an elite call was accepted that began %v after the revocation had returned", name, c.began.Sub(returned))
					}
				}
			}
		}
	})
}

func TestBoundedAcceptanceNoCallBeginsLaterThanBAfterTheRevocation(t *testing.T) {
	const b = time.Second // the smallest
	onEachEngineWithB(t, b.String(), func(t *testing.T, a *system.Auth, r *system.Resource) {
		admin, u := a.Admin(t), a.Register(t, "rupert")
		for range 5 {
			a.Login(t, &u)
			stop := callers(t, r, "/v1/whoami", u.Auth())
			a.Must(t, 200, "POST", "/v1/admin/revocations?wait=none", admin.Auth(), map[string]any{"session_id": u.Session})
			returned := time.Now()
			r.Eventually(t, "GET", "/v1/whoami", u.Auth(), revoked)
			calls := stop()
			for _, c := range calls {
				if late := c.began.Sub(returned); c.status == 200 && late > b {
					t.Errorf("accepted a call that began %v after the revocation had returned", late)
				}
			}
		}
	})
}

func TestTrueReceiptsNameTheLaggardAndWaitForTheFleet(t *testing.T) {
	a := system.StartAuth(t, nil)
	admin, u := a.Admin(t), a.Register(t, "sybil")
	quick := system.StartResource(t, a, map[string]string{"TOCSIN_INSTANCE": "quick"})
	frozen := system.StartResource(t, a, map[string]string{"TOCSIN_INSTANCE": "frozen", "TOCSIN_MAX_STALENESS": patiently})

	body := map[string]any{"token": u.Token}
	all := a.Must(t, 200, "POST", "/v1/admin/revocations?wait=fleet&timeout=30s", admin.Auth(), body).Receipt(t)
	if all.Fleet == nil || all.Fleet.Total == nil || *all.Fleet.Total != 2 || all.Fleet.Applied != 2 || len(all.Fleet.Laggards) != 0 {
		t.Fatalf("both services run: %+v", all.Fleet)
	}
	for _, r := range []*system.Resource{quick, frozen} {
		if got := r.Do(t, "GET", "/v1/whoami", u.Auth(), nil); !revoked(got) {
			t.Errorf("named as applied, but: %v", got)
		}
	}

	a.Login(t, &u)
	body = map[string]any{"token": u.Token}
	frozen.Freeze(t)
	var part system.Receipt
	machine.Await(t, "the other service has applied it", func() bool { // said again, it is the same event
		part = a.Must(t, 200, "POST", "/v1/admin/revocations?wait=fleet&timeout=500ms", admin.Auth(), body).Receipt(t)
		return part.Fleet != nil && part.Fleet.Applied > 0
	})
	if part.Fleet.Total == nil || *part.Fleet.Total != 2 || part.Fleet.Applied != 1 || len(part.Fleet.Laggards) != 1 {
		t.Errorf("one service is frozen and could still be fresh: %+v", part.Fleet)
	}
	frozen.Thaw()
	frozen.Eventually(t, "GET", "/v1/whoami", u.Auth(), revoked)
}

func TestNoCollateralOfARestartOfEveryProgram(t *testing.T) {
	onEachEngineWithB(t, patiently, func(t *testing.T, a *system.Auth, r *system.Resource) {
		u := a.Register(t, "trent")
		r.Must(t, 200, "GET", "/v1/whoami", system.Key(u.LiveKey), nil)
		stop := callers(t, r, "/v1/whoami", u.Auth())
		stopKey := callers(t, r, "/v1/whoami", system.Key(u.LiveKey))
		for range 3 {
			a.Stop(t)
			a.Restart(t)
			r.Eventually(t, "GET", "/v1/whoami/elite", u.Auth(), system.Status(200, ""))
		}
		calls := append(stop(), stopKey()...)
		for _, c := range calls {
			if c.status != 200 {
				t.Fatalf("%d while authsvc was restarted", c.status)
			}
		}
		t.Logf("%d calls accepted", len(calls))
	})
}
