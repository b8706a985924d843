package fleet

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/pkg/verifier"
	"github.com/tocsin-auth/tocsin/pkg/verifier/verifiermodel"
)

// childVariable makes a program that holds this package a fleet.
const childVariable = "TOCSIN_BENCH_FLEET"

const (
	readyTimeout  = 2 * time.Minute
	refuseTimeout = 2 * time.Minute
)

func init() {
	if os.Getenv(childVariable) == "" {
		return
	}
	var c child
	in, out := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	for {
		var o order
		if in.Decode(&o) != nil {
			os.Exit(0) // the parent has ended
		}
		a, err := c.do(o)
		if err != nil {
			a.Error = err.Error()
		}
		if out.Encode(a) != nil {
			os.Exit(1)
		}
	}
}

// child is the process; its members end with it.
type child struct {
	members  []*member
	watchers []*member
	watch    *watch
	loaded   *load
}

func (c *child) do(o order) (answer, error) {
	switch {
	case o.Make != nil:
		return answer{}, c.make(*o.Make)
	case o.Watch != "":
		return answer{}, c.begin(o.Watch)
	case o.Await:
		return c.await()
	case o.Usage:
		return answer{Usage: c.usage(o.Collect)}, nil
	case o.Load != nil:
		return answer{}, c.load(*o.Load)
	case o.Unload:
		return c.unload()
	}
	var a answer
	for _, m := range c.members {
		a.Members = append(a.Members, m.report())
	}
	return a, nil
}

func (c *child) make(cfg Config) error {
	ctx, cancel := context.WithTimeout(context.Background(), readyTimeout)
	defer cancel()
	for i, url := range cfg.URLs {
		m := &member{proofs: cfg.Proofs, nudged: make(chan struct{}, 1)}
		v, err := verifier.New(ctx, verifier.Config{Issuer: cfg.Issuer, Audience: "tocsin", Service: "resourcesvc", NATSURL: url},
			verifier.WithNATSCredentials(cfg.Credentials), verifier.WithMaxStaleness(cfg.Bound), verifier.WithInstance(fmt.Sprintf("fleet-%d-%d", os.Getpid(), i+1)),
			verifier.WithTokenCacheSize(cmp.Or(cfg.Tokens, 1<<10)), verifier.WithKeyCacheSize(1<<10), verifier.WithLogger(slog.New(m)))
		if err != nil {
			return err
		}
		m.verifier = v
		c.members = append(c.members, m)
		if cfg.watches(i) {
			c.watchers = append(c.watchers, m)
			go m.run()
		}
	}
	for _, m := range c.members {
		if err := m.verifier.WaitReady(ctx); err != nil {
			return err
		}
	}
	return nil
}

// watches reports whether a member is a watcher.
func (c Config) watches(i int) bool {
	n := len(c.URLs)
	return c.Watchers == 0 || c.Watchers >= n || (i+1)*c.Watchers/n > i*c.Watchers/n
}

func (c *child) usage(collect bool) (u Usage) {
	if collect {
		debug.FreeOSMemory()
	}
	var r syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &r) == nil {
		u.CPU = time.Duration(r.Utime.Nano() + r.Stime.Nano())
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	u.Heap, u.Applied = m.HeapAlloc+m.StackInuse, math.MaxUint64
	for _, one := range c.members {
		s := one.verifier.Stats()
		u.Proofs, u.Events, u.Reconnects = u.Proofs+s.Proofs, u.Events+s.Events, u.Reconnects+s.Reconnects
		for _, n := range s.CatchUps {
			u.CatchUps += n
		}
		if s.State == events.StateFresh {
			u.Fresh++
		}
		u.Applied, u.Revocations = min(u.Applied, s.Applied), max(u.Revocations, s.Revocations)
	}
	return u
}

// begin has every watcher accept the token, so that it is in the cache of each, and then look at it after each change.
func (c *child) begin(token string) error {
	w := &watch{credential: verifier.Bearer(token), times: make([]time.Time, len(c.watchers)), errors: make([]error, len(c.watchers))}
	for i, m := range c.watchers {
		if _, err := m.verifier.Verify(context.Background(), w.credential, nil); err != nil {
			return fmt.Errorf("verifier %d doesn't accept the token: %w", i+1, err)
		}
	}
	c.watch = w
	w.left.Add(len(c.watchers))
	for i, m := range c.watchers {
		m.set(&task{watch: w, place: i})
	}
	return nil
}

func (c *child) await() (answer, error) {
	done := make(chan struct{})
	go func() {
		c.watch.left.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(refuseTimeout):
		return answer{}, errors.New("a verifier still accepts what was revoked")
	}
	return answer{Refused: c.watch.times, Numbered: c.watchers[0].verifier.Stats().LastEvent}, errors.Join(c.watch.errors...)
}

// watch is one token that all members look at; task is one member's part.
type watch struct {
	credential verifier.Credential
	left       sync.WaitGroup
	times      []time.Time
	errors     []error
}

type task struct {
	*watch
	place int
}

// member is one verifier and the goroutine that looks at it whenever it has learned something, and at no other time: so
// looking costs a wake-up and a verification of 0.2 µs for each change, and is late by that wake-up only.
type member struct {
	verifier *verifier.Verifier
	proofs   bool
	nudged   chan struct{}

	mu   sync.Mutex
	task *task
	seen Member
	last uint64 // how many proofs it had accepted
}

func (m *member) set(t *task) {
	m.mu.Lock()
	m.task = t
	m.mu.Unlock()
	m.nudged <- struct{}{} // what came before is seen, too
}

func (m *member) run() {
	for {
		changed := verifiermodel.Changed(m.verifier)
		m.look()
		select {
		case <-changed:
		case <-m.nudged:
		}
	}
}

func (m *member) look() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.proofs {
		m.record()
	}
	if t := m.task; t != nil {
		if _, err := m.verifier.Verify(context.Background(), t.credential, nil); err != nil {
			t.times[t.place] = time.Now()
			if !errors.Is(err, verifier.ErrRevoked) {
				t.errors[t.place] = err
			}
			m.task = nil
			t.left.Done()
		}
	}
}

// record notes a new proof. The age is by the verifier's own clocks; a wall clock that is set meanwhile would spoil it.
func (m *member) record() {
	s, now := m.verifier.Stats(), time.Now()
	if s.Proofs == m.last {
		return
	}
	m.last = s.Proofs
	m.seen.Proofs = append(m.seen.Proofs, Proof{At: now, Asked: now.Add(-s.ProofAge)})
}

func (m *member) report() Member {
	m.mu.Lock()
	defer m.mu.Unlock()
	seen := m.seen
	m.seen = Member{}
	return seen
}

// A member takes its verifier's log, and of that when the connection went and came.

func (m *member) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelInfo }
func (m *member) WithAttrs([]slog.Attr) slog.Handler               { return m }
func (m *member) WithGroup(string) slog.Handler                    { return m }

func (m *member) Handle(_ context.Context, r slog.Record) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch r.Message {
	case "disconnected from NATS":
		m.seen.Lost = append(m.seen.Lost, r.Time)
	case "connected to NATS again":
		m.seen.Found = append(m.seen.Found, r.Time)
	}
	return nil
}
