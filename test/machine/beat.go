package machine

import (
	"sync"
	"time"
)

const (
	// every is how often a beat is due.
	every = 5 * time.Millisecond
	// gap is by how much one may be late on a machine that runs.
	gap = 20 * time.Millisecond
	// Stall is how long a machine has to stand still, all in all, for what it did meanwhile to mean nothing: less than any
	// program waits before it gives up a question, and much more than a garbage collection.
	Stall = 200 * time.Millisecond
)

// Beat hears whether this process gets to run. When it doesn't, those beside it on the same machine hardly do. It is safe for
// concurrent use.
type Beat struct {
	end  chan struct{}
	done chan struct{}

	mu    sync.Mutex
	last  time.Time
	still []span // in order
}

// span is a time in which there was no beat.
type span struct{ from, to time.Time }

// Listen begins to listen. The caller MUST call [Beat.Stop].
func Listen() *Beat {
	b := &Beat{end: make(chan struct{}), done: make(chan struct{}), last: time.Now()}
	go b.run()
	return b
}

func (b *Beat) run() {
	defer close(b.done)
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			b.beat(time.Now()) // and not when it was due
		case <-b.end:
			b.beat(time.Now())
			return
		}
	}
}

func (b *Beat) beat(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if now.Sub(b.last) > every+gap {
		b.still = append(b.still, span{b.last, now})
	}
	b.last = now
}

// Stop ends it and returns how long the machine stood still while it listened. It may be called again.
func (b *Beat) Stop() time.Duration {
	b.mu.Lock()
	select {
	case <-b.end:
	default:
		close(b.end)
	}
	b.mu.Unlock()
	<-b.done
	return b.StoodStill(time.Time{}, b.last)
}

// StoodStill returns how long the machine stood still between two moments, the present standstill included.
func (b *Beat) StoodStill(from, to time.Time) (sum time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range append(b.still[:len(b.still):len(b.still)], b.present(to)...) {
		begin, end := s.from, s.to
		if begin.Before(from) {
			begin = from
		}
		if end.After(to) {
			end = to
		}
		sum += max(0, end.Sub(begin))
	}
	return sum
}

// Span is a time between two moments.
type Span struct{ From, To time.Time }

// Standstills are the times within which the machine hardly ran: of each second of them it stood still for [Stall] at least.
func (b *Beat) Standstills() (all []Span) {
	const window = time.Second
	b.mu.Lock()
	defer b.mu.Unlock()
	first, sum := 0, time.Duration(0)
	for _, s := range b.still {
		for sum += s.length(); b.still[first] != s && s.to.Sub(b.still[first].from) > window; first++ {
			sum -= b.still[first].length()
		}
		if sum < Stall {
			continue
		}
		from := b.still[first].from
		if n := len(all); n > 0 && !from.After(all[n-1].To) {
			all[n-1].To = s.to
			continue
		}
		all = append(all, Span{from, s.to})
	}
	return all
}

func (s span) length() time.Duration { return s.to.Sub(s.from) }

// present is the time since the last beat, if one is missing.
func (b *Beat) present(now time.Time) []span {
	if now.Sub(b.last) <= every+gap {
		return nil
	}
	return []span{{b.last, now}}
}
