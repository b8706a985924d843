package feed

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/tocsin-auth/tocsin/authsvc/internal/defect"
	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/pkg/events"
)

// Journal is where events are numbered. [store.DB] is one; what its methods promise, every other must.
type Journal interface {
	AcquireFeed(ctx context.Context, r store.LeaseRequest) (store.Lease, error)
	NumberEvents(ctx context.Context, r store.NumberRequest) (store.Numbered, error)
	FeedRange(ctx context.Context, issuer, epoch string, from, to uint64) (prev events.Hash, rows []store.FeedRow, err error)
	ReleaseFeed(ctx context.Context, term int64) error
	FinishImport(ctx context.Context, term int64) error
}

// Bus carries what the dispatcher signs. Its methods MUST NOT block, but Flush, which ends with its context.
type Bus interface {
	// Live publishes on core NATS.
	Live(t events.Type, m Message) error
	// Flush returns nil once the bus has everything that Live was given. It fails while the bus is away, and with
	// [ErrUnanswering] while Answer reaches nobody.
	Flush(ctx context.Context) error
	// Store publishes to the stream and calls done once, from any goroutine: with the stream sequence of a PubAck, or
	// with an error when it is unknown whether the message was stored.
	Store(t events.Type, m Message, done func(streamSeq uint64, err error))
	// Answer answers a proof request.
	Answer(r Request, m Message) error
}

// Clock tells the time by which waiting is measured; it MUST be monotonic. It decides nothing about freshness.
type Clock interface{ Now() time.Time }

// Message is what goes over the bus, with its two header values; of a compact page, Form is the third.
type Message struct {
	Body           []byte
	Key, Signature string
	Form           string
}

// Request is a proof request that has arrived.
type Request struct {
	Service string
	Body    []byte
	Proof   events.ProofRequest // decoded from Body
	Arrived time.Time
	Reply   any // the bus's own
}

// Durations of the lease and of the dispatcher's patience.
const (
	leaseLife = time.Second
	// aloneLife is the lease of who needs it for nobody: renewing it costs a flush to disk.
	aloneLife = time.Minute
	// patience bounds one call of the journal or the bus.
	patience = 1500 * time.Millisecond
	// requestLife is how old a request may be that is still answered: the bus permits answers for two seconds, and
	// whoever asked has asked again by then.
	requestLife = 1500 * time.Millisecond
	// rangeSize is how many events are read from the journal at once.
	rangeSize = events.MaxBatchEvents
)

// DispatcherConfig is what a [Dispatcher] needs; every field is required unless it says otherwise.
type DispatcherConfig struct {
	Journal Journal
	Bus     Bus
	Clock   Clock
	Signer  func() *events.Signer
	Issuer  string
	// Instance names this process; two processes MUST NOT share it.
	Instance string
	// Alone says that no other dispatcher can be alive on this journal.
	Alone bool
	// Acked is called when the bus has settled a stored message, so that [Dispatcher.Pump] is due. It may be called from
	// any goroutine and MUST NOT block. Optional.
	Acked func()
	Log   *slog.Logger
}

// Dispatcher is one candidate for the lease. It owns no goroutine: somebody calls [Dispatcher.Step] and
// [Dispatcher.Pump]. But for Stats and WantAck, its methods MUST NOT be called at the same time.
type Dispatcher struct {
	cfg DispatcherConfig
	// known is the last position that this process has seen committed, or has evidence of.
	known store.FeedPosition
	// tailKey is the kid of the stream's last message, which this process couldn't verify; askTailKey says that no term has begun
	// since it was seen.
	tailKey    string
	askTailKey bool
	term       *term // nil: not the holder
	// flushed is when the bus last took all that it was given; zero after it failed. It must have done so lately before
	// anything is numbered, so that a dispatcher which can't publish doesn't renew its lease.
	flushed  time.Time
	stream   stream
	changed  bool // the stream had another configuration, and wasn't filled again since
	progress *progress
	wantAck  atomic.Bool
	heldFor  time.Duration // how long another holder's lease goes on, when it was last looked at
	blind    bool          // the stream's end wasn't seen yet
	// Of an import: since when it hasn't got on, whether its end isn't waited for any more, and a sign that it got on.
	waiting time.Time
	gaveUp  bool
	gotOn   atomic.Bool
	stats   counters
}

