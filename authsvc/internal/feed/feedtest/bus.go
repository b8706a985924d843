package feedtest

import (
	"errors"
	"time"

	"github.com/tocsin-auth/tocsin/authsvc/internal/feed"
	"github.com/tocsin-auth/tocsin/pkg/events"
)

// ErrAway is what a bus returns that is away.
var ErrAway = errors.New("the bus is away")

// Bus is core NATS and a stream in memory.
type Bus struct {
	Clock *Clock
	// Away makes everything fail; StreamAway lets stored messages wait for an acknowledgement that doesn't come.
	Away, StreamAway bool
	// OnLive is called with every message that listeners get, OnAnswer with every answer.
	OnLive   func(feed.Message)
	OnAnswer func(feed.Request, feed.Message)
	// Stream is what is stored, Live what went out on core.
	Stream, Live []feed.Message

	created   time.Time
	lastSeq   uint64
	unflushed []feed.Message
	unacked   []unacked
}

type unacked struct {
	message feed.Message
	done    func(uint64, error)
}

// NewBus returns a bus with an empty stream.
func NewBus(clock *Clock) *Bus {
	return &Bus{Clock: clock, created: clock.Now(), OnLive: func(feed.Message) {}, OnAnswer: func(feed.Request, feed.Message) {}}
}

// Wipe makes the stream a new, empty one.
func (b *Bus) Wipe() {
	b.Stream, b.lastSeq = nil, 0
	b.created = b.created.Add(time.Nanosecond)
}

// Truncate takes the last messages from the stream, as a restored copy lacks them.
func (b *Bus) Truncate(n int) {
	n = min(n, len(b.Stream))
	b.Stream = b.Stream[:len(b.Stream)-n]
	b.lastSeq -= uint64(n)
}

// Purge takes all messages from the stream and leaves its sequence as it was.
func (b *Bus) Purge() { b.Stream = nil }

// State returns what a look at the stream shows.
func (b *Bus) State() feed.StreamState {
	s := feed.StreamState{Created: b.created, LastSeq: b.lastSeq, Empty: len(b.Stream) == 0}
	if len(b.Stream) > 0 {
		batch, err := events.DecodeBatch(b.Stream[len(b.Stream)-1].Body)
		if err != nil {
			panic(err)
		}
		s.Tail = &batch
	}
	return s
}

// Settle stores and acknowledges what waits, unless the stream is away.
func (b *Bus) Settle() {
	for len(b.unacked) > 0 && !b.StreamAway && !b.Away {
		u := b.unacked[0]
		b.unacked = b.unacked[1:]
		b.lastSeq++
		b.Stream = append(b.Stream, u.message)
		u.done(b.lastSeq, nil)
	}
}

// TimeOut lets every acknowledgement that is waited for fail; stored says whether the messages were stored all the same.
func (b *Bus) TimeOut(stored bool) {
	waiting := b.unacked
	b.unacked = nil
	for _, u := range waiting {
		if stored {
			b.lastSeq++
			b.Stream = append(b.Stream, u.message)
		}
		u.done(0, ErrAway)
	}
}

// publish and the rest are what a [Process] calls.
func (b *Bus) publish(m feed.Message) error {
	if b.Away {
		return ErrAway
	}
	b.unflushed = append(b.unflushed, m)
	return nil
}

func (b *Bus) flush() error {
	if b.Away {
		b.unflushed = nil
		return ErrAway
	}
	for _, m := range b.unflushed {
		b.Live = append(b.Live, m)
		b.OnLive(m)
	}
	b.unflushed = nil
	return nil
}

// Fuse blows after a number of steps; what it guards has crashed then.
type Fuse struct {
	// Left is how many steps are still taken; negative: any number.
	Left int
	// Steps counts those taken.
	Steps int
}

// ErrCrashed is what everything returns in a process that has crashed.
var ErrCrashed = errors.New("crashed")

// burn reports whether one more step can be taken.
func (f *Fuse) burn() bool {
	if f.Left == 0 {
		return false
	}
	f.Left--
	f.Steps++
	return true
}

// Process is a journal and a bus as one process sees them, which crashes when its fuse blows: before a call has an
// effect, or after it and before its result is known.
type Process struct {
	Fuse
	*Journal
	// Between, if set, is called before and after each call: what it does happens while this process is frozen there.
	Between func()
	bus     *Bus
}

// NewProcess returns a process that doesn't crash unless Left is set.
func NewProcess(j *Journal, b *Bus) *Process {
	return &Process{Fuse: Fuse{Left: -1}, Journal: j, bus: b}
}

// Dispatcher returns a dispatcher in this process.
func (p *Process) Dispatcher(cfg feed.DispatcherConfig) *feed.Dispatcher {
	cfg.Journal, cfg.Bus, cfg.Clock = journalOf{p}, busOf{p}, p.Clock
	return feed.NewDispatcher(cfg)
}
