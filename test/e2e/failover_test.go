package e2e

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/test/machine"
	"github.com/tocsin-auth/tocsin/test/system"
)

// outcome is when the call of a victim's fate returned 2xx; nil while that isn't known.
type outcome struct{ returned atomic.Pointer[time.Time] }

// revokers make the calls of all fates, each until it is known to be done, and tell how many were answered 2xx so far.
type revokers struct {
	done     []*outcome
	answered atomic.Int64
	unknown  atomic.Int64
	running  sync.WaitGroup
}

// revoke begins to make the calls, at both authsvc at once. A call whose outcome is unknown is made again: whether it says
// done, or that there is nothing left to do it on, it has happened then.
func (p *pair) revoke(t *testing.T, admin system.User, all []victim) *revokers {
	r := &revokers{}
	for range all {
		r.done = append(r.done, &outcome{})
	}
	ctx := t.Context()
	for which, a := range p.auth {
		r.running.Go(func() {
			for i := which; i < len(all); i += len(p.auth) {
				if all[i].call != nil {
					r.one(ctx, a, all[i].call(admin, all[i].a, all[i].b), r.done[i])
				}
			}
		})
	}
	return r
}

func (r *revokers) one(ctx context.Context, a *system.Auth, q request, o *outcome) {
	for ctx.Err() == nil {
		got, err := a.Try(ctx, q.method, q.path+"?wait=none", q.authorization, q.body)
		if err == nil && got.Status < 500 {
			now := time.Now()
			o.returned.Store(&now)
			r.answered.Add(1)
			time.Sleep(20 * time.Millisecond) // so that the crash comes in the middle of them
			return
		}
		r.unknown.Add(1)
		time.Sleep(10 * time.Millisecond) // a real outage has to pass
	}
}

// await returns when so many calls have been answered.
func (r *revokers) await(t *testing.T, calls int64) {
	t.Helper()
	machine.Await(t, "the answers of the revoking calls", func() bool { return r.answered.Load() >= calls })
}

// watch uses every credential that dies at a service, on both kinds of route, until stop is called, and judges each call
// that is accepted.
func watch(t *testing.T, r *system.Resource, all []victim, done []*outcome) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		for ctx.Err() == nil {
			for i, v := range all {
				for name, credential := range map[string]string{"a": v.a.Auth(), "b": v.b.Auth(), "key": system.Key(v.a.LiveKey)} {
					for route, bound := range map[string]time.Duration{"/v1/whoami": failoverBound, "/v1/whoami/elite": 0} {
						if v.dies(name) {
							judge(t, ctx, r, route, credential, bound, name+" of "+v.name, done[i])
						}
					}
				}
			}
		}
	})
	return func() { cancel(); running.Wait() }
}

func judge(t *testing.T, ctx context.Context, r *system.Resource, route, credential string, bound time.Duration, what string, o *outcome) {
	returned, began := o.returned.Load(), time.Now()
	got, err := r.Try(ctx, "GET", route, credential, nil)
	if err != nil || got.Status != http.StatusOK || returned == nil {
		return
	}
	if late := began.Sub(*returned); late > bound {
		t.Errorf("%s was accepted on %s by a call that began %v after the revocation had returned", what, route, late)
	}
}

// good uses credentials that live until stop is called, which returns how many calls were refused, by status.
func good(t *testing.T, r *system.Resource, u system.User) (stop func() (accepted int, refused map[int]int)) {
	calls := callers(t, r, "/v1/whoami", u.Auth())
	return func() (accepted int, refused map[int]int) {
		refused = map[int]int{}
		for _, c := range calls() {
			if c.status == http.StatusOK {
				accepted++
			} else {
				refused[c.status]++
			}
		}
		return accepted, refused
	}
}

// freshAfter returns how long after a moment the last of the services was fresh, and had a proof that was asked for later.
func (p *pair) freshAfter(t *testing.T, moment time.Time) (fresh, proven time.Duration) {
	t.Helper()
	for _, r := range p.resources {
		one := time.Duration(-1)
		for {
			asked := time.Now()
			var said struct {
				State string
				Age   *float64 `json:"proof_age_ms"`
			}
			r.Do(t, "GET", "/v1/verifier", "", nil).Into(t, &said)
			since := time.Since(moment)
			if one < 0 && said.State == "fresh" {
				one = since
			}
			if said.Age != nil && asked.Add(-time.Duration(*said.Age*float64(time.Millisecond))).After(moment) {
				fresh, proven = max(fresh, one), max(proven, since)
				break
			}
			if since > machine.Patience {
				t.Fatalf("not fresh %v after the promotion: %+v", since, said)
			}
			time.Sleep(time.Millisecond) // real processes prove when they do
		}
	}
	return fresh, proven
}

