// Package cache is a bounded map from whole credentials to what was learned about them. It holds facts that were
// verified once (claims, resolutions), never decisions: its users check freshness and the revocation set on every use.
//
// Invariants:
//
//   - A key is found only if it is equal to the one that was put, byte for byte: the hash only selects a bucket. So it is
//     of the key's end alone: there credentials differ, by a signature or a checksum.
//   - An entry never changes after it was published; a slot changes by one atomic store or compare-and-swap.
//     So readers take no lock, don't allocate, and see a whole entry or none.
//   - A bucket's tags are hints, a byte of each slot's hash: they spare readers the look at entries of other keys. A tag
//     that a race left wrong makes a key miss, which costs its user a fresh verification and nothing else.
//   - There are at most Slots entries, whatever comes in. A full bucket gives up a dead entry, else one that wasn't
//     used since the last time it was asked to, else any.
//
// What costs a reader time is memory: of a credential among a hundred thousand nothing is near the processor. So a bucket is
// one cache line, and a value lies in its entry. And a look-up has two halves, [Cache.Aim] and [Aim.Get], between which a
// reader does what doesn't depend on the value: the entry comes from memory meanwhile, also while a clock is read, which waits
// for loads but not for what is only fetched ahead.
//
// It is safe for concurrent use. It knows no clock: times are of the caller's kind.
package cache

import (
	"encoding/binary"
	"hash/maphash"
	"iter"
	"math"
	"math/bits"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"unsafe"
)

const (
	// ways is how many entries share a bucket: any of them may hold a key of that bucket. With the tags they fill a
	// cache line of 64 bytes.
	ways = 7
	// hashed is how many bytes of a key's end are hashed.
	hashed = 32
)

// Cache maps strings to values. Use [New].
type Cache[V, Room any] struct {
	secrets
	mask    uint64
	buckets []bucket[V, Room]
	size    atomic.Int64
}

type bucket[V, Room any] struct {
	tags  atomic.Uint64 // one byte for each slot, never 0 for one that is taken; the eighth is 0
	slots [ways]atomic.Pointer[Entry[V, Room]]
}

// secrets make it unpredictable which keys share a bucket.
type secrets struct {
	words [hashed / 8]uint64
	short maphash.Seed // of keys that are shorter than hashed
}

func newSecrets() secrets {
	return secrets{[hashed / 8]uint64{rand.Uint64(), rand.Uint64(), rand.Uint64(), rand.Uint64()}, maphash.MakeSeed()}
}

// Entry is a value with its place for a key. It belongs to the cache once it was put, but for Value, which its user may
// share with others and change as its own type allows. Room is an array of bytes: a key that fits lies in it, so that a
// reader fetches both from memory at once, and doesn't have to wait for the one to learn where the other is.
type Entry[V, Room any] struct {
	used   atomic.Bool
	length uint32 // of a key in room; another is longer
	Value  V
	dies   int64
	long   *string // a key that doesn't fit
	room   Room
}

// is reports whether the entry's key is this one.
func (e *Entry[V, Room]) is(key string) bool {
	if int(e.length) != len(key) {
		return e.long != nil && *e.long == key
	}
	return equal(unsafe.String((*byte)(unsafe.Pointer(&e.room)), len(key)), key)
}

func (e *Entry[V, Room]) setKey(key string) {
	if uintptr(len(key)) > unsafe.Sizeof(e.room) {
		key = strings.Clone(key)
		e.length, e.long = math.MaxUint32, &key
		return
	}
	e.length = uint32(copy(unsafe.Slice((*byte)(unsafe.Pointer(&e.room)), len(key)), key))
}

// Key returns the key under which the entry was put.
func (e *Entry[V, Room]) Key() string {
	if e.long != nil {
		return *e.long
	}
	return unsafe.String((*byte)(unsafe.Pointer(&e.room)), int(e.length)) // nobody changes it any more
}

// use notes that the entry was used.
func (e *Entry[V, Room]) use() *V {
	if !e.used.Load() { // written only when it changes: readers of a hot entry share its cache line
		e.used.Store(true)
	}
	return &e.Value
}

// tagOf takes the byte that doesn't select the bucket.
func tagOf(hash uint64) uint64 { return max(hash>>56, 1) }

// candidates returns a mask with bit 7 of each byte set whose slot may hold a tag; a few too many at worst.
func (b *bucket[V, Room]) candidates(tag uint64) uint64 {
	const low, high = 0x0101010101010101, 0x0080808080808080
	x := b.tags.Load() ^ tag*low
	return (x - low) & ^x & high
}

// mark sets the tag of a slot.
func (b *bucket[V, Room]) mark(slot int, tag uint64) {
	for {
		old := b.tags.Load()
		if b.tags.CompareAndSwap(old, old&^(0xff<<(8*slot))|tag<<(8*slot)) {
			return
		}
	}
}

// New returns a cache with room for at least n entries. At least three times as many slots are made, so that of n entries
// that spread over the buckets by chance only about one in a thousand finds its bucket full.
func New[V, Room any](n int) *Cache[V, Room] {
	n = max(n, 1)
	buckets := 1 << bits.Len(uint(3*n/ways))
	return &Cache[V, Room]{secrets: newSecrets(), mask: uint64(buckets - 1), buckets: make([]bucket[V, Room], buckets)}
}

