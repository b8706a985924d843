package revset

import (
	"math/bits"
	"sync/atomic"

	"github.com/tocsin-auth/tocsin/pkg/events"
)

// table is an open-addressed hash table with columns, and without pointers unless its cells have some. One writer adds to
// it while readers search; nothing is ever taken out of it: what is to go, or doesn't fit, is left behind with the table.
//
// # Why readers need no lock
//
// A slot is free as long as its mark is 0. The writer fills the slot's id, bucket and cell, and then stores its mark; from
// then on the id doesn't change. A reader loads the mark first, and reads the id only if the mark isn't 0. So it sees the
// whole id, without a race, and the content of the cell. Buckets are the writer's alone.
//
// # Why a search ends where it does
//
// A group of seven slots shares a word with what went past it: the highest byte has a bit for the marks of the ids that
// found the group full, set before they were published behind it. No slot is ever freed. So an id is in the first group that
// no id like it went past, or before; most often that is the first of all, even in a table that is nearly full. limit keeps
// some group from filling up, and nothing goes past that.
type table[T, V any, P cell[T, V]] struct {
	groups  []atomic.Uint64 // seven marks, each a byte of an id's hash, and what went past
	ids     []events.ID     // the whole id: a wrong match would refuse a good credential
	buckets []bucket
	cells   []T
	used    int
	limit   int
	soonest bucket // no entry has an earlier one
}

const groupSize = 7

// The greatest load, and by how much a table outgrows what it holds: a table that has just grown is full to
// 9/10 · 8/9 = 80 %, so an entry of an id, a mark, a bucket and a level takes at most 29.2 / 0.8 = 36.5 bytes, and 39 with
// what the allocator rounds up.
const (
	loadNumerator, loadDenominator = 9, 10
	growthShare                    = 8
	// A table of fewer entries grows by half: while a mass revocation fills an empty set, each entry would be copied eight
	// times otherwise, and twice so. What is wasted is little, a few megabytes for all tables together.
	smallTable, smallShare = 2048, 2
)

// newTable has room for n entries and a share of that, and one.
func newTable[T, V any, P cell[T, V]](n int) *table[T, V, P] {
	share := growthShare
	if n < smallTable {
		share = smallShare
	}
	slots := ((n+n/share+1)*loadDenominator + loadNumerator - 1) / loadNumerator
	groups := (slots + groupSize - 1) / groupSize
	slots = groups * groupSize
	return &table[T, V, P]{
		groups: make([]atomic.Uint64, groups), ids: make([]events.ID, slots), buckets: make([]bucket, slots), cells: make([]T, slots),
		limit: slots * loadNumerator / loadDenominator, soonest: lastBucket,
	}
}

// find returns the slot of an id, or -1. It is safe beside a writer.
func (t *table[T, V, P]) find(h hash, id events.ID) int {
	pattern := uint64(h.mark()) * lowBits
	for at := h.group(len(t.groups)); ; at = t.after(at) {
		group := t.groups[at].Load()
		for same := zeroBytes(group^pattern) & allMarks; same != 0; same &= same - 1 {
			if slot := at*groupSize + bits.TrailingZeros64(same)/8; t.ids[slot] == id {
				return slot
			}
		}
		if group&h.past() == 0 {
			return -1
		}
	}
}

// add puts an id in that isn't there. There MUST be room. Only one writer at a time may call it.
func (t *table[T, V, P]) add(h hash, id events.ID, until bucket, v V) {
	at := h.group(len(t.groups))
	group := t.groups[at].Load()
	for full(group) {
		t.groups[at].Store(group | h.past())
		at = t.after(at)
		group = t.groups[at].Load()
	}
	place := (bits.Len64(group) + 7) / 8
	slot := at*groupSize + place
	t.ids[slot], t.buckets[slot] = id, until
	P(&t.cells[slot]).raise(v)
	t.used++
	t.soonest = min(t.soonest, until)
	t.groups[at].Store(group | uint64(h.mark())<<(8*place)) // last: readers see the slot from here on
}

// keep makes an entry stay until a later bucket.
func (t *table[T, V, P]) keep(slot int, until bucket) { t.buckets[slot] = max(t.buckets[slot], until) }

// copyLater adds to another table what is in a bucket after the horizon. Groups are in the order of their hashes in both,
// so it goes through both from the front to the back.
func (t *table[T, V, P]) copyLater(to *table[T, V, P], horizon bucket) {
	for slot, until := range t.buckets {
		if until > horizon {
			id := t.ids[slot]
			to.add(hashOf(id), id, until, P(&t.cells[slot]).load())
		}
	}
}

// later counts the entries after the horizon, and returns the first bucket of those.
func (t *table[T, V, P]) later(horizon bucket) (n int, soonest bucket) {
	soonest = lastBucket
	for _, until := range t.buckets {
		if until > horizon {
			n++
			soonest = min(soonest, until)
		}
	}
	return n, soonest
}

func (t *table[T, V, P]) after(group int) int {
	if group++; group < len(t.groups) {
		return group
	}
	return 0
}

const (
	lowBits  = 0x0101010101010101
	lowSeven = 0x7f7f7f7f7f7f7f7f
	allMarks = 1<<56 - 1
)

// zeroBytes returns the highest bit of each byte that is 0, and of no other: a mark that seems to match a free slot would
// let a reader look at an id that is being written.
func zeroBytes(x uint64) uint64 { return ^(x&lowSeven + lowSeven | x | lowSeven) }

// full holds when the last slot, which is filled last, has its mark.
func full(group uint64) bool { return group&allMarks>>48 != 0 }
