package upgrade

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/test/machine"
	"github.com/tocsin-auth/tocsin/test/system"
)

// instance is one of the processes of a kind, behind the load balancer of this test.
type instance struct {
	name string
	api  system.API

	mu sync.Mutex
	in bool // running and ready: the balancer may send it requests, and a refusal of it counts
}

func (i *instance) set(in bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.in = in
}

func (i *instance) isIn() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.in
}

// balancer sends each request to an instance that is in, and to the next one when there is no answer or the instance was
// taken out meanwhile.
type balancer []*instance

func (b balancer) call(ctx context.Context, first int, method, path, authorization string, body any) (system.Answer, *instance, error) {
	var last error
	for n, begun := first, time.Now(); time.Since(begun) < machine.Patience && ctx.Err() == nil; n++ {
		i := b[n%len(b)]
		if !i.isIn() {
			continue
		}
		got, err := i.api.Try(ctx, method, path, authorization, body)
		if err == nil && (got.Status < 400 || i.isIn()) {
			return got, i, nil
		}
		if last = err; err == nil {
			last = fmt.Errorf("%s, taken out, says %v", i.name, got)
		}
		time.Sleep(time.Millisecond) // real processes: nothing tells when one is back
	}
	return system.Answer{}, nil, fmt.Errorf("no instance answers: %w", last)
}

// traffic is callers with good credentials, at work until it is stopped.
type traffic struct {
	cancel  context.CancelFunc
	running sync.WaitGroup
	beat    *machine.Beat

	mu     sync.Mutex
	calls  map[string]int // by kind
	wrong  []string       // refusals of good credentials by a running, ready service
	absent map[string]int // elite calls that found no authority: outside of the promise while the bus is cut
	still  int            // refusals by 503 of what was asked while the machine stood still, which tell nothing
	phase  string
}

func begin(t *testing.T) (*traffic, context.Context) {
	ctx, cancel := context.WithCancel(t.Context())
	tr := &traffic{cancel: cancel, beat: machine.Listen(), calls: map[string]int{}, absent: map[string]int{}}
	t.Cleanup(tr.stop)
	return tr, ctx
}

func (tr *traffic) stop() {
	tr.cancel()
	tr.running.Wait()
	tr.beat.Stop()
}

func (tr *traffic) enter(phase string) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.phase = phase
}

// repeat calls until the traffic is stopped, with a pause that leaves the processor to the programs.
func (tr *traffic) repeat(ctx context.Context, call func(round int)) {
	tr.running.Go(func() {
		for round := 0; ctx.Err() == nil; round++ {
			call(round)
			select {
			case <-ctx.Done():
			case <-time.After(3 * time.Millisecond): // real processes at work, two processors for all of them
			}
		}
	})
}

// judge notes an answer to a call with a good credential.
func (tr *traffic) judge(ctx context.Context, kind string, want int, got system.Answer, by *instance, err error) bool {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if ctx.Err() != nil {
		return false
	}
	tr.calls[kind]++
	switch {
	case err == nil && got.Status == want:
		return true
	case err == nil && got.Status == http.StatusServiceUnavailable && tr.beat.StoodStill(got.Began, time.Now()) >= machine.Stall:
		tr.still++
	case err == nil && kind == "elite" && got.Code() == "auth_unavailable":
		tr.absent[tr.phase]++
	case err != nil:
		tr.wrong = append(tr.wrong, fmt.Sprintf("%s: %s: %v", tr.phase, kind, err))
	default:
		tr.wrong = append(tr.wrong, fmt.Sprintf("%s: %s: %s says %v", tr.phase, kind, by.name, got))
	}
	return false
}

// read calls with one credential on one route.
func (tr *traffic) read(ctx context.Context, kind string, to balancer, path, authorization string) {
	tr.repeat(ctx, func(round int) {
		got, by, err := to.call(ctx, round, "GET", path, authorization, nil)
		tr.judge(ctx, kind, http.StatusOK, got, by, err)
	})
}

// comeAndGo logs in, uses the token everywhere, revokes it, and waits until no instance accepts it: trust that ends goes on
// ending while everything is restarted.
func (tr *traffic) comeAndGo(ctx context.Context, auth, resources balancer, u system.User, bound time.Duration) {
	tr.repeat(ctx, func(round int) {
		login := map[string]string{"username": u.Name, "password": u.Password}
		got, by, err := auth.call(ctx, round, "POST", "/v1/login", "", login)
		if !tr.judge(ctx, "login", http.StatusOK, got, by, err) {
			return
		}
		token := tokenOf(got)
		for n := range resources {
			got, by, err = resources.call(ctx, n, "GET", "/v1/whoami", token, nil)
			tr.judge(ctx, "new token", http.StatusOK, got, by, err)
		}
		got, by, err = auth.call(ctx, round, "POST", "/v1/logout?wait=none", token, nil)
		if !tr.judge(ctx, "logout", http.StatusNoContent, got, by, err) {
			return
		}
		tr.awaitDeath(ctx, resources, token, bound)
	})
}

func (tr *traffic) awaitDeath(ctx context.Context, resources balancer, token string, bound time.Duration) {
	for _, i := range resources {
		for deadline := time.Now().Add(bound); i.isIn() && ctx.Err() == nil; {
			begun := time.Now()
			got, err := i.api.Try(ctx, "GET", "/v1/whoami", token, nil)
			if err == nil && got.Status != http.StatusOK {
				break
			}
			if err == nil && begun.After(deadline) {
				tr.mu.Lock()
				tr.wrong = append(tr.wrong, tr.phase+": a revoked token is accepted past the bound by "+i.name)
				tr.mu.Unlock()
				return
			}
		}
	}
}

// report fails the test for every wrong refusal.
func (tr *traffic) report(t *testing.T) {
	t.Helper()
	tr.mu.Lock()
	defer tr.mu.Unlock()
	t.Logf("calls: %v; elite calls without an authority, by phase: %v; refused while the machine stood still: %d", tr.calls, tr.absent, tr.still)
	for n, w := range tr.wrong {
		if n == 10 {
			t.Errorf("and %d more", len(tr.wrong)-n)
			break
		}
		t.Error(w)
	}
	for _, kind := range []string{"token", "key", "elite", "me", "login", "new token", "logout"} {
		if tr.calls[kind] == 0 {
			t.Errorf("no calls of kind %q: nothing was shown", kind)
		}
	}
}
