package feed

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
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
// the number: by this dispatcher, who counts it. Whoever becomes fresh later has applied the event. But the dispatcher may have
// heard an instance later than this replica has, by as much as its bound: hence the [roster].
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
	agreed roster // nil: not yet
}

// roster is whom a replica and the dispatcher have agreed on, and until when each could be fresh by all that the dispatcher
// may have heard before that.
type roster map[origin]time.Time

func newRollCall(f *Fleet, tell func(nudge)) *rollCall {
	return &rollCall{fleet: f, tell: tell, open: map[string]*question{}}
}

// agreed returns what the dispatcher has agreed to, nil before, and asks it again if it is time to. The position MUST be
// numbered.
func (c *rollCall) agreed(q *question, epoch string, seq uint64) roster {
	c.mu.Lock()
	defer c.mu.Unlock()
	if same := q.epoch == epoch && q.seq == seq; same && (q.agreed != nil || time.Since(q.asked) < rollEvery) {
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
	return nil
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
		digest, _ := c.fleet.callRoll(r.ID)
		c.tell(nudge{Roll: &roll{ID: r.ID, To: from, Digest: digest}})
	}
}

// hear takes an answer.
func (c *rollCall) hear(r roll) {
	digest, present := c.fleet.callRoll(r.ID)
	c.mu.Lock()
	defer c.mu.Unlock()
	if q := c.open[r.ID]; q != nil && r.Digest == digest {
		q.agreed = present // whatever changes from now on: see above
	}
}

// callRoll returns all instances that could be fresh, and a digest of them and their bounds.
func (f *Fleet) callRoll(salt string) (digest string, present roster) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.clock.Now()
	present = roster{}
	var all []string
	for _, service := range f.services {
		for from, m := range service {
			if !now.After(m.freshUntil) {
				present[from] = m.freshBy(now)
				sum := sha256.Sum256(fmt.Appendf(nil, "%s %q %q %q %d", salt, from.service, from.instance, from.startNonce, m.bound))
				all = append(all, string(sum[:]))
			}
		}
	}
	slices.Sort(all)
	h := sha256.New()
	for _, sum := range all {
		h.Write([]byte(sum))
	}
	return hex.EncodeToString(h.Sum(nil)), present
}
