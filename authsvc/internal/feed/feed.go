package feed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/tocsin-auth/tocsin/authsvc/internal/defect"
	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/pkg/events"
)

const (
	// tickEvery is the backstop for a nudge that didn't come, and how often a standby looks at the lease at least.
	tickEvery = 250 * time.Millisecond
	// retryEvery is when a round that failed is tried again: the fleet waits for it, and while the bus is away it costs nothing.
	retryEvery = 100 * time.Millisecond
	// roundEvery is how long proof requests may wait for others to share a round with, whose transaction costs as much as some
	// ten answers. A verifier counts from its question, so it loses nothing by waiting; events never wait.
	roundEvery = 20 * time.Millisecond
	// moreEvery is when the next round comes for those that found no place in one: a flood mustn't take all of a core.
	moreEvery = 2 * time.Millisecond
	// inspectEvery is how often the stream is looked at.
	inspectEvery = time.Second
	// housekeepingEvery is how often lapsed events are pruned.
	housekeepingEvery = 15 * time.Second
	// answersPerStep bounds the proofs of one round, and with them how long an event has to wait that is committed just when a
	// large fleet asks: an answer takes some 30 µs, so these take 4 ms, less where there are CPUs to sign on.
	answersPerStep = 128
	// pendingProofs bounds the proof requests that the NATS client keeps for us, of all services together. They wait there
	// only until they are sorted by service, which takes less than it takes to bring them.
	pendingProofs = 1 << 17
)

// Config is what [Start] needs; every field is required unless it says otherwise.
type Config struct {
	DB *store.DB
	// Feed publishes, Reply answers; both may be away at the start.
	Feed, Reply *nats.Conn
	// FeedUp and ReplyUp report whether they are connected, without waiting. Default: what they say, which may wait.
	FeedUp, ReplyUp func() bool
	// Granted returns nil once the bus has taken all that Reply has subscribed to, and an error while it doesn't let proof
	// requests or answers through. Default: it is flushed.
	Granted func(context.Context) error
	Issuer  string
	// Instance names this process; two processes MUST NOT share it. Default: random.
	Instance string
	// Signer returns the feed key to sign with now, Keys those that are valid.
	Signer func() *events.Signer
	Keys   func() events.KeySet
	// Replicas is how many servers keep the stream. Default: 1.
	Replicas int
	// MaxAge is how long the stream keeps messages. Default: [DefaultMaxAge].
	MaxAge time.Duration
	// Housekeeping is called now and then while this process is the dispatcher. Optional.
	Housekeeping func(context.Context) error
	// Restored is called after what the database had lost was imported from the stream, with the hashes of token keys that each
	// epoch announced last since the backup: none where nothing did. While it returns an error it is called again. Optional.
	Restored func(ctx context.Context, keys []events.Hash) error
	Log      *slog.Logger
}

// Feed drives a [Dispatcher] with NATS, and has what else knows about the feed in this process. It is safe for concurrent
// use.
type Feed struct {
	// Fleet knows the verifiers, Receipts waits for events to travel, Pages serves snapshots.
	Fleet    *Fleet
	Receipts *Receipts
	Pages    *Pages

	cfg        Config
	bus        *natsBus
	dispatcher *Dispatcher // of the goroutine run
	progress   *progress
	roll       *rollCall
	arrivals   arrivals
	inbox      inbox

	// wake is for events, arrived for proof requests to be decoded, asked for those to be answered, acked for PubAcks, and
	// unheard makes listen look at once.
	wake, arrived, asked, acked, unheard chan struct{}
	observed                             chan observation
	imported                             chan imported
	floodTold                            time.Time   // of the callback onProof
	looked                               atomic.Bool // at the stream's end, or in vain
	subs                                 []*nats.Subscription
	proofs                               *nats.Subscription
	heard                                struct { // of Start, then of the goroutine listen
		link   link
		intact bool
	}
	ear     ear
	stop    context.CancelFunc
	running sync.WaitGroup
}

// observation is the outcome of one look at the stream.
type observation struct {
	state StreamState
	err   error
}

type systemClock struct{}

func (systemClock) Now() time.Time { return time.Now() }

