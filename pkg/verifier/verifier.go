package verifier

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/cache"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/clock"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/follower"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/link"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/quota"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/revset"
)

// feed is what the checks need of the link: how far this process knows, and whom it trusts.
type feed interface {
	Fresh() *follower.Freshness
	Keys() *link.TokenKeys
	RefreshKeys(ctx context.Context, kid string) error
	Request(ctx context.Context, kind events.Kind, subject string, body []byte) ([]byte, error)
}

// connection is the rest of the link. Tests put a fake in the place of both.
type connection interface {
	feed
	SetBounds(smallest, largest time.Duration)
	Ready(bound time.Duration) error
	Tell(subject string, body []byte) error
	Stats() link.Stats
	Close() error
}

// Verifier decides credentials. Make one for each process with [New]; it is safe for concurrent use.
type Verifier struct {
	issuer, audience, service, instance string

	realm string
	mode  events.Mode
	base  Route // no requirements, the verifier's bound and policy

	clock clock.Clock
	set   *revset.Set
	link  connection

	tokens     *cache.Cache[holding, tokenRoom]
	keys       *cache.Cache[holding, keyRoom]
	unknown    *cache.Cache[unknown, keyRoom]
	generation atomic.Uint64 // raised when the feed leaps: resolutions of an earlier one are void
	flights    singleflight.Group
	verifying  chan struct{} // a place for each signature that is being verified
	resolving  chan struct{} // a place for each resolution in flight
	asking     chan struct{} // a place for each question under the policy Ask

	lives *lives // the long answers in progress

	quotas  *quota.Meter
	account *account // asks about them
	uses    uses     // of API keys that authsvc hasn't been told of

	boundMu  sync.Mutex
	smallest time.Duration // of all routes' bounds; guarded by boundMu

	counters *counters
	news     bell // rung by the link after each change

	life   context.Context // ends with Close
	cancel context.CancelFunc
	mu     sync.Mutex
	closed bool // guarded by mu; no goroutine begins after it
	tasks  sync.WaitGroup
}

// New returns a verifier that works from then on in the background. It doesn't wait for the network: NATS and authsvc
// may come later, and until the first proof every request is refused with [ErrStale]. Errors are of the configuration
// only and wrap [ErrConfig]. Of ctx the values are used; the verifier lives until [Verifier.Close].
func New(ctx context.Context, cfg Config, opts ...Option) (*Verifier, error) {
	s, err := newSettings(cfg, opts)
	if err != nil {
		return nil, err
	}
	v := newVerifier(ctx, s, clock.System(), revset.New())
	l, err := link.Start(link.Config{
		Issuer: s.Issuer, Service: s.Service, Instance: s.instance, URL: s.NATSURL, Credentials: s.credentials,
		NATSOptions: s.natsOptions, FeedKeysFile: s.feedKeysFile, HTTPClient: s.httpClient,
		Smallest: s.bound, Largest: s.bound, Clock: v.clock, Set: v.set,
		Skipped: v.forgetKeys, Changed: v.news.ring, Log: s.log,
	})
	if err != nil {
		v.cancel()
		return nil, err
	}
	v.run(l)
	return v, nil
}

// newVerifier makes everything but the link and the goroutines.
func newVerifier(ctx context.Context, s *settings, c clock.Clock, set *revset.Set) *Verifier {
	v := &Verifier{
		issuer: s.Issuer, audience: s.Audience, service: s.Service, instance: s.instance, realm: s.Service, mode: s.mode,
		base: Route{bound: s.bound, policy: s.policy}, smallest: s.bound, clock: c, set: set,
		tokens: cache.New[holding, tokenRoom](s.tokens), keys: cache.New[holding, keyRoom](s.keys), unknown: cache.New[unknown, keyRoom](unknownKeys),
		verifying: make(chan struct{}, runtime.GOMAXPROCS(0)), resolving: make(chan struct{}, resolveLimit), asking: make(chan struct{}, s.askLimit),
		lives: newLives(s.askLimit), quotas: quota.NewMeter(), account: newAccount(), counters: new(counters),
	}
	v.life, v.cancel = context.WithCancel(context.WithoutCancel(ctx))
	return v
}

// run takes the link over and starts the verifier's own goroutines, which end with Close.
func (v *Verifier) run(l connection) {
	v.link = l
	v.tasks.Go(v.tend)
	v.tasks.Go(v.watch)
}

// forgetKeys voids all resolutions, those in flight included.
func (v *Verifier) forgetKeys() { v.generation.Add(1) }

// begin reports whether a goroutine that isn't the verifier's own may start work for it; if so, call end after it.
func (v *Verifier) begin() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed {
		return false
	}
	v.tasks.Add(1)
	return true
}

func (v *Verifier) end() { v.tasks.Done() }

// Close ends the verifier, and waits for its goroutines and its connection to end. Requests that are being verified are
// refused, or decided on the knowledge of that moment. Long answers end with [ErrStale]. It may be called more than once.
func (v *Verifier) Close() error {
	v.mu.Lock()
	first := !v.closed
	v.closed = true
	v.mu.Unlock()
	if first {
		v.account.end()
	}
	v.cancel()
	var err error
	if first {
		v.tellLastUses()
		err = v.link.Close()
	}
	v.tasks.Wait()
	return err
}

// Ready returns nil while ordinary requests are decided: the verifier is complete and fresh, or its policy is
// [ServeStale] and still serves. Otherwise the error says what is missing.
func (v *Verifier) Ready() error { return v.link.Ready(max(v.base.bound, v.base.policy.serveFor())) }

// WaitReady waits until Ready returns nil. It returns the error of ctx, with what was missing, if that ends first.
func (v *Verifier) WaitReady(ctx context.Context) error {
	for {
		heard := v.news.wait()
		err := v.Ready()
		if err == nil {
			return nil
		}
		select {
		case <-heard:
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		case <-v.life.Done():
			return fmt.Errorf("verifier closed: %w", err)
		}
	}
}

// tendInterval is how often caches are swept and resolutions are looked through.
const tendInterval = 5 * time.Second

// tend gives the memory of dead entries back and keeps resolutions alive.
func (v *Verifier) tend() {
	ticker := time.NewTicker(tendInterval)
	defer ticker.Stop()
	tell := roundsUntilTold()
	for {
		select {
		case <-ticker.C:
		case <-v.life.Done():
			return
		}
		v.tokens.Sweep(v.clock.Now().Micros())
		v.tendKeys(v.life)
		if tell--; tell <= 0 {
			v.tellUses(v.clock.Now())
			tell = roundsUntilTold()
		}
	}
}

// bell tells any number of waiters that something changed.
type bell struct {
	mu sync.Mutex
	ch chan struct{} // nil while nobody waits
}

// wait returns a channel that the next ring closes.
func (b *bell) wait() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ch == nil {
		b.ch = make(chan struct{})
	}
	return b.ch
}

func (b *bell) ring() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ch != nil {
		close(b.ch)
		b.ch = nil
	}
}