// term is what the holder of the lease knows.
type term struct {
	number    int64
	at        store.FeedPosition // after the last numbering transaction
	floor     uint64
	live      uint64 // next seq to go out on core
	marked    uint64 // last seq that the journal knows as published
	published uint64 // last seq up to which all were flushed on core and stored in the stream
	carryOver bool
	// streamKey is the kid that the stream can be read with from floor to head, recordedKey what the journal says of it.
	streamKey, recordedKey string
	// importFrom is since when the stream is to be read for what the database has lost, which follows importAfter; 0: it isn't.
	importFrom  int64
	importAfter store.FeedPlace
}

// NewDispatcher returns a dispatcher that doesn't hold the lease.
func NewDispatcher(cfg DispatcherConfig) *Dispatcher {
	if cfg.Acked == nil {
		cfg.Acked = func() {}
	}
	return &Dispatcher{cfg: cfg, progress: newProgress()}
}

// WantAck makes the next events that are numbered go out with ack:true.
func (d *Dispatcher) WantAck() { d.wantAck.Store(true) }

// Stats returns a look at the dispatcher. It may be called at any time.
func (d *Dispatcher) Stats() Stats { return d.stats.snapshot() }

// Step does one round: it takes the lease if nobody has it, numbers what is committed, publishes it on core, answers the
// requests, and goes on with the stream. The requests MUST have arrived before the call. [store.ErrLeaseHeld] means that
// another process is the dispatcher. After any error the requests are unanswered and Step may be called again.
func (d *Dispatcher) Step(ctx context.Context, requests []Request) error {
	if d.term == nil || d.cfg.Clock.Now().Sub(d.flushed) > leaseLife/2 {
		if err := d.flush(ctx); errors.Is(err, ErrUnanswering) && d.term != nil {
			d.cfg.Log.Error("this process can't answer; it gives the lease to who can", "error", err)
			return errors.Join(err, d.Resign(ctx))
		} else if err != nil {
			return err
		}
	}
	if d.term == nil {
		if err := d.acquire(ctx); err != nil {
			return err
		}
	}
	n, err := d.advance(ctx, largestBound(requests))
	if err != nil {
		return err
	}
	if !d.withhold(d.term.importFrom) {
		d.answer(n, requests)
	}
	return d.Pump(ctx)
}

func largestBound(requests []Request) int64 {
	var b int64
	for _, r := range requests {
		b = max(b, r.Proof.Bound)
	}
	return b
}

func (d *Dispatcher) acquire(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	request := store.LeaseRequest{Holder: d.cfg.Instance, Issuer: d.cfg.Issuer, Life: d.life(), Alone: d.cfg.Alone, Known: d.known}
	if d.askTailKey {
		request.TailKey = d.tailKey
	}
	lease, err := d.cfg.Journal.AcquireFeed(ctx, request)
	if errors.Is(err, store.ErrLeaseHeld) {
		d.watch(lease)
		return err
	}
	if err != nil {
		return err
	}
	d.begin(lease)
	return nil
}

func (d *Dispatcher) life() time.Duration {
	if d.cfg.Alone {
		return aloneLife
	}
	return leaseLife
}

// watch follows the feed under another holder, so that a takeover knows what the database must hold.
func (d *Dispatcher) watch(l store.Lease) {
	if l.Epoch > d.known.Epoch || (l.Epoch == d.known.Epoch && l.Head > d.known.Head) {
		d.known = l.FeedPosition
	}
	d.heldFor = time.Duration(l.Until-l.Now) * time.Microsecond
	d.progress.see(l.Epoch, l.Head, l.MaxBound)
	behind := d.known.Epoch > l.Epoch || (d.known.Epoch == l.Epoch && d.known.Head > l.Head)
	if behind { // its holder will find out too
		d.withhold(1)
	} else {
		d.withhold(l.ImportFrom)
	}
	d.stats.standby(l) // after that: by an epoch a start knows that it may answer, see [Feed.Settled]
}

func (d *Dispatcher) begin(l store.Lease) {
	if d.askTailKey && !l.Opened {
		d.cfg.Log.Warn("the stream's last message is damaged, or was signed by a key that was dropped: what is missing there is sent again")
	}
	d.known, d.askTailKey = l.FeedPosition, false
	d.term = &term{number: l.Term, at: l.FeedPosition, floor: l.Floor, live: l.Unpublished,
		marked: l.Unpublished - 1, published: l.Unpublished - 1, carryOver: true,
		importFrom: l.ImportFrom, importAfter: l.ImportAfter}
	d.term.recordedKey = l.StreamKey
	d.term.streamKey = cmp.Or(l.StreamKey, d.cfg.Signer().KeyID()) // "": nothing was ever published
	d.stream.reset(l.Unpublished)
	if l.Unpublished > l.Head {
		d.streamAway(publishing, nil) // there is nothing to try it with
	}
	d.progress.see(l.Epoch, l.Head, l.MaxBound)
	d.progress.begin(l.Term, d.cfg.Clock.Now(), l.First)
	d.withhold(l.ImportFrom)
	d.stats.began(l) // after that, see watch
	d.cfg.Log.Info("this process is the dispatcher", "term", l.Term, "epoch", l.Epoch, "head", l.Head,
		"unpublished_from", l.Unpublished)
	if l.Opened && !l.First {
		d.cfg.Log.Warn("opened a new epoch", "epoch", l.Epoch, "cause", l.Cause)
	}
}