// Start begins to listen, to compete for the lease and, while holding it, to dispatch, until Close. ctx bounds the start
// only.
func Start(ctx context.Context, cfg Config) (*Feed, error) {
	if cfg.Instance == "" {
		cfg.Instance = events.NewNonce()
	}
	if cfg.FeedUp == nil {
		cfg.FeedUp = cfg.Feed.IsConnected
	}
	if cfg.ReplyUp == nil {
		cfg.ReplyUp = cfg.Reply.IsConnected
	}
	if cfg.Granted == nil {
		cfg.Granted = cfg.Reply.FlushWithContext
	}
	bus, err := newNATSBus(cfg)
	if err != nil {
		return nil, fmt.Errorf("feed: %w", err)
	}
	f := &Feed{cfg: cfg, bus: bus, wake: make(chan struct{}, 1), arrived: make(chan struct{}, 1), asked: make(chan struct{}, 1), acked: make(chan struct{}, 1), observed: make(chan observation, 1),
		imported: make(chan imported, 1), unheard: make(chan struct{}, 1)}
	f.bus.answering = f.answering
	f.dispatcher = NewDispatcher(DispatcherConfig{
		Journal: cfg.DB, Bus: bus, Clock: systemClock{}, Signer: cfg.Signer, Issuer: cfg.Issuer, Instance: cfg.Instance,
		Alone: cfg.DB.Engine() == store.SQLite, // whose data directory is locked by one process
		Acked: func() { signal(f.acked) }, Log: cfg.Log,
	})
	f.progress = f.dispatcher.progress
	f.Fleet = newFleet(systemClock{}, f.progress)
	f.roll = newRollCall(f.Fleet, f.tell)
	f.Receipts = &Receipts{events: cfg.DB, fleet: f.Fleet, progress: f.progress, roll: f.roll}
	f.Pages = NewPages(cfg.DB, cfg.Signer, cfg.Issuer)
	if err := f.subscribe(); err != nil {
		return nil, errors.Join(fmt.Errorf("feed: %w", err), f.unsubscribe())
	}
	f.hear(ctx)
	var running context.Context
	running, f.stop = context.WithCancel(context.WithoutCancel(ctx))
	f.running.Go(func() { f.run(running) })
	f.running.Go(func() { f.listen(running) })
	f.running.Go(func() { f.decode(running) })
	f.running.Go(func() { f.keepHouse(running) })
	f.running.Go(func() { f.Pages.keepReady(running) })
	return f, nil
}

// Close stops dispatching and gives the lease back.
func (f *Feed) Close(ctx context.Context) error {
	err := f.unsubscribe()
	f.stop()
	f.running.Wait()
	if f.Holding() {
		err = errors.Join(err, f.dispatcher.Resign(ctx))
		f.cfg.Log.Info("this process was the dispatcher; it gives the lease back")
		f.tell(nudge{Free: true})
	}
	f.bus.js.CleanupPublisher()
	return err
}

// Nudge tells the dispatcher, wherever it is, that an event was committed. It doesn't block.
func (f *Feed) Nudge() {
	defect.Reach(defect.Committed)
	if f.Holding() {
		signal(f.wake)
		// Or the dispatcher begins only when the caller waits for something: on SQLite, which runs in this process, 0.1 ms later,
		// and several when it is at work.
		runtime.Gosched()
		return
	}
	f.tell(nudge{Ack: f.progress.fleetAwaited()})
}

// Holding reports whether this process is the dispatcher, as far as it knows.
func (f *Feed) Holding() bool { return f.dispatcher.Stats().Holding }

// Settled reports whether the database can be trusted to hold all that it ever held: the stream was looked at, somebody
// dispatches, and no import is waited for. It gives up where the dispatcher does.
func (f *Feed) Settled() bool {
	s := f.dispatcher.Stats()
	return f.looked.Load() && s.Epoch != "" && !s.Withheld
}

// Withheld reports whether proofs wait for an import.
func (f *Feed) Withheld() bool { return f.dispatcher.Stats().Withheld }

