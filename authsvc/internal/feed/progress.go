package feed

import (
	"sync"
	"time"
)

// progress is what this process knows of how far the feed has come, for those who wait: the dispatcher writes it, or,
// when another process is the dispatcher, its nudges do.
type progress struct {
	mu        sync.Mutex
	epoch     string
	head      uint64
	published uint64 // of epoch: every seq up to it was flushed on core and stored in the stream
	maxBound  time.Duration
	firstAt   time.Time // when this process opened the database's first epoch; zero: it didn't
	tenure    tenure
	awaited   int // local calls that wait for the fleet
	changed   chan struct{}
}

func newProgress() *progress { return &progress{changed: make(chan struct{})} }

// tenure is for how long this process has been the dispatcher.
type tenure struct {
	holding bool
	term    int64     // the last one
	since   time.Time // when the first of its terms between which there was no other's began; zero: there was none before
}

// standing is one look at the progress. changed is closed at the next change.
type standing struct {
	epoch           string
	head, published uint64
	maxBound        time.Duration
	firstAt         time.Time
	tenure          tenure
	changed         <-chan struct{}
}

func (p *progress) standing() standing {
	p.mu.Lock()
	defer p.mu.Unlock()
	return standing{p.epoch, p.head, p.published, p.maxBound, p.firstAt, p.tenure, p.changed}
}

func (p *progress) see(epoch string, head uint64, maxBound int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.maxBound = max(p.maxBound, time.Duration(maxBound)*time.Microsecond)
	if !p.enter(epoch) || head == p.head {
		return
	}
	p.head = max(p.head, head)
	p.announce()
}

func (p *progress) publish(epoch string, seq uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.enter(epoch) && seq > p.published {
		p.published = seq
		p.announce()
	}
}

// enter makes a greater epoch the present one and refuses a lower one.
func (p *progress) enter(epoch string) bool {
	if epoch > p.epoch {
		p.epoch, p.head, p.published = epoch, 0, 0
	}
	return epoch == p.epoch
}

// wake lets those who wait look again.
func (p *progress) wake() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.announce()
}

func (p *progress) announce() {
	close(p.changed)
	p.changed = make(chan struct{})
}

// begin says that a term of this process has begun; first, that nobody had one before.
func (p *progress) begin(term int64, at time.Time, first bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case first:
		p.firstAt, p.tenure.since = at, time.Time{}
	case p.tenure.term == 0 || p.tenure.term+1 != term:
		p.tenure.since = at
	}
	p.tenure.holding, p.tenure.term = true, term
}

// end says that the term is over.
func (p *progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tenure.holding = false
}

// answersAlone reports whether every verifier that could be fresh at a time is so by an answer of this process: of what
// another one had answered before, the largest freshness is over.
func (s standing) answersAlone(now time.Time) bool {
	return s.tenure.holding && (s.tenure.since.IsZero() || now.Sub(s.tenure.since) > s.maxBound+requestLife)
}

// covers reports whether this process knows, as the dispatcher, that a position of the feed has its number. Whoever has
// become fresh by a later answer of anybody has applied it.
func (s standing) covers(epoch string, seq uint64) bool {
	return seq == 0 || (epoch == s.epoch && seq <= s.head)
}

// awaitFleet counts a call that will wait for the fleet, until the returned function is called.
func (p *progress) awaitFleet() (done func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.awaited++
	return sync.OnceFunc(func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.awaited--
	})
}

func (p *progress) fleetAwaited() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.awaited > 0
}
