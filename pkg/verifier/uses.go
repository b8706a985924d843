package verifier

import (
	"encoding/json"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/clock"
)

// What happened to a resolved API key: bits of [holding.use].
const (
	presented = 1 << iota // a second time since it was resolved: it is worth renewing
	accepted              // since tendKeys looked last: authsvc will be told
)

// note remembers that a key was presented, and whether it was accepted. It writes only what is news: once in a while.
func (h *holding) note(hit bool, refused error) {
	var news uint32
	if hit {
		news = presented
	}
	if refused == nil {
		news |= accepted
	}
	if h.use.Load()&news != news {
		h.use.Or(news)
	}
}

const (
	// tellEvery is how often authsvc is told which keys were used; from one time to the next it is up to half of it more or
	// less, so that a fleet that was started together doesn't tell all at once.
	tellEvery = time.Minute
	// maxUses bounds what is remembered until then: beyond it, keys aren't told of this time.
	maxUses = 1 << 16
)

// roundsUntilTold counts rounds of tend.
func roundsUntilTold() int { return int((tellEvery/2 + rand.N(tellEvery)) / tendInterval) }

// uses are the keys that were accepted since authsvc was told last, and when it was noticed, by the boot-time clock.
type uses struct {
	mu sync.Mutex
	at map[events.ID]int64
}

func (u *uses) note(key events.ID, now clock.Reading) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.at == nil {
		u.at = make(map[events.ID]int64)
	}
	if _, known := u.at[key]; known || len(u.at) < maxUses {
		u.at[key] = max(u.at[key], now.Boot)
	}
}

func (u *uses) putBack(at map[events.ID]int64) {
	for key, noted := range at {
		u.note(key, clock.Reading{Boot: noted})
	}
}

// take returns what was noted, and forgets it.
func (u *uses) take() map[events.ID]int64 {
	u.mu.Lock()
	defer u.mu.Unlock()
	at := u.at
	u.at = nil
	return at
}

// tellUses tells authsvc which keys were used. While there is no connection, that is kept for the next time.
func (v *Verifier) tellUses(now clock.Reading) {
	at := v.uses.take()
	var keys []events.UsedKey
	for key, noted := range at {
		if ago := max(now.Boot-noted, 0) / int64(time.Second); ago <= events.MaxUsedAgo {
			keys = append(keys, events.UsedKey{KeyID: key.String(), Ago: ago})
		} else {
			delete(at, key)
		}
	}
	for some := range slices.Chunk(keys, events.MaxUsedKeys) {
		if err := v.tell(some); err != nil {
			v.uses.putBack(at)
			return
		}
	}
}

func (v *Verifier) tell(keys []events.UsedKey) error {
	body, err := json.Marshal(events.Used{Keys: keys})
	if err != nil {
		return err
	}
	return v.link.Tell(events.UsedSubject(v.service), body)
}

// tellLastUses is for who closes, before the connection is.
func (v *Verifier) tellLastUses() {
	now := v.clock.Now()
	for _, h := range v.keys.All() {
		if h.use.Load()&accepted != 0 {
			v.uses.note(h.key.ID, now)
		}
	}
	v.tellUses(now)
}
