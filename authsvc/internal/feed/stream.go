package feed

import (
	"context"
	"sync"
	"time"

	"github.com/tocsin-auth/tocsin/authsvc/internal/defect"
	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/pkg/events"
)

const (
	// streamWindow is how many messages to the stream may be unacknowledged.
	streamWindow = 32
	// streamRetry is how long to wait after the stream didn't take a message.
	streamRetry = 250 * time.Millisecond
	// readyLimit bounds the messages that are kept until the window has room; later ones are read from the journal again.
	readyLimit = 256
)

// stream sends the feed to the stream, in order and beside everything else: it goes back to the first message that was
// not acknowledged. Duplicates in the stream are harmless, holes are not.
type stream struct {
	next   uint64    // first seq that isn't in the window
	ready  []batch   // messages from next on; empty: read them from the journal
	window []*parcel // unacknowledged messages, in order

	retryAt time.Time
	slow    bool // after a failure one message at a time is tried
	// lastSeq is the stream sequence of the last PubAck, 0 when unknown. lost is how many messages have been sent since
	// whose storage is unknown.
	lastSeq, lost uint64
	created       time.Time // of the stream; zero until known
	examined      bool      // the tail was compared in this term
	repairTo      uint64    // the seq up to which a repair is under way; 0: none
	rekeying      string    // the kid under which everything up to rekeyTo is being sent again; "": none
	rekeyTo       uint64
}

// parcel is a message on its way to the stream.
type parcel struct {
	first, last uint64

	mu      sync.Mutex
	settled bool
	seq     uint64
	err     error
}

func (p *parcel) settle(seq uint64, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.settled, p.seq, p.err = true, seq, err
}

func (p *parcel) outcome() (settled bool, seq uint64, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.settled, p.seq, p.err
}

func (s *stream) reset(next uint64) { *s = stream{next: next} }

// goBack sends everything from a seq on again.
func (s *stream) goBack(to uint64) {
	s.lost += uint64(len(s.window))
	s.next, s.ready, s.window = to, nil, nil
}

// offer saves messages that have just been made from being read and signed again.
func (s *stream) offer(batches []batch) {
	end := s.next
	if len(s.ready) > 0 {
		end = s.ready[len(s.ready)-1].last + 1
	}
	if len(s.ready) < readyLimit && len(batches) > 0 && batches[0].first == end {
		s.ready = append(s.ready, batches...)
	}
}

// unstored returns the lowest seq that has still to be sent or acknowledged.
func (s *stream) unstored() uint64 {
	if len(s.window) > 0 {
		return s.window[0].first
	}
	return s.next
}

func (s *stream) room() bool {
	return len(s.window) == 0 || (!s.slow && len(s.window) < streamWindow)
}

// Pump takes in what the stream has acknowledged and sends on. Step calls it; call it too when the bus has settled a
// message.
func (d *Dispatcher) Pump(ctx context.Context) error {
	if d.term == nil {
		return nil
	}
	d.collect()
	d.rekey()
	s := &d.stream
	if d.blind || d.cfg.Clock.Now().Before(s.retryAt) {
		return nil
	}
	for s.room() && s.next < d.term.live {
		if len(s.ready) == 0 {
			prev, rows, err := d.read(ctx, s.next, d.term.live-1)
			if err != nil {
				return err
			}
			if s.ready, err = d.cut(prev, rows, false); err != nil {
				return err
			}
		}
		d.store(s.ready[0])
		s.ready = s.ready[1:]
	}
	return nil
}

func (d *Dispatcher) store(b batch) {
	p := &parcel{first: b.first, last: b.last}
	d.stream.window = append(d.stream.window, p)
	d.stream.next = b.last + 1
	d.cfg.Bus.Store(b.typ, b.message, func(seq uint64, err error) {
		p.settle(seq, err)
		d.cfg.Acked()
	})
}

// collect takes settled messages out of the window, in order.
func (d *Dispatcher) collect() {
	s := &d.stream
	for len(s.window) > 0 {
		p := s.window[0]
		settled, seq, err := p.outcome()
		if !settled {
			return
		}
		if err != nil {
			d.cfg.Log.Debug("the stream didn't take a message", "first_seq", p.first, "error", err)
			d.stats.streamFailed()
			d.streamAway(publishing, err)
			s.goBack(p.first)
			s.slow, s.retryAt = true, d.cfg.Clock.Now().Add(streamRetry)
			return
		}
		s.window, s.slow = s.window[1:], false
		d.streamAway(publishing, nil)
		d.acknowledged(p.last, seq)
	}
}

// streamAway notes how one use of the stream ended, and tells when it has gone away or come back.
func (d *Dispatcher) streamAway(use streamUse, err error) {
	switch changed := d.stats.streamAway(use, err != nil); {
	case !changed:
	case err != nil:
		d.cfg.Log.Warn("the stream is unavailable: who follows live misses nothing, who starts reads pages from the database", "error", err)
	default:
		d.cfg.Log.Info("the stream is available again")
	}
}

