package follower

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/clock"
)

// Freshness is one accepted proof. It is never changed.
type Freshness struct {
	// Since is S: when the question was asked, by this process's clocks, before it was published.
	Since clock.Reading
	Epoch string
	Head  uint64
	Term  int64
	// Now is the time that this proof signed: that of the issuer's database, in microseconds. It may be below that of an
	// earlier proof, when that clock was set back.
	Now int64

	lapsed int64 // the greatest signed time by which a floor was skipped to
	ahead  int64 // the least by which any proof's time was ahead of the clock that counts since the start, in microseconds
}

// Within reports whether the proof still stands at now for a bound. It is false for nil: nothing was ever proven.
func (f *Freshness) Within(now clock.Reading, bound time.Duration) bool {
	return f != nil && now.Since(f.Since) <= bound
}

// Time returns the time for judging exp, in microseconds: the latest of own wall time, signed time + elapsed, and
// KeyRetention before the greatest signed time by which events were skipped; see the package doc.
func (f *Freshness) Time(now clock.Reading) int64 {
	return max(now.Micros(), f.Now+now.Since(f.Since).Microseconds(), f.lapsed-events.KeyRetention.Microseconds())
}

// Past returns the time for forgetting what lapses, in microseconds: what the issuer's clock would show had it never
// leapt ahead since the first proof. Between two moments it rises by no more than the clock that counts since the start.
// Wall time has no part in it: it can be set forward and back, and what was forgotten meanwhile stays forgotten.
func (f *Freshness) Past(now clock.Reading) int64 { return now.Boot/1000 + f.ahead }

// KeyLife is how long a resolution of an API key may be used, from when it was asked for.
const KeyLife = events.KeyRetention / 2

// KeysUntil returns, by the time for forgetting, when every resolution of an API key that was asked for by now has ended.
// Those from before the first proof end with it.
func (f *Freshness) KeysUntil(now clock.Reading) int64 {
	if f == nil {
		return 0
	}
	return f.Past(now) + KeyLife.Microseconds()
}

// Config is what a follower needs. All fields are required.
type Config struct {
	Instance   string
	StartNonce string
	// Bound is the largest staleness bound of any route, told in questions; see [Follower.SetBound].
	Bound time.Duration
	// Apply puts the events of a message into the set; they MUST have taken effect for every reader when it returns. It
	// returns the seqs of those that could concern API keys and that the set didn't keep.
	Apply func([]events.Event) (missed []uint64)
	// KeySetHash returns the hash of the token key set that readers see now.
	KeySetHash func() events.Hash
	// Skipped is called before a proof is accepted whose run doesn't continue the proven one, so that events past until
	// may never have been seen, or which covers a new event that Apply missed: caches of resolved API keys MUST be empty
	// when it returns. So it is before the first proof. None of the functions may call the follower.
	Skipped func()
	// Arrived, if given, is called with the time of each event that wasn't covered before and was numbered after the last
	// accepted proof, once it has taken effect: what the feed has brought, not what was read again. It is a measurement
	// and MUST NOT call the follower.
	Arrived func(at int64)
}

// Follower is the state machine. All methods are safe for concurrent use.
type Follower struct {
	cfg   Config
	fresh atomic.Pointer[Freshness]

	mu        sync.Mutex
	bound     time.Duration
	epoch     string            // the greatest proven one
	tracks    map[string]*track // by epoch
	asked     uint64            // questions ever asked
	questions []question        // unanswered, in the order of asking
	held      []answer          // verified, not yet accepted, in the order of asking
	stats     Stats
}

// New returns a follower that has proven nothing.
func New(cfg Config) *Follower {
	return &Follower{cfg: cfg, bound: cfg.Bound, tracks: make(map[string]*track)}
}

// Fresh returns the last accepted proof, nil before the first. It is one atomic load.
func (f *Follower) Fresh() *Freshness { return f.fresh.Load() }

// SetBound changes the largest staleness bound that questions tell.
func (f *Follower) SetBound(bound time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.bound = bound
}

// Applied is what a batch brought.
type Applied struct {
	// Advanced: the contiguous end of the proven epoch rose.
	Advanced bool
	// Gap: the batch lies beyond a hole.
	Gap bool
	// KeysChanged: a new event names a token key set that isn't held.
	KeysChanged bool
	// Accepted: an answer that was held is now accepted.
	Accepted bool
}

