package e2e

import (
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/test/machine"
	"github.com/tocsin-auth/tocsin/test/system"
)

// jobsPlan gives everybody a limit of AI jobs.
func jobsPlan(t *testing.T, a *system.Auth, limit int, window string) {
	t.Helper()
	a.Must(t, 200, "PUT", "/v1/admin/plans", a.Admin(t).Auth(), map[string]any{"plans": []any{map[string]any{
		"name": "free", "limits": []any{map[string]any{"resource": "ai-jobs", "limit": limit, "window": window}},
	}}})
}

// enqueue spends one of the quota, or is refused.
func enqueue(t *testing.T, r *system.Resource, authorization string) system.Answer {
	t.Helper()
	got, err := r.Try(t.Context(), "POST", "/v1/ai/jobs", authorization, map[string]any{"job_id": "one", "payload": map[string]any{}})
	if err != nil {
		return system.Answer{} // the service was killed
	}
	return got
}

var exceeded = system.Status(http.StatusTooManyRequests, "quota_exceeded")

func TestWithinQuotaAFleetAcceptsExactlyTheLimit(t *testing.T) {
	onEachEngine(t, func(t *testing.T, a *system.Auth, r *system.Resource) {
		const limit = 100
		jobsPlan(t, a, limit, "744h")
		alice := a.Register(t, "alice")
		fleet := []*system.Resource{r, system.StartResource(t, a, nil), system.StartResource(t, a, nil)}
		callers := []string{alice.Auth(), system.Key(alice.LiveKey)} // both spend the same
		var accepted, refused atomic.Int64
		began := time.Now()
		var all sync.WaitGroup
		for i := range 12 {
			all.Go(func() {
				for deadline := time.Now().Add(machine.Patience); accepted.Load() < limit && time.Now().Before(deadline); {
					switch got := enqueue(t, fleet[i%len(fleet)], callers[i%len(callers)]); {
					case got.Status == http.StatusAccepted:
						accepted.Add(1)
					case exceeded(got):
						refused.Add(1)
					case got.Status != http.StatusServiceUnavailable: // nothing was decided, as on a busy machine
						t.Errorf("%v", got)
					}
				}
			})
		}
		all.Wait()
		t.Logf("%d accepted, %d refused in %v", accepted.Load(), refused.Load(), time.Since(began))
		free := 0
		for _, r := range fleet {
			accepted.Add(beyond(t, r, alice))
			r.Must(t, 200, "GET", "/v1/cars", alice.Auth(), nil) // which has no quota
			free += uncounted(t, r)
		}
		if n := int(accepted.Load()); n < limit || n > limit+free {
			t.Errorf("%d accepted of %d, %d uncounted", n, limit, free)
		}
		var usage struct {
			Items []struct {
				Used int64 `json:"used"`
			} `json:"items"`
		}
		a.Eventually(t, "GET", "/v1/me/usage", alice.Auth(), func(got system.Answer) bool {
			got.Into(t, &usage)
			return len(usage.Items) == 1 && usage.Items[0].Used == limit
		})
	})
}

// beyond asks a service until it has refused five times, and returns how many it has accepted: some only if it let others through
// uncounted, because authsvc couldn't be asked.
func beyond(t *testing.T, r *system.Resource, u system.User) (accepted int64) {
	t.Helper()
	for refused := 0; refused < 5; {
		switch got := enqueue(t, r, u.Auth()); {
		case exceeded(got) && got.Header.Get("Retry-After") != "" && strings.Contains(got.Header.Get("RateLimit"), `"ai-jobs-`):
			refused++
		case got.Status == http.StatusAccepted && accepted < 100:
			accepted++
		case got.Status != http.StatusServiceUnavailable:
			t.Fatalf("beyond the limit: %v %v", got, got.Header)
		}
	}
	return accepted
}

