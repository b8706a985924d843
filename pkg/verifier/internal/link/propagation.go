package link

import (
	"math"
	"slices"
	"sort"
	"sync"
	"time"

	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/clock"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/follower"
)

// offsetLife is how long a proof's word on the distance of the clocks counts at least, and half of how long at most:
// within it the drift of two good clocks is far below the finest bucket.
const offsetLife = 10 * time.Second

// propagationSteps are the buckets below the bound B.
var propagationSteps = []time.Duration{
	500 * time.Microsecond, time.Millisecond, 2 * time.Millisecond, 3 * time.Millisecond, 5 * time.Millisecond,
	7500 * time.Microsecond, 10 * time.Millisecond, 15 * time.Millisecond, 20 * time.Millisecond, 30 * time.Millisecond,
	50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 2500 * time.Millisecond, 5 * time.Second, 10 * time.Second, 20 * time.Second, 60 * time.Second,
}

// Histogram counts durations: Counts[i] those of at most Bounds[i] and above the bound before it, and one more element
// those above all bounds.
type Histogram struct {
	Bounds []time.Duration
	Counts []uint64
	Sum    time.Duration
}

// propagation measures how long events are on their way, from the numbering that wrote their time to their effect on
// readers here. It is safe for concurrent use.
//
// The two ends are read from different clocks. A proof tells how far those are apart: its signed time was read after the
// question had been sent at S, so the database's clock is ahead of ours by no more than the signed time − S. With the
// least such difference of the last proofs, what is measured is never less than the truth, and more by no more than the
// shortest way that a question took to its numbering transaction. A clock that is set makes it wrong for two offsetLife.
type propagation struct {
	mu        sync.Mutex
	offset    [2]int64 // least signed time − S in microseconds, of the present offsetLife and of the one before
	since     clock.Reading
	histogram Histogram
}

// init makes buckets up to the bound, which is one itself.
func (p *propagation) init(bound time.Duration) {
	bounds := slices.Clone(propagationSteps)
	bounds = bounds[:sort.Search(len(bounds), func(i int) bool { return bounds[i] >= bound })]
	p.histogram.Bounds = append(bounds, bound)
	p.histogram.Counts = make([]uint64, len(p.histogram.Bounds)+1)
	p.offset = [2]int64{math.MaxInt64, math.MaxInt64}
}

// proven takes in an accepted proof.
func (p *propagation) proven(f *follower.Freshness) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.since.IsZero() || f.Since.Since(p.since) > offsetLife {
		p.offset = [2]int64{math.MaxInt64, p.offset[0]}
		p.since = f.Since
	}
	p.offset[0] = min(p.offset[0], f.Now-micros(f.Since))
}

// arrived counts an event that was numbered at a time of the database's clock and has taken effect by now.
func (p *propagation) arrived(at int64, now clock.Reading) {
	p.mu.Lock()
	defer p.mu.Unlock()
	offset := min(p.offset[0], p.offset[1])
	if offset == math.MaxInt64 {
		return
	}
	took := max(0, time.Duration(micros(now)+offset-at)*time.Microsecond)
	h := &p.histogram
	h.Counts[sort.Search(len(h.Bounds), func(i int) bool { return took <= h.Bounds[i] })]++
	h.Sum += took
}

func (p *propagation) snapshot() Histogram {
	p.mu.Lock()
	defer p.mu.Unlock()
	return Histogram{Bounds: p.histogram.Bounds, Counts: slices.Clone(p.histogram.Counts), Sum: p.histogram.Sum}
}

// micros reads the clock that nobody sets.
func micros(r clock.Reading) int64 { return r.Boot / 1000 }
