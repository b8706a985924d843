package httpapi

import (
	"sync"
	"time"
)

const (
	firstDelay   = time.Second
	longestDelay = time.Hour
	// forgetTries is how long after the last delay a row of failures is forgotten.
	forgetTries = 24 * time.Hour
	// triesAtOnce are under way for one key, which may have many programs that log in. Once it waits, there is one.
	triesAtOnce = 32
	// busyDelay is what is asked for where too many are under way.
	busyDelay = time.Second
	// evictAmong is among how many the one with the fewest failures makes room.
	evictAmong = 16
)

// tries makes who fails again and again wait for longer and longer: after free failures in a row for firstDelay, then for twice
// as long each time, up to longestDelay. Each take that isn't refused MUST be followed by one of failed, succeeded and giveBack.
// It is safe for concurrent use.
type tries struct {
	free int
	most int // that are remembered

	mu   sync.Mutex
	rows map[string]row
}

// row is failures in a row, and what is under way.
type row struct {
	failed, under int
	until         time.Time
	raised        bool // until was set by one of those under way; as long as it waits no other begins before they all have ended
	refusing      bool
}

func newTries(free, most int) *tries {
	return &tries{free: free, most: most, rows: map[string]row{}}
}

func (t *tries) delay(failed int) time.Duration {
	doublings := failed - t.free - 1
	switch {
	case doublings < 0:
		return 0
	case doublings > 12: // more than the longest
		return longestDelay
	}
	return min(firstDelay<<doublings, longestDelay)
}

// wait returns for how long a key may not try.
func (t *tries) wait(r row, now time.Time) time.Duration {
	if delay := r.until.Sub(now); delay > 0 {
		return delay
	}
	if r.under >= triesAtOnce || r.failed > t.free && r.under > 0 {
		return busyDelay
	}
	return 0
}

// take begins a try, unless it comes too soon.
func (t *tries) take(key string, now time.Time) refused {
	t.mu.Lock()
	defer t.mu.Unlock()
	r, known := t.rows[key]
	if now.Sub(r.until) > forgetTries {
		r.failed, r.raised, r.refusing = 0, false, false
	}
	if r.under == 0 {
		r.raised = false
	}
	if wait := t.wait(r, now); wait > 0 {
		begins := !r.refusing
		r.refusing = true
		t.rows[key] = r
		return refused{wait: wait, begins: begins}
	}
	if !known && len(t.rows) >= t.most {
		t.evict()
	}
	r.under++
	t.rows[key] = r
	return refused{}
}

// evict forgets the one with the fewest failures of some: who is under attack is remembered for the longest.
func (t *tries) evict() {
	var fewest string
	looked := 0
	for key, r := range t.rows {
		if looked == 0 || r.failed < t.rows[fewest].failed {
			fewest = key
		}
		if looked++; looked == evictAmong {
			break
		}
	}
	delete(t.rows, fewest)
}

// failed ends a try that failed. Those that were under way together raise the delay once: each of the others began before it.
func (t *tries) failed(key string, now time.Time) {
	t.end(key, func(r *row) {
		if !r.raised {
			r.failed++
		}
		r.raised = r.failed > t.free
		r.until = now.Add(t.delay(r.failed))
	})
}

func (t *tries) succeeded(key string) {
	t.end(key, func(r *row) { r.failed, r.raised, r.refusing, r.until = 0, false, false, time.Time{} })
}

// giveBack ends a try that turned out to be none.
func (t *tries) giveBack(key string) { t.end(key, func(*row) {}) }

// end ends a try. What was forgotten meanwhile begins anew.
func (t *tries) end(key string, change func(*row)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.rows[key]
	r.under = max(0, r.under-1)
	change(&r)
	if r.failed == 0 && r.under == 0 {
		delete(t.rows, key)
		return
	}
	t.rows[key] = r
}
