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
	awaited   int       // local calls that wait for the fleet
	changed   chan struct{}
}

func newProgress() *progress { return &progress{changed: make(chan struct{})} }

// standing is one look at the progress. changed is closed at the next change.
type standing struct {
	epoch           string
	head, published uint64
	maxBound        time.Duration
	firstAt         time.Time
	changed         <-chan struct{}
}

func (p *progress) standing() standing {
	p.mu.Lock()
	defer p.mu.Unlock()
	return standing{p.epoch, p.head, p.published, p.maxBound, p.firstAt, p.changed}
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

func (p *progress) openedFirst(at time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.firstAt = at
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