func TestNothingLostWhenPostgreSQLFailsOver(t *testing.T) {
	p := startPair(t, proxied(t))
	var fresh, proven []time.Duration
	for round, away := range []time.Duration{0, failoverBound + time.Second, 0} {
		name := "killed in the middle of revocations"
		if away > 0 {
			name = "frozen for longer than B and then fenced"
		}
		t.Run(fmt.Sprintf("%d %s", round+1, name), func(t *testing.T) {
			f, s := p.failOver(t, away)
			fresh, proven = append(fresh, f), append(proven, s)
		})
		if t.Failed() {
			return
		}
		p.follow(t)
	}
	slices.Sort(fresh)
	slices.Sort(proven)
	t.Logf("after the end of the promotion all fresh: median %v, largest %v; all with a proof asked for later: median %v, largest %v",
		fresh[len(fresh)/2], slices.Max(fresh), proven[len(proven)/2], slices.Max(proven))
}

// failOver begins with a standby and ends without one. With away the primary is silent for so long before it is fenced.
func (p *pair) failOver(t *testing.T, away time.Duration) (fresh, proven time.Duration) {
	admin := p.auth[0].Admin(t)
	all := victims(t, p.auth[0], "u"+strings.ToLower(randomName()))
	untouched := all[slices.IndexFunc(all, func(v victim) bool { return v.call == nil })]
	for _, r := range p.resources {
		again(t, r, admin)
		for _, v := range all { // keys are resolved before the outage
			r.Eventually(t, "GET", "/v1/whoami", system.Key(v.a.LiveKey), system.Status(200, ""))
		}
	}
	stop, beat := good(t, p.resources[0], untouched.a), machine.Listen()
	revoking := p.revoke(t, admin, all)
	var watches []func()
	for _, r := range p.resources {
		watches = append(watches, watch(t, r, all, revoking.done))
	}
	revoking.await(t, int64(len(all)/2))
	if away > 0 {
		must(t, p.primary.Freeze())
		time.Sleep(away) // this is the fault
	}
	fenced := time.Now()
	p.fence(t)
	ended := p.promote(t)
	fresh, proven = p.freshAfter(t, ended)
	outage, stood := away+ended.Add(fresh).Sub(fenced), beat.Stop()
	revoking.running.Wait()
	time.Sleep(failoverBound) // what was accepted past B has to be seen
	for _, stop := range watches {
		stop()
	}
	accepted, refused := stop()
	t.Logf("fresh %v, proven %v after the promotion, an outage of %v; %d calls answered before it, %d outcomes unknown; good calls: %d accepted, refused %v; the machine stood still for %v",
		fresh, proven, outage, len(all)/2, revoking.unknown.Load(), accepted, refused, stood)
	if outage+stood < failoverBound-2*time.Second && len(refused) > 0 { // a longer one may refuse: so long a promotion takes on some machines
		t.Errorf("good calls were refused in an outage of %v: %v", outage, refused)
	}
	p.succeed(t)
	p.check(t, all)
	return fresh, proven
}

// check asks running services, one that starts now, and authsvc about every credential.
func (p *pair) check(t *testing.T, all []victim) {
	t.Helper()
	admin := p.auth[1].Admin(t)
	late := p.startResource(t)
	defer late.Kill()
	for _, r := range append(slices.Clone(p.resources), late) {
		again(t, r, admin)
	}
	for _, v := range all {
		for _, r := range p.resources {
			v.wantFate(t, running, r)
		}
		v.wantFate(t, "a new verifier", late)
		v.wantRefresh(t, p.auth[1])
	}
}

func randomName() string { return rand.Text()[:8] }

// The URL names both hosts. The old primary is silent for good, as a machine without power is: it never closes a connection
// and refuses none.
func TestNoCollateralWhenAHostOfTheURLIsSilentAndTheOtherOneIsPromoted(t *testing.T) {
	p := startPair(t, func(p *pair) string { return p.primary.Addr() + "," + p.standby.Addr() })
	u := p.auth[0].Register(t, "sam")
	for _, r := range p.resources {
		for range 20 {
			r.Must(t, 200, "GET", "/v1/whoami/elite", u.Auth(), nil)
		}
	}
	stop, beat := good(t, p.resources[0], u), machine.Listen()
	must(t, p.primary.Freeze())
	defer p.primary.Crash() // a frozen server can't be stopped
	time.Sleep(time.Second) // this is the fault: a failover needs some time to be decided
	ended := p.promote(t)
	for _, r := range p.resources {
		r.Eventually(t, "GET", "/v1/whoami/elite", u.Auth(), system.Status(200, ""))
	}
	elite := time.Since(ended)
	fresh, proven := p.freshAfter(t, ended)
	accepted, refused := stop()
	stood := beat.Stop()
	t.Logf("after the promotion: elite %v, fresh %v, proven %v; %d good calls, refused %v; the machine stood still for %v", elite, fresh, proven, accepted, refused, stood)
	if stood < machine.Stall && (len(refused) > 0 || elite > 3*time.Second) {
		t.Errorf("elite calls are answered after %v; good calls refused: %v", elite, refused)
	}
	p.auth[0].Login(t, &u)
	p.auth[1].Must(t, 204, "POST", "/v1/logout?wait=fleet&timeout=30s", u.Auth(), nil)
	for _, r := range p.resources {
		r.Eventually(t, "GET", "/v1/whoami", u.Auth(), revoked)
	}
}
