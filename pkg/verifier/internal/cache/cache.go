// Package cache is a bounded map from whole credentials to what was learned about them. It holds facts that were
// verified once (claims, resolutions), never decisions: its users check freshness and the revocation set on every use.
//
// Invariants:
//
//   - A key is found only if it is equal to the one that was put, byte for byte: the hash only selects a bucket.
//   - An entry never changes after it was published; a slot changes by one atomic store or compare-and-swap.
//     So readers take no lock, don't allocate, and see a whole entry or none.
//   - A bucket's tags are hints, a byte of each slot's hash: they spare readers the look at entries of other keys. A tag
//     that a race left wrong makes a key miss, which costs its user a fresh verification and nothing else.
//   - There are at most Slots entries, whatever comes in. A full bucket gives up a dead entry, else one that wasn't
//     used since the last time it was asked to, else the next in turn.
//
// It is safe for concurrent use. It knows no clock: times are of the caller's kind.
package cache

import (
	"hash/maphash"
	"iter"
	"math/bits"
	"strings"
	"sync/atomic"
)

// ways is how many entries share a bucket: any of them may hold a key of that bucket.
const ways = 8

// Cache maps strings to values. Use [New].
type Cache[V any] struct {
	seed    maphash.Seed
	mask    uint64
	buckets []bucket[V]
	size    atomic.Int64
}

// bucket is laid out so that tags and slots are neighbours in memory.
type bucket[V any] struct {
	tags  atomic.Uint64 // one byte for each slot, never 0 for one that is taken
	slots [ways]atomic.Pointer[entry[V]]
	hand  atomic.Uint32 // whose turn it is to go
}

// tagOf takes the byte that doesn't select the bucket.
func tagOf(hash uint64) uint64 { return max(hash>>56, 1) }

// candidates returns a mask with bit 7 of each byte set whose slot may hold a tag; a few too many at worst.
func (b *bucket[V]) candidates(tag uint64) uint64 {
	const low, high = 0x0101010101010101, 0x8080808080808080
	x := b.tags.Load() ^ tag*low
	return (x - low) & ^x & high
}

// mark sets the tag of a slot.
func (b *bucket[V]) mark(slot int, tag uint64) {
	for {
		old := b.tags.Load()
		if b.tags.CompareAndSwap(old, old&^(0xff<<(8*slot))|tag<<(8*slot)) {
			return
		}
	}
}

type entry[V any] struct {
	hash  uint64
	dies  int64
	used  atomic.Bool
	key   string
	value *V
}

// New returns a cache with room for at least n entries. Twice as many slots are made, so that of n entries that spread
// over the buckets by chance only about one in a hundred finds its bucket full.
func New[V any](n int) *Cache[V] {
	n = max(n, 1)
	buckets := 1 << bits.Len(uint((2*n-1)/ways))
	return &Cache[V]{seed: maphash.MakeSeed(), mask: uint64(buckets - 1), buckets: make([]bucket[V], buckets)}
}

// Slots returns how many entries there can be.
func (c *Cache[V]) Slots() int { return len(c.buckets) * ways }

// Len returns how many entries there are.
func (c *Cache[V]) Len() int { return int(c.size.Load()) }

// Get returns the value that was put under exactly this key, or nil.
func (c *Cache[V]) Get(key string) *V {
	hash := maphash.String(c.seed, key)
	b := &c.buckets[hash&c.mask]
	for found := b.candidates(tagOf(hash)); found != 0; found &= found - 1 {
		e := b.slots[bits.TrailingZeros64(found)/8].Load()
		if e == nil || e.hash != hash || e.key != key {
			continue
		}
		if !e.used.Load() { // written only when it changes: readers of a hot entry share its cache line
			e.used.Store(true)
		}
		return e.value
	}
	return nil
}

// Put stores a value under a key, instead of an earlier one; of two at the same time either or both may stay. The entry
// counts as dead when now is past dies; a dead entry may still be found until its place is needed or [Cache.Sweep]
// comes by.
func (c *Cache[V]) Put(key string, value *V, now, dies int64) {
	hash := maphash.String(c.seed, key)
	b := &c.buckets[hash&c.mask]
	fresh := &entry[V]{hash: hash, dies: dies, key: strings.Clone(key), value: value}
	for {
		slot, old := b.place(hash, key, now)
		if !b.slots[slot].CompareAndSwap(old, fresh) {
			continue
		}
		b.mark(slot, tagOf(hash))
		if old == nil {
			c.size.Add(1)
		}
		return
	}
}

// place chooses a slot, and says what it holds.
func (b *bucket[V]) place(hash uint64, key string, now int64) (int, *entry[V]) {
	free := -1
	for i := range b.slots {
		e := b.slots[i].Load()
		switch {
		case e == nil || e.dies < now:
			if free < 0 {
				free = i
			}
		case e.hash == hash && e.key == key:
			return i, e
		}
	}
	if free < 0 {
		free = b.turn()
	}
	return free, b.slots[free].Load()
}

// turn gives those that were used since the hand last came by another round.
func (b *bucket[V]) turn() int {
	for range ways {
		i := int(b.hand.Add(1) % ways)
		if e := b.slots[i].Load(); e == nil || !e.used.Swap(false) {
			return i
		}
	}
	return int(b.hand.Add(1) % ways)
}

// Delete removes a value, unless another was put under the key meanwhile.
func (c *Cache[V]) Delete(key string, value *V) {
	hash := maphash.String(c.seed, key)
	b := &c.buckets[hash&c.mask]
	for i := range b.slots {
		if e := b.slots[i].Load(); e != nil && e.hash == hash && e.value == value && e.key == key {
			c.remove(&b.slots[i], e)
		}
	}
}

func (c *Cache[V]) remove(slot *atomic.Pointer[entry[V]], e *entry[V]) {
	if slot.CompareAndSwap(e, nil) {
		c.size.Add(-1)
	}
}

// Sweep removes the entries that are dead at now, and so gives their memory back.
func (c *Cache[V]) Sweep(now int64) {
	for i := range c.buckets {
		for j := range c.buckets[i].slots {
			slot := &c.buckets[i].slots[j]
			if e := slot.Load(); e != nil && e.dies < now {
				c.remove(slot, e)
			}
		}
	}
}

// All goes over the entries that are there all the while; others may or may not be seen.
func (c *Cache[V]) All() iter.Seq2[string, *V] {
	return func(yield func(string, *V) bool) {
		for i := range c.buckets {
			for j := range c.buckets[i].slots {
				if e := c.buckets[i].slots[j].Load(); e != nil && !yield(e.key, e.value) {
					return
				}
			}
		}
	}
}