// Slots returns how many entries there can be.
func (c *Cache[V, Room]) Slots() int { return len(c.buckets) * ways }

// Len returns how many entries there are.
func (c *Cache[V, Room]) Len() int { return int(c.size.Load()) }

// find multiplies the key's last words, each mixed with a secret, and folds the products. That takes a quarter of the
// instructions of maphash: while a processor waits for memory it sees some 450 instructions ahead, and what it sees it fetches.
func (c *Cache[V, Room]) find(key string) (*bucket[V, Room], uint64) {
	if len(key) < hashed {
		hash := maphash.String(c.short, key)
		return &c.buckets[hash&c.mask], tagOf(hash)
	}
	end := (*[hashed]byte)(unsafe.Add(unsafe.Pointer(unsafe.StringData(key)), len(key)-hashed))
	high1, low1 := bits.Mul64(binary.LittleEndian.Uint64(end[0:8])^c.words[0], binary.LittleEndian.Uint64(end[8:16])^c.words[1])
	high2, low2 := bits.Mul64(binary.LittleEndian.Uint64(end[16:24])^c.words[2], binary.LittleEndian.Uint64(end[24:32])^c.words[3])
	hash := high1 ^ low1 ^ high2 ^ low2
	return &c.buckets[hash&c.mask], tagOf(hash)
}

// Get returns the value that was put under exactly this key, or nil.
func (c *Cache[V, Room]) Get(key string) *V {
	b, tag := c.find(key)
	return b.get(key, tag)
}

// Aim is a look-up that has begun.
type Aim[V, Room any] struct {
	bucket *bucket[V, Room]
	tag    uint64
}

// Aim begins a look-up, which [Aim.Get] ends: meanwhile what it needs comes from memory.
func (c *Cache[V, Room]) Aim(key string) Aim[V, Room] {
	b, tag := c.find(key)
	prefetch(unsafe.Pointer(b), key)
	return Aim[V, Room]{b, tag}
}

// Get does what [Cache.Get] does. The key MUST be the same.
func (a Aim[V, Room]) Get(key string) *V { return a.bucket.get(key, a.tag) }

func (b *bucket[V, Room]) get(key string, tag uint64) *V {
	for found := b.candidates(tag); found != 0; found &= found - 1 {
		if e := b.slots[bits.TrailingZeros64(found)/8].Load(); e != nil && e.is(key) {
			return e.use()
		}
	}
	return nil
}

// Put stores an entry, which MUST be new, under a key, instead of an earlier one; of two at the same time either or both
// may stay. It counts as dead when now is past dies; a dead entry may still be found until its place is needed or
// [Cache.Sweep] comes by. The key is copied.
func (c *Cache[V, Room]) Put(key string, e *Entry[V, Room], now, dies int64) {
	e.setKey(key)
	e.dies = dies
	b, tag := c.find(key)
	for {
		slot, old := b.place(key, now)
		if !b.slots[slot].CompareAndSwap(old, e) {
			continue
		}
		b.mark(slot, tag)
		if old == nil {
			c.size.Add(1)
		}
		return
	}
}

// place chooses a slot, and says what it holds.
func (b *bucket[V, Room]) place(key string, now int64) (int, *Entry[V, Room]) {
	free := -1
	for i := range b.slots {
		e := b.slots[i].Load()
		switch {
		case e == nil || e.dies < now:
			if free < 0 {
				free = i
			}
		case e.is(key):
			return i, e
		}
	}
	if free < 0 {
		free = b.turn()
	}
	return free, b.slots[free].Load()
}

// turn chooses who goes, beginning anywhere; those that were used stay for another round.
func (b *bucket[V, Room]) turn() int {
	first := rand.IntN(ways)
	for i := range ways {
		slot := (first + i) % ways
		if e := b.slots[slot].Load(); e == nil || !e.used.Swap(false) {
			return slot
		}
	}
	return first
}

// Delete removes a value, unless another was put under the key meanwhile.
func (c *Cache[V, Room]) Delete(key string, value *V) {
	b, _ := c.find(key)
	for i := range b.slots {
		if e := b.slots[i].Load(); e != nil && &e.Value == value {
			c.remove(&b.slots[i], e)
		}
	}
}

func (c *Cache[V, Room]) remove(slot *atomic.Pointer[Entry[V, Room]], e *Entry[V, Room]) {
	if slot.CompareAndSwap(e, nil) {
		c.size.Add(-1)
	}
}

// Sweep removes the entries that are dead at now, and so gives their memory back.
func (c *Cache[V, Room]) Sweep(now int64) {
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
func (c *Cache[V, Room]) All() iter.Seq2[string, *V] {
	return func(yield func(string, *V) bool) {
		for i := range c.buckets {
			for j := range c.buckets[i].slots {
				if e := c.buckets[i].slots[j].Load(); e != nil && !yield(e.Key(), &e.Value) {
					return
				}
			}
		}
	}
}
