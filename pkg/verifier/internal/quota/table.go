package quota

import (
	"encoding/binary"
	"sync/atomic"

	"github.com/tocsin-auth/tocsin/pkg/events"
)

const (
	bucketBits = 14
	// MaxStates bounds for how many users and resources something is counted at once.
	MaxStates = 1 << 17
)

// Resource is what requests are counted against. There is one for each name: they are compared by their addresses.
type Resource struct {
	Name string
	salt uint64
}

// table finds states without a lock. Writers hold Meter.mu. A state that was removed still leads to those that came after it,
// so that a reader who stands on it finds them.
type table struct {
	buckets []atomic.Pointer[state]
}

func (t *table) make() { t.buckets = make([]atomic.Pointer[state], 1<<bucketBits) }

func (t *table) bucket(user events.ID, r *Resource) *atomic.Pointer[state] {
	const spread = 0x9e3779b97f4a7c15 // Fibonacci hashing: ids are random, but not those of tests
	h := (binary.BigEndian.Uint64(user[8:]) ^ r.salt) * spread
	return &t.buckets[h>>(64-bucketBits)]
}

func (t *table) find(user events.ID, r *Resource) *state {
	for s := t.bucket(user, r).Load(); s != nil; s = s.next.Load() {
		if s.user == user && s.resource == r {
			return s
		}
	}
	return nil
}

func (t *table) insert(s *state) {
	b := t.bucket(s.user, s.resource)
	s.next.Store(b.Load())
	b.Store(s)
}

func (t *table) remove(s *state) {
	at := t.bucket(s.user, s.resource)
	for at.Load() != s {
		at = &at.Load().next
	}
	at.Store(s.next.Load())
}
