package feed

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"sync"
	"time"

	"github.com/tocsin-auth/tocsin/pkg/events"
)

// rollCall is how a replica that isn't the dispatcher learns whether it counts everybody: it asks the dispatcher, which
// alone answers proof requests, for a digest of the instances that could be fresh, and compares that with its own.
//
// Why equal digests are enough. The question is asked after an event had its number, and answered by a dispatcher whose
// terms go back further than any freshness. Whoever is fresh without that event is so by an answer that was given before
// the number: by this dispatcher, who counts it. Whoever becomes fresh later has applied the event.
// A dispatcher that has lost its lease and doesn't know it yet may answer, too: it was one when it gave or saw the number.
type rollCall struct {
	fleet *Fleet
	tell  func(nudge)

	mu   sync.Mutex
	open map[string]*question
}

// rollEvery is how often one call asks: instances come and go, and then the digests differ for a moment.
const rollEvery = 20 * time.Millisecond

// roll is a question, or, with To, an answer.
type roll struct {
	ID     string `json:"id"` // random, and part of the digest: so nobody can make two sets look alike
	To     string `json:"to,omitempty"`
	Epoch  string `json:"epoch,omitempty"`
	Seq    uint64 `json:"seq,omitempty"`
	Digest string `json:"digest,omitempty"`
}

// question is what one call wants to know about one position of the feed.
type question struct {
	ids    []string // of each time that it was asked: a late answer is as good
	epoch  string
	seq    uint64
	asked  time.Time
	agreed bool
}

func newRollCall(f *Fleet, tell func(nudge)) *rollCall {
	return &rollCall{fleet: f, tell: tell, open: map[string]*question{}}
}

// vouched reports whether the dispatcher has agreed, and asks it again if it is time to. The position MUST be numbered.
func (c *rollCall) vouched(q *question, epoch string, seq uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if same := q.epoch == epoch && q.seq == seq; same && (q.agreed || time.Since(q.asked) < rollEvery) {
		return q.agreed
	}
	if q.epoch != epoch || q.seq != seq {
		c.forget(q)
		*q = question{epoch: epoch, seq: seq}
	}
	id := events.NewNonce()
	q.ids, q.asked = append(q.ids, id), time.Now()
	c.open[id] = q
	c.tell(nudge{Roll: &roll{ID: id, Epoch: epoch, Seq: seq}})
	return false
}

// over forgets a question.
func (c *rollCall) over(q *question) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forget(q)
}

func (c *rollCall) forget(q *question) {
	for _, id := range q.ids {
		delete(c.open, id)
	}
}

// answer answers a replica's question, if this process can.
func (c *rollCall) answer(r roll, from string) {
	if c.fleet.counts(r.Epoch, r.Seq, c.fleet.clock.Now()) {
		c.tell(nudge{Roll: &roll{ID: r.ID, To: from, Digest: c.fleet.digest(r.ID)}})
	}
}

// hear takes an answer.
func (c *rollCall) hear(r roll) {
	same := r.Digest == c.fleet.digest(r.ID)
	c.mu.Lock()
	defer c.mu.Unlock()
	if q := c.open[r.ID]; q != nil && same {
		q.agreed = true // whatever changes from now on: see above
	}
}

// digest is of all instances that could be fresh.
func (f *Fleet) digest(salt string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.clock.Now()
	var all []string
	for _, service := range f.services {
		for from, m := range service {
			if !now.After(m.freshUntil) {
				sum := sha256.Sum256([]byte(salt + "\x00" + from.service + "\x00" + from.instance + "\x00" + from.startNonce))
				all = append(all, string(sum[:]))
			}
		}
	}
	slices.Sort(all)
	h := sha256.New()
	for _, sum := range all {
		h.Write([]byte(sum))
	}
	return hex.EncodeToString(h.Sum(nil))
}
