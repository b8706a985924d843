package revset

import (
	"hash/maphash"
	"math/bits"
	"sync/atomic"

	"github.com/tocsin-auth/tocsin/pkg/events"
)

// partCount bounds what one writing step copies: of ten million entries, forty thousand.
const partCount = 256

// index maps ids to cells that only rise, each with a bucket of expiry. Readers take no lock and never wait. Writers MUST be
// serialised by the caller.
type index[T, V any, P cell[T, V]] struct {
	parts [partCount]part[T, V, P]
	count atomic.Int64
}

// part holds the ids whose hashes begin alike. Its table is replaced as a whole, by a larger one or by one without what has
// passed; readers that are still in the old one don't see what was added since, as if they had come a moment earlier.
type part[T, V any, P cell[T, V]] struct {
	table atomic.Pointer[table[T, V, P]]
}

// find returns the zero V for ids of which nothing is known.
func (x *index[T, V, P]) find(id events.ID) (v V, known bool) {
	h := hashOf(id)
	t := x.parts[h.part()].table.Load()
	if t == nil {
		return v, false
	}
	slot := t.find(h, id)
	if slot < 0 {
		return v, false
	}
	return P(&t.cells[slot]).load(), true
}

func (x *index[T, V, P]) has(id events.ID) bool {
	_, known := x.find(id)
	return known
}

// raise makes an id known, with v if that is more than what is known of it, and lets it stay until the latest bucket of
// all calls. It reports whether a reader can see a difference; from when it returns, readers do.
func (x *index[T, V, P]) raise(id events.ID, until bucket, v V) bool {
	h := hashOf(id)
	p := &x.parts[h.part()]
	if t := p.table.Load(); t != nil {
		if slot := t.find(h, id); slot >= 0 {
			t.keep(slot, until)
			return P(&t.cells[slot]).raise(v)
		}
	}
	p.withRoom().add(h, id, until, v)
	x.count.Add(1)
	return true
}

// bucket returns 0 for ids of which nothing is known. Only writers may call it.
func (x *index[T, V, P]) bucket(id events.ID) bucket {
	h := hashOf(id)
	if t := x.parts[h.part()].table.Load(); t != nil {
		if slot := t.find(h, id); slot >= 0 {
			return t.buckets[slot]
		}
	}
	return 0
}

// withRoom returns the table, after it has grown if it was full.
func (p *part[T, V, P]) withRoom() *table[T, V, P] {
	t := p.table.Load()
	switch {
	case t == nil:
		t = newTable[T, V, P](0)
	case t.used < t.limit:
		return t
	default:
		t = t.replacement(t.used, 0)
	}
	p.table.Store(t)
	return t
}

// forget drops the entries of one part up to a bucket, and gives their memory back.
func (x *index[T, V, P]) forget(n int, horizon bucket) {
	p := &x.parts[n]
	t := p.table.Load()
	if t == nil || t.soonest > horizon {
		return
	}
	stay, soonest := t.later(horizon)
	x.count.Add(int64(stay - t.used))
	switch stay {
	case t.used:
		t.soonest = soonest
	case 0:
		p.table.Store(nil)
	default:
		p.table.Store(t.replacement(stay, horizon))
	}
}

// replacement returns a table that fits the n entries after the horizon.
func (t *table[T, V, P]) replacement(n int, horizon bucket) *table[T, V, P] {
	fresh := newTable[T, V, P](n)
	t.copyLater(fresh, horizon)
	return fresh
}

func (x *index[T, V, P]) len() int { return int(x.count.Load()) }

// hash of an id, keyed, so that nobody can choose ids that meet: the first byte says the part, what follows the group, and the
// last byte is the mark.
type hash uint64

var seed = maphash.MakeSeed()

func hashOf(id events.ID) hash { return hash(maphash.Bytes(seed, id[:])) }

func (h hash) part() int { return int(h >> 56) }

func (h hash) group(groups int) int {
	group, _ := bits.Mul64(uint64(h<<8), uint64(groups))
	return int(group)
}

// mark is never 0, which is that of free slots.
func (h hash) mark() byte { return max(byte(h), 1) }

// past is the bit of the mark among those that went past a group.
func (h hash) past() uint64 { return 1 << (56 + h.mark()&7) }
