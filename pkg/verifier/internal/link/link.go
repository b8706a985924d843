package link

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/clock"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/follower"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/revset"
)

var (
	// ErrConfig is wrapped by every error of [Start].
	ErrConfig = errors.New("bad configuration")
	// ErrUnavailable means that no valid answer came: no connection, no responder, time-out, busy, bad signature.
	// Nothing may be concluded from it; the caller MUST refuse.
	ErrUnavailable = errors.New("auth unavailable")
)

// Config is what a link needs; fields without "default" are required.
type Config struct {
	Issuer, Service, Instance string
	// URL is a NATS URL list.
	URL string
	// Credentials is a file with an NKey seed (.nk) or a .creds file; default none.
	Credentials string
	// NATSOptions are applied last; default none.
	NATSOptions []nats.Option
	// FeedKeysFile pins the feed keys; default: fetched from the issuer.
	FeedKeysFile string
	// HTTPClient fetches the feed keys; default one with short time-outs. Redirects are never followed.
	HTTPClient *http.Client
	// Smallest and Largest staleness bound of any route; see [Link.SetBounds].
	Smallest, Largest time.Duration
	Clock             clock.Clock
	Set               *revset.Set
	// Skipped MUST empty the caches of resolved API keys before it returns. It MUST NOT call the link.
	Skipped func()
	// Changed, if given, is called after the set, the keys or freshness changed. It MUST NOT block.
	Changed func()
	Log     *slog.Logger
}

// Link joins the verifier to authsvc over NATS. All methods are safe for concurrent use.
type Link struct {
	cfg      Config
	log      *slog.Logger
	follower *follower.Follower
	feedKeys *feedKeys
	tokens   tokenKeys
	catchUps catchUps
	cadence  cadence
	session  session
	counts   counts
	// complaints are what NATS refuses since the last connection.
	complaints complaints
	// propagated is a measurement only; nothing is decided by it.
	propagated propagation

	ctx    context.Context
	cancel context.CancelFunc
	tasks  sync.WaitGroup // every goroutine of the link
	wake   chan struct{}  // the owner should look around
	bus    atomic.Pointer[bus]
	dial   func(context.Context) (bus, error)

	renew     atomic.Bool // subscriptions are new on the server: flush, then ask
	forgotten time.Time   // when the set was last told to forget; owner only
	state     events.State
}

type counts struct {
	reconnects, bad, slow atomic.Uint64
	connectedAt           atomic.Int64 // by the boot-time clock
}

// Start checks the configuration and returns at once; NATS and authsvc may be away. Close it.
func Start(cfg Config) (*Link, error) {
	options, err := natsOptions(cfg)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	source, err := newSource(cfg)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	l := newLink(cfg, source)
	l.dial = func(ctx context.Context) (bus, error) { return dialNATS(ctx, cfg.URL, options, l.noticed) }
	l.tasks.Go(l.own)
	return l, nil
}

// newLink makes everything but the connection and the goroutines.
func newLink(cfg Config, source source) *Link {
	l := &Link{cfg: cfg, log: cfg.Log, wake: make(chan struct{}, 1), state: events.StateStarting}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	l.session.begin(l.ctx)
	l.feedKeys = newFeedKeys(cfg.Issuer, source, cfg.Log)
	l.tokens.init()
	l.catchUps.manyFrom = manyFrom
	l.propagated.init(cfg.Largest)
	l.cadence.setBounds(cfg.Smallest)
	l.follower = follower.New(follower.Config{
		Instance: cfg.Instance, StartNonce: events.NewNonce(), Bound: cfg.Largest,
		Apply: func(all []events.Event) []uint64 {
			return cfg.Set.ApplyAll(all, func() int64 { return l.Fresh().KeysUntil(cfg.Clock.Now()) })
		},
		KeySetHash: func() events.Hash { return l.Keys().Hash },
		Skipped:    cfg.Skipped,
		Arrived:    func(at int64) { l.propagated.arrived(at, cfg.Clock.Now()) },
	})
	return l
}

// Close ends all goroutines and the connection, and waits for them. It may be called more than once.
func (l *Link) Close() error {
	l.tokens.mu.Lock() // so that no caller of RefreshKeys begins a goroutine from here on
	l.cancel()
	l.tokens.mu.Unlock()
	l.tasks.Wait()
	return nil
}

// Fresh returns the last accepted proof, nil before the first.
func (l *Link) Fresh() *follower.Freshness { return l.follower.Fresh() }

// SetBounds tells the smallest and largest staleness bound of all routes.
func (l *Link) SetBounds(smallest, largest time.Duration) {
	l.cadence.setBounds(smallest)
	l.follower.SetBound(largest)
	l.rouse()
}

// rouse wakes the owner. One waiting call is as good as many.
func (l *Link) rouse() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

func (l *Link) changed() {
	if l.cfg.Changed != nil {
		l.cfg.Changed()
	}
}

// connection returns the bus, or nil before the first connection was tried.
func (l *Link) connection() bus {
	if b := l.bus.Load(); b != nil {
		return *b
	}
	return nil
}
