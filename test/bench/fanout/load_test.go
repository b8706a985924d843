package fanout

import (
	"context"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tocsin-auth/tocsin/test/bench/figure"
	"github.com/tocsin-auth/tocsin/test/system"
)

// load revokes until stopped: tokens that nobody has, each by a call of its own, or with each call the tokens of some users.
type load struct {
	auth  *system.Auth
	admin string
	users []string // none: a token
	stop  func()

	mu    sync.Mutex
	calls figure.Distribution
	err   error
}

// callers is how many calls of a paced load may be under way.
const callers = 64

// paced starts calls at a rate, whether or not those before are answered, as long as fewer than callers wait.
func paced(a *system.Auth, admin string, rate int, users []string) *load {
	l := &load{auth: a, admin: admin, users: users}
	due := make(chan struct{}, callers)
	running := l.run(callers, due)
	done := make(chan struct{})
	running.Go(func() {
		defer close(due)
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		begun, sent := time.Now(), 0
		for {
			select {
			case <-done:
				return
			case now := <-tick.C:
				for ; sent < int(now.Sub(begun).Seconds()*float64(rate)); sent++ {
					select {
					case due <- struct{}{}:
					default: // too slow; the page tells what was reached
					}
				}
			}
		}
	})
	l.stop = sync.OnceFunc(func() { close(done); running.Wait() })
	return l
}

// eager has some callers, each of which calls again when it is answered.
func eager(a *system.Auth, admin string, n int) *load {
	l := &load{auth: a, admin: admin}
	due, done := make(chan struct{}), make(chan struct{})
	running := l.run(n, due)
	running.Go(func() {
		defer close(due)
		for {
			select {
			case <-done:
				return
			case due <- struct{}{}:
			}
		}
	})
	l.stop = sync.OnceFunc(func() { close(done); running.Wait() })
	return l
}

func (l *load) run(n int, due <-chan struct{}) *sync.WaitGroup {
	running := &sync.WaitGroup{}
	for range n {
		running.Go(func() {
			for range due {
				l.revoke()
			}
		})
	}
	return running
}

func (l *load) revoke() {
	begun := time.Now()
	got, err := l.auth.Try(context.Background(), http.MethodPost, "/v1/admin/revocations?wait=none", l.admin, l.selector())
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil || got.Status != http.StatusOK {
		l.err = err
		return
	}
	l.calls.Add(time.Since(begun))
}

func (l *load) selector() map[string]any {
	if len(l.users) > 0 {
		return map[string]any{"user_ids": l.users}
	}
	return map[string]any{"jti": newID()}
}

func newID() string { return uuid.Must(uuid.NewV7()).String() }

// begin forgets what was until now, and count tells what has been since.
func (l *load) begin() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls = figure.Distribution{}
}

func (l *load) count(t testing.TB) figure.Distribution {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		t.Error(l.err)
	}
	return l.calls
}
