package follower

import (
	"time"

	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/clock"
)

// CatchUp says what has to be read so that the latest held answer can be accepted.
type CatchUp struct {
	Epoch string
	// From is the first seq that is missing, To the head to be reached.
	From, To uint64
	// Since is the time of the last event before the hole, in microseconds; 0 if nothing before From was seen.
	Since int64
	// Now is the signed time of the answer, in microseconds.
	Now int64
	// Distrust: the events seen last contradicted an answer, so the source that keeps the truth should be read first.
	Distrust bool
}

// patience is how long an answer waits for events that may be on their way. At the first start none are.
func (f *Follower) patience() time.Duration {
	if f.fresh.Load() == nil {
		return 0
	}
	return catchUpAfter
}

// CatchUp returns what is missing, once an answer has waited for it long enough that it is probably not on its way.
func (f *Follower) CatchUp(now clock.Reading) (CatchUp, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	due, patience := false, f.patience()
	for i := range f.held {
		if now.Since(f.held[i].received) >= patience && f.lacksEvents(f.held[i]) {
			due = true
			break
		}
	}
	if !due {
		return CatchUp{}, false
	}
	return f.missing()
}

func (f *Follower) lacksEvents(a answer) bool {
	if a.Epoch < f.epoch || a.nothingLives() {
		return false
	}
	t := f.tracks[a.Epoch]
	return t == nil || t.covering(a.Floor, a.Head) == nil
}

func (f *Follower) missing() (CatchUp, bool) {
	for i := len(f.held) - 1; i >= 0; i-- {
		a := f.held[i]
		if !f.lacksEvents(a) {
			continue
		}
		c := CatchUp{Epoch: a.Epoch, From: a.Floor, To: a.Head, Now: a.Now}
		if t := f.tracks[a.Epoch]; t != nil {
			c.Distrust = t.distrust
			if r := t.reaching(a.Floor); r != nil {
				c.From, c.Since = r.last()+1, r.lastAt
			}
		}
		return c, true
	}
	return CatchUp{}, false
}

// CatchUpDue returns in how much time CatchUp will have something, if nothing arrives until then.
func (f *Follower) CatchUpDue(now clock.Reading) (time.Duration, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.held {
		if f.lacksEvents(f.held[i]) {
			return max(0, f.patience()-now.Since(f.held[i].received)), true
		}
	}
	return 0, false
}

// TakeKeyDemand reports whether an answer waits for a token key set that isn't held and that no fetch was begun for
// since it came. The caller begins one.
func (f *Follower) TakeKeyDemand() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	demand := false
	for i := range f.held {
		if a := &f.held[i]; a.Keys != f.cfg.KeySetHash() && !a.keysFetched {
			a.keysFetched, demand = true, true
		}
	}
	return demand
}
