package revset

import (
	"maps"
	"math"
	"sync"

	"github.com/tocsin-auth/tocsin/pkg/events"
)

// shardCount bounds how many entries one sweep locks at once: of a million, four thousand.
const shardCount = 256

// deadAtOnce is the not_after of a key that is dead whatever the reader's clock says.
const deadAtOnce = math.MinInt64

// userEntry is what the feed says about one user. Zero versions say nothing.
type userEntry struct {
	tv     int64 // tokens with a lower one are dead
	keysTV int64 // keys made under a lower one are dead
	until  int64
	state  *UserState
}

// keyEntry is what the feed says about one API key.
type keyEntry struct {
	notAfter  int64 // Never if nothing was said
	kv        int64 // version of suspended
	until     int64
	suspended bool
}

// shard holds the entries of the ids that end in one byte. UUIDs end in random bits.
type shard struct {
	mu       sync.RWMutex
	tokens   map[events.ID]int64 // jti → until
	sessions map[events.ID]int64 // session id → until
	users    map[events.ID]userEntry
	keys     map[events.ID]keyEntry
	soonest  int64 // no entry has an earlier until
}

func (s *Set) shard(id events.ID) *shard { return &s.shards[id[len(id)-1]] }

func (h *shard) hasToken(id events.ID) bool {
	h.mu.RLock()
	_, ok := h.tokens[id]
	h.mu.RUnlock()
	return ok
}

func (h *shard) hasSession(id events.ID) bool {
	h.mu.RLock()
	_, ok := h.sessions[id]
	h.mu.RUnlock()
	return ok
}

func (h *shard) user(id events.ID) userEntry {
	h.mu.RLock()
	u := h.users[id]
	h.mu.RUnlock()
	return u
}

func (h *shard) key(id events.ID) keyEntry {
	h.mu.RLock()
	k, ok := h.keys[id]
	h.mu.RUnlock()
	if !ok {
		k.notAfter = Never
	}
	return k
}

func (h *shard) len() int {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return len(h.tokens) + len(h.sessions) + len(h.users) + len(h.keys)
}

func (h *shard) addToken(id events.ID, until int64) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.add(&h.tokens, id, until)
}

func (h *shard) addSession(id events.ID, until int64) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.add(&h.sessions, id, until)
}

// add reports whether the id is new. h.mu is held.
func (h *shard) add(ended *map[events.ID]int64, id events.ID, until int64) bool {
	if *ended == nil {
		*ended = make(map[events.ID]int64)
	}
	old, known := (*ended)[id]
	(*ended)[id] = max(old, until)
	h.soonest = min(h.soonest, until)
	return !known
}

// changeUser lets change raise an entry, and reports what change reported.
func (h *shard) changeUser(id events.ID, until int64, change func(*userEntry) bool) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.users == nil {
		h.users = make(map[events.ID]userEntry)
	}
	u := h.users[id]
	changed := change(&u)
	u.until = max(u.until, until)
	h.users[id] = u
	h.soonest = min(h.soonest, until)
	return changed
}

// changeKey lets change raise an entry, and reports what change reported.
func (h *shard) changeKey(id events.ID, until int64, change func(*keyEntry) bool) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.keys == nil {
		h.keys = make(map[events.ID]keyEntry)
	}
	k, ok := h.keys[id]
	if !ok {
		k.notAfter = Never
	}
	changed := change(&k)
	k.until = max(k.until, until)
	h.keys[id] = k
	h.soonest = min(h.soonest, until)
	return changed
}

// forget drops entries whose until isn't after the horizon.
func (h *shard) forget(horizon int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.soonest > horizon {
		return
	}
	h.soonest = Never
	due := func(until int64) bool {
		if until > horizon {
			h.soonest = min(h.soonest, until)
			return false
		}
		return true
	}
	maps.DeleteFunc(h.tokens, func(_ events.ID, until int64) bool { return due(until) })
	maps.DeleteFunc(h.sessions, func(_ events.ID, until int64) bool { return due(until) })
	maps.DeleteFunc(h.users, func(_ events.ID, u userEntry) bool { return due(u.until) })
	maps.DeleteFunc(h.keys, func(_ events.ID, k keyEntry) bool { return due(k.until) })
}