// Stats returns a look at the dispatcher, and counts the fleet.
func (f *Feed) Stats() Stats {
	s := f.dispatcher.Stats()
	s.Verifiers, s.Waiting = f.Fleet.byState(), int(f.Receipts.waiting.Load())
	return s
}

// signal wakes a goroutine that will look at everything there is, so one signal waiting is enough.
func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

func (f *Feed) subscribe() error {
	var err error
	if f.proofs, err = f.cfg.Reply.Subscribe(events.ProofSubject("*"), f.onProof); err != nil {
		return fmt.Errorf("listen for proof requests: %w", err)
	}
	f.subs = append(f.subs, f.proofs)
	if err := f.proofs.SetPendingLimits(pendingProofs, 64<<20); err != nil {
		return err
	}
	nudges, err := f.cfg.Feed.Subscribe(events.SubjectNudge, f.onNudge)
	if err != nil {
		return fmt.Errorf("listen for nudges: %w", err)
	}
	f.subs = append(f.subs, nudges)
	return nil
}

func (f *Feed) unsubscribe() error {
	var errs []error
	for _, sub := range f.subs {
		if err := sub.Unsubscribe(); !errors.Is(err, nats.ErrConnectionClosed) && !errors.Is(err, nats.ErrBadSubscription) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// onProof takes one proof request. It does as little as it can, since it is called for those of all services in the order
// in which they come.
func (f *Feed) onProof(m *nats.Msg) {
	service := strings.TrimPrefix(m.Subject, events.ProofSubject(""))
	if !events.ValidService(service) || !events.ValidReply(m.Reply) {
		return
	}
	if displaced := f.arrivals.add(service, arrival{message: m, at: time.Now()}); displaced > 0 {
		f.dispatcher.stats.displaced(displaced)
		f.tellFlood(service)
	}
	signal(f.arrived)
}

// tellFlood names who floods, at most once a minute. It belongs to onProof, whose calls come one after the other.
func (f *Feed) tellFlood(service string) {
	if now := time.Now(); now.Sub(f.floodTold) > time.Minute {
		f.floodTold = now
		f.cfg.Log.Warn("a service sends more proof requests than its queue holds; its own are given up", "service", service)
	}
}

// decode takes the requests that have arrived, one of each service in turn, until ctx ends.
func (f *Feed) decode(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.arrived:
		}
		for ctx.Err() == nil {
			service, one, ok := f.arrivals.take()
			if !ok {
				break
			}
			f.onRequest(service, one)
		}
	}
}

// onRequest decodes one. Every replica does so with all of them, for its fleet; the dispatcher answers.
func (f *Feed) onRequest(service string, one arrival) {
	proof, err := events.DecodeProofRequest(one.message.Data)
	if err != nil {
		f.cfg.Log.Debug("bad proof request", "service", service, "error", err)
		return
	}
	r := Request{Service: service, Body: one.message.Data, Proof: proof, Arrived: one.at, Reply: one.message}
	if !f.Fleet.Hear(r) {
		return
	}
	if f.progress.fleetAwaited() {
		f.progress.wake()
	}
	if f.inbox.add(r) && f.Holding() {
		signal(f.asked)
	}
}

func (f *Feed) onNudge(m *nats.Msg) {
	n, err := decodeNudge(m.Data)
	if err != nil || n.From == f.cfg.Instance {
		return
	}
	switch {
	case n.Published > 0:
		f.progress.publish(n.Epoch, n.Published)
		return
	case n.Roll != nil:
		f.onRoll(*n.Roll, n.From)
		return
	}
	if n.Ack {
		f.dispatcher.WantAck()
	}
	if n.Free || f.Holding() {
		signal(f.wake)
	}
}

func (f *Feed) onRoll(r roll, from string) {
	switch r.To {
	case "":
		f.roll.answer(r, from)
	case f.cfg.Instance:
		f.roll.hear(r)
		f.progress.wake()
	}
}

// tell nudges the other replicas. It is only ever to make things faster.
func (f *Feed) tell(n nudge) {
	n.From = f.cfg.Instance
	if err := f.bus.nudge(n); err != nil {
		f.cfg.Log.Debug("no nudge", "error", err)
	}
}