// Batch applies a batch whose signature was verified; it may come from the live feed, the stream or a snapshot, late,
// early or again. All its events are in the set when it returns.
func (f *Follower) Batch(b events.Batch, now clock.Reading) Applied {
	f.mu.Lock()
	defer f.mu.Unlock()
	missed := f.cfg.Apply(b.Events)
	f.stats.Events += uint64(len(b.Events))
	t := f.track(b.Epoch)
	if t == nil {
		return Applied{}
	}
	if slices.ContainsFunc(missed, t.needs) {
		f.cfg.Skipped()
	}
	f.tellArrived(t, b)
	result := Applied{KeysChanged: f.namesOtherKeys(t, b)}
	before := f.provenEnd()
	grew := f.cover(t, b, now)
	if p := t.proven(); p != nil {
		result.Advanced = p.last() > before
		result.Gap = b.FirstSeq() > p.last()+1
	}
	if result.Gap {
		f.stats.Gaps++
	}
	if grew {
		result.Accepted = f.settle()
	}
	return result
}

// tellArrived tells of the new events of a batch. A proof's time is that of the transaction up to which it proves, so an
// event with a later time is a later one.
func (f *Follower) tellArrived(t *track, b events.Batch) {
	fresh := f.fresh.Load()
	if f.cfg.Arrived == nil || fresh == nil {
		return
	}
	for _, e := range b.Events {
		if e.At > fresh.Now && t.needs(e.Seq) {
			f.cfg.Arrived(e.At)
		}
	}
}

// cover adds a batch to the runs of its epoch and reports whether that told anything new.
func (f *Follower) cover(t *track, b events.Batch, now clock.Reading) bool {
	any := false
	for _, r := range runsOf(b, now) {
		if p := t.proven(); p != nil && r.last()+1 < p.first && !f.awaited(b.Epoch, r.last()) {
			continue // not needed any more: see prove
		}
		grew, contradiction := t.add(r)
		any = any || grew
		if contradiction {
			f.stats.Mismatches++
		}
	}
	if b.Compact {
		f.thin(t, b.LastSeq(), now)
	}
	return any
}

// thin drops the chains of what compact pages told up to a seq, but those that a held answer may be compared with.
func (f *Follower) thin(t *track, to uint64, now clock.Reading) {
	r := t.covering(to, to)
	if r == nil {
		return
	}
	for _, a := range f.held {
		if r.base <= a.Head {
			to = min(to, a.Head)
		}
	}
	r.thin(to, now)
}

// awaited reports whether a held answer wants a seq covered. Below the proven run that is so only if the database was
// set back to before its floor.
func (f *Follower) awaited(epoch string, seq uint64) bool {
	return slices.ContainsFunc(f.held, func(a answer) bool { return a.Epoch == epoch && a.Floor <= seq })
}

// needs reports whether a seq is still to be covered: it is neither known nor below what was proven.
func (t *track) needs(seq uint64) bool {
	p := t.proven()
	return (p == nil || seq >= p.first) && !t.covers(seq)
}

// namesOtherKeys notes the keys.changed events of a batch, not seen before, for sets that aren't held, and reports whether
// there are any.
func (f *Follower) namesOtherKeys(t *track, b events.Batch) bool {
	any := false
	for _, e := range b.Events {
		if p, ok := e.Payload.(events.KeysChanged); ok && !t.covers(e.Seq) && p.Hash != f.cfg.KeySetHash() {
			t.announce(keySet{seq: e.Seq, hash: p.Hash})
			any = true
		}
	}
	return any
}

// Stats is a snapshot for people and metrics.
type Stats struct {
	Epoch      string // the greatest proven one
	Term       int64
	Applied    uint64 // end of what readers see of Epoch without a hole, its key sets included
	Head       uint64 // the greatest seq in Epoch that answers or applied events told
	Proofs     uint64 // accepted answers
	Held       int    // answers waiting for events or keys
	Asked      int    // unanswered questions
	Events     uint64 // applied, repetitions included
	Gaps       uint64 // messages that arrived beyond a hole
	Mismatches uint64 // answers or messages whose chain contradicted ours
	Skips      uint64 // proofs that didn't continue the proven run, the first included
	LastEvent  int64  // time of the newest contiguous event, microseconds
}

// Stats returns a snapshot.
func (f *Follower) Stats() Stats {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.stats
	s.Epoch, s.Applied, _ = f.position()
	s.Held, s.Asked = len(f.held), len(f.questions)
	if fresh := f.fresh.Load(); fresh != nil {
		s.Head, s.Term = max(fresh.Head, s.Applied), fresh.Term
	}
	for _, a := range f.held {
		if a.Epoch == f.epoch {
			s.Head = max(s.Head, a.Head)
		}
	}
	if r := f.provenRun(); r != nil {
		s.LastEvent = r.lastAt
	}
	return s
}