// advance numbers and publishes until a numbering transaction has left nothing unnumbered and everything up to its head
// is out on core: only that one may be proven from.
func (d *Dispatcher) advance(ctx context.Context, bound int64) (store.Numbered, error) {
	for {
		n, err := d.number(ctx, bound)
		if err != nil {
			d.lose(err)
			return n, err
		}
		if err := d.publishNext(ctx, n); err != nil {
			return n, err
		}
		if !n.More && d.term.live > n.Head {
			return n, nil
		}
	}
}

func (d *Dispatcher) number(ctx context.Context, bound int64) (store.Numbered, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	t := d.term
	r := store.NumberRequest{Term: t.number, At: t.at, Life: d.life(), Bound: bound, CarryOver: t.carryOver}
	if t.published > t.marked {
		r.PublishedTo = t.published
	}
	if t.streamKey != t.recordedKey {
		r.StreamKey = t.streamKey
	}
	n, err := d.cfg.Journal.NumberEvents(ctx, r)
	if err != nil {
		return n, err
	}
	t.at, t.floor, t.carryOver = n.FeedPosition, n.Floor, t.carryOver && n.More
	t.marked = max(t.marked, r.PublishedTo)
	t.recordedKey = t.streamKey
	d.known = t.at
	d.progress.see(n.Epoch, n.Head, n.MaxBound)
	d.stats.numbered(n, t.marked)
	return n, nil
}

// lose gives the term up: whether the last transaction was committed is unknown, so a new term looks at what there is.
func (d *Dispatcher) lose(err error) {
	d.giveUp()
	switch {
	case errors.Is(err, context.Canceled):
	case errors.Is(err, store.ErrFenced):
		d.cfg.Log.Info("another process is the dispatcher now")
	case errors.Is(err, store.ErrRegressed):
		d.withhold(1)
		d.cfg.Log.Error("the database has lost commits; this term is over", "error", err)
	default:
		d.cfg.Log.Warn("numbering failed; this term is over", "error", err)
	}
}

func (d *Dispatcher) giveUp() {
	d.term = nil
	d.progress.end()
	d.stats.lost()
}

// publishNext sends the next stretch of events that core hasn't had: those that were just numbered, or earlier ones.
func (d *Dispatcher) publishNext(ctx context.Context, n store.Numbered) error {
	t := d.term
	if t.live > n.Head {
		return nil
	}
	defect.Reach(defect.Numbered)
	rows := n.Rows
	var prev events.Hash
	if len(rows) > 0 && rows[0].Seq == t.live {
		prev = n.Prev
	} else {
		var err error
		if prev, rows, err = d.read(ctx, t.live, n.Head); err != nil {
			return err
		}
	}
	ack := d.wantAck.Swap(false) || d.progress.fleetAwaited()
	batches, err := d.cut(prev, rows, ack)
	if err != nil {
		return err
	}
	for _, b := range batches {
		if err := d.cfg.Bus.Live(b.typ, b.message); err != nil {
			d.flushed = time.Time{}
			return err
		}
	}
	if err := d.flush(ctx); err != nil {
		return err
	}
	defect.Reach(defect.Live)
	t.live = rows[len(rows)-1].Seq + 1
	d.stream.offer(batches)
	return nil
}

func (d *Dispatcher) read(ctx context.Context, from, to uint64) (events.Hash, []store.FeedRow, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return d.cfg.Journal.FeedRange(ctx, d.cfg.Issuer, d.term.at.Epoch, from, min(to, from+rangeSize-1))
}

func (d *Dispatcher) flush(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	d.flushed = time.Time{}
	err := d.cfg.Bus.Flush(ctx)
	if err == nil {
		d.flushed = d.cfg.Clock.Now()
	}
	return err
}

// Resign gives the lease back, so that another process needn't wait for its end.
func (d *Dispatcher) Resign(ctx context.Context) error {
	if d.term == nil {
		return nil
	}
	number := d.term.number
	d.giveUp()
	return d.cfg.Journal.ReleaseFeed(ctx, number)
}
