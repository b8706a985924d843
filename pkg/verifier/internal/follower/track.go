package follower

import (
	"cmp"
	"slices"
	"sort"

	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/clock"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/defect"
)

// maxRuns bounds the holes of one epoch. Beyond it the highest run goes: catch-up reads it again.
const maxRuns = 1024

// track is what is covered of one epoch: runs in ascending order that neither overlap nor adjoin.
type track struct {
	runs []*run
	// distrust: an answer contradicted what was covered, and nothing was accepted since.
	distrust bool
	// announced are key sets that the feed has told of and that readers may not see yet, in ascending order.
	announced []keySet
}

// keySet is what a keys.changed event tells.
type keySet struct {
	seq  uint64
	hash events.Hash
}

func (t *track) announce(k keySet) {
	i, known := slices.BinarySearchFunc(t.announced, k.seq, func(a keySet, seq uint64) int { return cmp.Compare(a.seq, seq) })
	if !known {
		t.announced = slices.Insert(t.announced, i, k)
	}
}

// unseenKeys returns the first seq whose key set readers don't see, who see the set with a hash: kids never come back, so
// a set that is as an event told came after all events before that one.
func (t *track) unseenKeys(held events.Hash) (seq uint64, ok bool) {
	for i := len(t.announced) - 1; i >= 0; i-- {
		if t.announced[i].hash == held {
			t.announced = t.announced[i+1:]
			break
		}
	}
	if len(t.announced) == 0 {
		return 0, false
	}
	return t.announced[0].seq, true
}

// add puts a run in. It reports whether that told anything new, and whether it contradicted runs that were there:
// then the later one wins.
func (t *track) add(n *run) (grew, contradiction bool) {
	from, to := t.touching(n)
	var joining []*run
	for _, old := range t.runs[from:to] {
		relation := relate(old, n)
		switch {
		case relation == differ:
			contradiction = true
		case relation == within, old.first <= n.first && old.last() >= n.last():
			return false, contradiction
		default:
			joining = append(joining, old)
		}
	}
	for _, old := range joining {
		n = join(old, n)
	}
	t.runs = slices.Replace(t.runs, from, to, n)
	if len(t.runs) > maxRuns {
		t.runs = t.runs[:maxRuns]
	}
	return true, contradiction
}

// touching returns the range of runs that overlap or adjoin a run.
func (t *track) touching(n *run) (from, to int) {
	from = sort.Search(len(t.runs), func(i int) bool { return t.runs[i].last()+1 >= n.first })
	to = from
	for to < len(t.runs) && t.runs[to].first <= n.last()+1 {
		to++
	}
	return from, to
}

// covering returns the run that covers every seq from floor to head, if there is one. With floor = head + 1 it is the
// run that knows the position head.
func (t *track) covering(floor, head uint64) *run {
	for _, r := range t.runs {
		if (r.first <= floor || defect.Contiguity) && r.last() >= head {
			return r
		}
	}
	return nil
}

// reaching returns the run that covers from floor on, or at least adjoins it.
func (t *track) reaching(floor uint64) *run { return t.covering(floor, floor-1) }

// covers reports whether a seq was applied and is linked.
func (t *track) covers(seq uint64) bool { return t.covering(seq, seq) != nil }

// proven returns the run that the last accepted answer rests on, if it is in this track.
func (t *track) proven() *run {
	for _, r := range t.runs {
		if r.proven {
			return r
		}
	}
	return nil
}

func (t *track) forget(now clock.Reading) {
	for _, r := range t.runs {
		r.forget(now)
	}
}

// maxTracks bounds the epochs that are followed: the proven one and those that may come after it.
const maxTracks = 4

// track returns the track of an epoch, or nil for an epoch that isn't followed: below the proven one, or too many.
func (f *Follower) track(epoch string) *track {
	if t := f.tracks[epoch]; t != nil || epoch < f.epoch {
		return t
	}
	if len(f.tracks) >= maxTracks && !f.dropTrackBelow(epoch) {
		return nil
	}
	t := &track{}
	f.tracks[epoch] = t
	return t
}

// dropTrackBelow makes room by dropping the lowest epoch that is neither proven nor above the given one.
func (f *Follower) dropTrackBelow(epoch string) bool {
	lowest := epoch
	for e := range f.tracks {
		if e != f.epoch && e < lowest {
			lowest = e
		}
	}
	delete(f.tracks, lowest)
	return lowest != epoch
}

// prove makes an epoch and one of its runs what the follower stands on, by an answer with a head whose key set is held.
// Floors never fall, so what is below the run isn't needed any more.
func (f *Follower) prove(epoch string, r *run, head uint64) {
	for e := range f.tracks {
		if e < epoch {
			delete(f.tracks, e)
		}
	}
	t := f.tracks[epoch]
	if p := t.proven(); p != nil {
		p.proven = false
	}
	f.epoch, r.proven, t.distrust = epoch, true, false
	t.runs = slices.Delete(t.runs, 0, slices.Index(t.runs, r))
	t.announced = slices.DeleteFunc(t.announced, func(k keySet) bool { return k.seq <= head })
}

// position is what questions tell: up to where readers see everything in the proven epoch. It is the contiguous end, or
// where a key set is announced that they don't see: receipts rest on it.
func (f *Follower) position() (epoch string, applied uint64, chain events.Hash) {
	r := f.provenRun()
	if r == nil {
		return f.epoch, 0, events.Hash{}
	}
	applied = r.last()
	if seq, ok := f.tracks[f.epoch].unseenKeys(f.cfg.KeySetHash()); ok {
		applied = min(applied, seq-1)
	}
	chain, _ = r.chainAt(applied)
	return f.epoch, applied, chain
}

// provenEnd is the contiguous end in the proven epoch, 0 if nothing is proven.
func (f *Follower) provenEnd() uint64 {
	if r := f.provenRun(); r != nil {
		return r.last()
	}
	return 0
}

func (f *Follower) provenRun() *run {
	if t := f.tracks[f.epoch]; t != nil {
		return t.proven()
	}
	return nil
}
