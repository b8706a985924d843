package follower

import (
	"slices"
	"time"

	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/clock"
)

// retention is how long a run keeps the chain of each seq. Marks are up to a second coarse.
const retention = events.MaxBound + 2*markEvery

const markEvery = time.Second

// run is a stretch of seqs of one epoch, first to last, that were all applied. It may be empty: last = first − 1.
type run struct {
	first uint64
	prev  events.Hash // chain(first − 1)
	// chains holds chain(base), chain(base+1) … chain(last), and never is empty. first − 1 ≤ base ≤ last.
	base   uint64
	chains []events.Hash
	lastAt int64 // time of the last event, microseconds
	marks  []mark
	proven bool // it continues the run that the last accepted answer rested on
	// thinned, unless zero, is when chains below base were last dropped although they were young; see thin.
	thinned clock.Reading
}

// mark says that seqs up to this one were added at a time or up to markEvery later.
type mark struct {
	seq uint64
	at  clock.Reading
}

// emptyRun is the position after a seq whose chain is known, with nothing covered before.
func emptyRun(seq uint64, chain events.Hash, at int64) *run {
	return &run{first: seq + 1, prev: chain, base: seq, chains: []events.Hash{chain}, lastAt: at}
}

// runsOf returns the stretches of a batch that this version understands: one, unless an event is unknown.
func runsOf(b events.Batch, now clock.Reading) []*run {
	var runs []*run
	chain := b.Prev
	open := false
	for i, e := range b.Events {
		before := chain
		chain = b.Links[i]
		if u, unknown := e.Payload.(events.Unknown); unknown && !u.Ignorable {
			open = false
			continue
		}
		if !open {
			r := emptyRun(e.Seq-1, before, e.At)
			r.chains = append(make([]events.Hash, 0, len(b.Events)+1), before)
			runs, open = append(runs, r), true
		}
		r := runs[len(runs)-1]
		r.chains = append(r.chains, chain)
		r.lastAt = e.At
	}
	for _, r := range runs {
		r.marks = []mark{{r.last(), now}}
	}
	return runs
}

func (r *run) last() uint64 { return r.base + uint64(len(r.chains)) - 1 }

// chainAt returns chain(seq), if it is still kept.
func (r *run) chainAt(seq uint64) (events.Hash, bool) {
	switch {
	case seq+1 == r.first:
		return r.prev, true
	case seq < r.base || seq > r.last():
		return events.Hash{}, false
	}
	return r.chains[seq-r.base], true
}

// forget drops the chains that nobody can ask for any more.
func (r *run) forget(now clock.Reading) {
	n := 0
	for n < len(r.marks) && now.Since(r.marks[n].at) > retention {
		n++
	}
	if n == 0 {
		return
	}
	drop := r.marks[n-1].seq - r.base
	r.marks = slices.Clone(r.marks[n:])
	r.chains = slices.Clone(r.chains[drop:])
	r.base += drop
}

// thin drops the chains below a seq, however young: those of many events that came at once would be a burden. Answers to
// questions that were asked before may name one of them and can't be judged any more; see [Follower.proofRun].
func (r *run) thin(keep uint64, now clock.Reading) {
	if keep <= r.base || keep > r.last() {
		return
	}
	r.chains = slices.Clone(r.chains[keep-r.base:])
	r.base, r.thinned = keep, now
	r.marks = slices.DeleteFunc(r.marks, func(m mark) bool { return m.seq < keep })
}

// mayLack reports whether the true answer to a question of a time could name a chain that was dropped while it was young.
func (r *run) mayLack(asked clock.Reading) bool {
	return r.thinned.Boot > 0 && asked.Boot <= r.thinned.Boot
}

// relation is how two touching runs stand to each other.
type relation int

const (
	agree  relation = iota // they can be joined
	differ                 // they are branches
	within                 // one lies in the other where its chains are no longer kept
)

// relate compares two runs that overlap or adjoin.
func relate(a, b *run) relation {
	lo, hi := inOrder(a, b)
	result := within
	for _, seq := range []uint64{hi.first - 1, min(lo.last(), hi.last())} {
		x, inLo := lo.chainAt(seq)
		y, inHi := hi.chainAt(seq)
		if inLo && inHi {
			if x != y {
				return differ
			}
			result = agree
		}
	}
	return result
}

func inOrder(a, b *run) (lo, hi *run) {
	if b.first < a.first {
		return b, a
	}
	return a, b
}

// join returns the union of two runs that agree. It reuses the memory of both, which MUST NOT be used any more.
func join(a, b *run) *run {
	lo, hi := inOrder(a, b)
	proven := lo.proven || hi.proven
	if hi.last() <= lo.last() {
		lo.proven, lo.thinned = proven, later(lo.thinned, hi.thinned)
		return lo
	}
	joined := &run{first: lo.first, prev: lo.prev, lastAt: hi.lastAt, proven: proven, thinned: later(lo.thinned, hi.thinned)}
	next := lo.last() + 1
	if hi.base > next { // lo was caught up to hi after hi's first chains had been dropped
		joined.base, joined.chains, joined.marks = hi.base, hi.chains, hi.marks
		return joined
	}
	joined.base = lo.base
	joined.chains = append(lo.chains, hi.chains[next-hi.base:]...)
	joined.marks = lo.marks
	for _, m := range hi.marks {
		joined.addMark(m, next)
	}
	return joined
}

func later(a, b clock.Reading) clock.Reading {
	if a.Boot > b.Boot {
		return a
	}
	return b
}

// addMark takes over a mark of a later run for seqs from next on.
func (r *run) addMark(m mark, next uint64) {
	if m.seq < next {
		return
	}
	if n := len(r.marks); n > 0 {
		if since := m.at.Since(r.marks[n-1].at); since >= 0 && since < markEvery {
			r.marks[n-1].seq = m.seq
			return
		}
	}
	r.marks = append(r.marks, m)
}