func (d *Dispatcher) acknowledged(last, streamSeq uint64) {
	s := &d.stream
	// What was sent and never acknowledged may have been stored in between.
	broken := s.lastSeq != 0 && (streamSeq <= s.lastSeq || streamSeq > s.lastSeq+1+s.lost)
	s.lastSeq, s.lost = streamSeq, 0
	if last > d.term.published {
		defect.Reach(defect.Stored)
		d.term.published = last
		d.progress.publish(d.term.at.Epoch, last)
		d.stats.published(last)
	}
	if s.repairTo != 0 && last >= s.repairTo {
		d.cfg.Log.Info("the stream is complete again", "head", last)
		s.repairTo = 0
	}
	if broken {
		d.repair("the stream's sequence isn't continuous")
		s.created = time.Time{} // the next look learns it anew
	}
}

// repair sends floor…head to the stream again, and what was on its way. Verifiers that are running don't notice.
func (d *Dispatcher) repair(cause string) {
	d.cfg.Log.Warn("republishing to the stream", "cause", cause, "from", d.term.floor, "head", d.term.at.Head)
	d.stats.repaired()
	d.republish()
}

func (d *Dispatcher) republish() {
	d.stream.goBack(min(d.term.floor, d.term.published+1))
	d.stream.repairTo = d.term.live - 1
}

// rekey sends floor…head to the stream again when the feed has a new key, so that who starts with no other can read it and
// the old one may leave. What was signed before this call saw the new key is sent again, whatever it was; what is signed
// later has it. The journal knows when all of it is stored, so a term that ends before is followed by one that begins anew.
func (d *Dispatcher) rekey() {
	s, t, kid := &d.stream, d.term, d.cfg.Signer().KeyID()
	if kid != t.streamKey && kid != s.rekeying {
		d.cfg.Log.Info("republishing to the stream under a new feed key", "kid", kid, "from", t.floor, "head", t.at.Head)
		d.republish()
		s.rekeying, s.rekeyTo = kid, t.live-1
	}
	if s.rekeying != "" && s.unstored() > s.rekeyTo {
		t.streamKey, s.rekeying = s.rekeying, ""
		d.cfg.Log.Info("the stream can be read with the new feed key alone", "kid", t.streamKey)
	}
}

// StreamState is what the bus tells about the stream.
type StreamState struct {
	Created time.Time
	LastSeq uint64
	// Empty says that it holds no messages, Changed that its configuration wasn't what the feed needs: either way messages
	// may have gone.
	Empty, Changed bool
	// Tail is the stream's last message, nil when there is none or its signature is not by a feed key.
	Tail *events.Batch
	// TailKey is the kid of a last message that is no tail.
	TailKey string
	// Frozen says that too few of its nodes are there for it to take anything.
	Frozen bool
	// Since is what [Dispatcher.StreamSeq] returned before the bus was asked.
	Since uint64
}

// StreamSeq returns the stream sequence of the last PubAck, 0 when unknown.
func (d *Dispatcher) StreamSeq() uint64 { return d.stream.lastSeq }

// NeedsTail reports whether the next [StreamState] should have a tail.
func (d *Dispatcher) NeedsTail() bool { return d.blind || !d.stream.examined }

// Observe compares the stream with what was stored in it. A stream that was recreated or has gone back is filled again.
// A tail that goes beyond the feed is evidence that the database has lost commits: the next term compares the two, and
// opens a greater epoch if so, in which the stream is imported ([Dispatcher.ImportDue]). So is a tail that a key has signed of which
// the database knows nothing: it is of before that key was made. Called before the first Step, it gives a process without memory
// something to compare with.
func (d *Dispatcher) Observe(state StreamState) {
	if d.blind {
		d.unblind(positionOf(state.Tail))
	}
	if state.TailKey != "" && state.TailKey != d.tailKey {
		d.tailKey, d.askTailKey = state.TailKey, true
		if d.term != nil {
			d.giveUp() // the next one asks the database whether it knows the key
		}
	}
	if tail := positionOf(state.Tail); tail.Epoch > d.known.Epoch || (tail.Epoch == d.known.Epoch && tail.Head > d.known.Head) {
		d.known = tail
		if d.term != nil {
			d.cfg.Log.Error("the stream holds signed events that the database lacks", "epoch", tail.Epoch, "seq", tail.Head)
			d.giveUp()
		}
	}
	d.changed = d.changed || state.Changed
	if d.term == nil {
		return
	}
	s := &d.stream
	switch {
	case d.changed:
		d.changed = false
		d.repair("the stream had another configuration")
		s.lastSeq = 0
	case !s.examined:
		if p := positionOf(state.Tail); d.term.marked > 0 && (p.Epoch != d.term.at.Epoch || p.Head < d.term.marked) {
			d.repair("the stream doesn't end where it should")
		}
	case !s.created.IsZero() && !s.created.Equal(state.Created):
		d.repair("the stream was recreated")
		s.lastSeq = 0
	case state.LastSeq < state.Since:
		d.repair("the stream has gone back")
		s.lastSeq = 0
	case state.Empty && state.Since > 0 && d.term.floor <= d.term.published:
		d.repair("the stream has lost its messages")
		s.lastSeq = 0
	}
	s.examined, s.created = true, state.Created
}

func positionOf(tail *events.Batch) store.FeedPosition {
	if tail == nil {
		return store.FeedPosition{}
	}
	return store.FeedPosition{Epoch: tail.Epoch, Head: tail.LastSeq(), Chain: tail.Chain}
}