// Counts are in the database before an allowance is handed out: neither authsvc nor an instance forgets one by dying, and who comes
// new gets no more than is left.
func TestWithinQuotaCountsSurviveAKill(t *testing.T) {
	onEachEngine(t, func(t *testing.T, a *system.Auth, r *system.Resource) {
		const limit = 20
		jobsPlan(t, a, limit, "744h")
		alice := a.Register(t, "alice")
		accepted := 0
		for accepted < limit/4 {
			switch got := enqueue(t, r, alice.Auth()); got.Status {
			case http.StatusAccepted:
				accepted++
			case http.StatusServiceUnavailable: // nothing was decided, as on a busy machine
			default:
				t.Fatal(got)
			}
		}
		free := uncounted(t, r)
		a.Kill()
		r.Kill() // with what it hasn't told, and what it holds
		a.Restart(t)
		another := system.StartResource(t, a, nil)
		another.Eventually(t, "GET", "/v1/whoami", alice.Auth(), system.Status(http.StatusOK, ""))
		for deadline := time.Now().Add(machine.Patience); ; {
			got := enqueue(t, another, alice.Auth())
			if got.Status == http.StatusAccepted {
				accepted++
			} else if exceeded(got) {
				break
			} else if time.Now().After(deadline) {
				t.Fatal(got)
			}
		}
		if free += uncounted(t, another); accepted > limit+free {
			t.Errorf("%d accepted of %d, %d uncounted", accepted, limit, free)
		}
	})
}

// windowCount is what was accepted in one window, by requests that began and ended in it.
type windowCount struct {
	mu       sync.Mutex
	accepted map[int64]int
}

func (c *windowCount) add(began, ended time.Time, length time.Duration) {
	if w := began.UnixNano() / int64(length); w == ended.UnixNano()/int64(length) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.accepted[w]++
	}
}

// uncounted is what a service has let through while nobody could be asked.
func uncounted(t *testing.T, r *system.Resource) int {
	var state struct {
		Uncounted int `json:"quota_uncounted"`
	}
	r.Must(t, 200, "GET", "/v1/verifier", "", nil).Into(t, &state)
	return state.Uncounted
}

func TestWithinQuotaWhoeverDies(t *testing.T) {
	onEachEngine(t, func(t *testing.T, a *system.Auth, r *system.Resource) {
		const limit, length = 30, 4 * time.Second
		jobsPlan(t, a, limit, length.String())
		alice := a.Register(t, "alice")
		dies, stays := system.StartResource(t, a, nil), system.StartResource(t, a, nil)
		count := windowCount{accepted: map[int64]int{}}
		stop := make(chan struct{})
		var all sync.WaitGroup
		var ofDies atomic.Int64 // what the one that dies has accepted
		for _, r := range []*system.Resource{r, dies, stays} {
			all.Go(func() {
				for {
					select {
					case <-stop:
						return
					case <-time.After(10 * time.Millisecond): // a caller
					}
					if got := enqueue(t, r, alice.Auth()); got.Status == http.StatusAccepted {
						count.add(got.Began, time.Now(), length)
						if r == dies {
							ofDies.Add(1)
						}
					}
				}
			})
		}
		machine.Await(t, "the first were accepted", func() bool { return count.total() >= 5 })
		before := ofDies.Load()
		free := uncounted(t, dies)
		dies.Kill()
		machine.Await(t, "a window later", count.windows(2))
		a.Kill()
		a.Restart(t)
		machine.Await(t, "three windows later", count.windows(5))
		close(stop)
		all.Wait()
		free += uncounted(t, r) + uncounted(t, stays) + int(ofDies.Load()-before) // of which nobody can tell any more
		for w, n := range count.accepted {
			if n > limit+free {
				t.Errorf("window %d: %d accepted of %d, %d uncounted", w, n, limit, free)
			}
		}
		t.Logf("accepted by window: %v; %d uncounted", count.accepted, free)
	})
}

func (c *windowCount) total() (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, accepted := range c.accepted {
		n += accepted
	}
	return n
}

// windows reports whether somebody was accepted in so many.
func (c *windowCount) windows(n int) func() bool {
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return len(c.accepted) >= n
	}
}
