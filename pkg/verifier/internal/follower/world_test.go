package follower

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/clock"
)

// world is an issuer with its database, a network that does what it likes, and one verifier. It knows what a proof must
// cover, without knowing how the follower works.
type world struct {
	clock *clock.Fake

	// The database. Facts are what callers revoked, by number; a fact keeps its number when it is numbered anew.
	nextFact int
	epochs   int
	epoch    string
	log      []entry // of the current epoch, seq 1 at index 0
	pending  []fact  // committed, not numbered
	floor    uint64
	keySet   events.Hash
	lost     map[int]bool // facts that the database lost: outside of the promise

	// The network.
	batches  [][]byte
	requests []sent
	answers  []events.ProofAnswer

	// The verifier.
	f         *Follower
	applied   map[int]bool // facts
	unkept    map[int]bool // facts that the set takes for past until
	heldKeys  events.Hash
	skips     int
	arrived   []int64      // times of the events that were told as new
	excused   map[int]bool // facts that were dead at a skip, seen or not
	lastFresh *Freshness
	asks      map[clock.Reading]sent // by S
	proofs    map[int64]truth        // by term: the world gives each answer its own
}

// fact is one revocation. The unknown ones are of a type that the verifier doesn't understand.
type fact struct {
	n       int
	unknown bool
}

type entry struct {
	fact  fact
	raw   []byte
	chain events.Hash
}

// sent is a question on its way, with what was committed before it was sent.
type sent struct {
	body      []byte
	since     clock.Reading
	committed map[int]bool
}

// truth is what the database held in the transaction that an answer came from.
type truth struct {
	since clock.Reading // of the question
	facts int           // numbers up to this one were given
	live  map[int]bool
	keys  events.Hash
}

const testIssuer = "https://auth.example.com"

func newWorld() *world {
	w := &world{clock: clock.NewFake(time.Unix(1_800_000_000, 0)), floor: 1, keySet: events.HashOf([]byte("keys 0")), lost: make(map[int]bool)}
	w.openEpoch()
	w.start()
	return w
}

// start is a verifier's process starting with nothing.
func (w *world) start() {
	w.applied, w.excused = make(map[int]bool), make(map[int]bool)
	w.asks, w.proofs = make(map[clock.Reading]sent), make(map[int64]truth)
	w.heldKeys, w.lastFresh = events.Hash{}, nil
	w.f = New(Config{
		Instance: "test", StartNonce: events.NewNonce(), Bound: 30 * time.Second,
		Apply:      w.applyAll,
		KeySetHash: func() events.Hash { return w.heldKeys },
		Skipped:    func() { w.skips++ },
		Arrived:    func(at int64) { w.arrived = append(w.arrived, at) },
	})
}

func (w *world) applyAll(all []events.Event) (missed []uint64) {
	for _, e := range all {
		if w.apply(e) {
			missed = append(missed, e.Seq)
		}
	}
	return missed
}

func (w *world) apply(e events.Event) (missed bool) {
	if p, ok := e.Payload.(events.TokenRevoked); ok {
		id, err := events.ParseID(p.JTI)
		if err != nil {
			panic(err)
		}
		n := int(id[14])<<8 | int(id[15])
		if w.unkept[n] {
			return true
		}
		w.applied[n] = true
	}
	return false
}

func (w *world) commit(unknown bool) {
	w.nextFact++
	w.pending = append(w.pending, fact{n: w.nextFact, unknown: unknown})
}

func (w *world) head() uint64 { return uint64(len(w.log)) }

func (w *world) chainAt(seq uint64) events.Hash {
	if seq == 0 {
		return events.ChainStart(testIssuer, w.epoch)
	}
	return w.log[seq-1].chain
}

// number is the numbering transaction.
func (w *world) number() {
	for _, f := range w.pending {
		seq := w.head() + 1
		now := w.clock.Now().Micros()
		typ, payload := events.TypeTokenRevoked, []byte(nil)
		if f.unknown {
			typ, payload = "future.thing", []byte(`{}`)
		} else {
			var err error
			id := events.ID{6: 0x70, 8: 0x80, 14: byte(f.n >> 8), 15: byte(f.n)}
			if payload, err = events.EncodePayload(events.TokenRevoked{JTI: id.String()}); err != nil {
				panic(err)
			}
		}
		raw, err := events.EncodeEvent(seq, typ, now, now+1, payload)
		if err != nil {
			panic(err)
		}
		w.log = append(w.log, entry{fact: f, raw: raw, chain: w.chainAt(seq - 1).Next(raw)})
	}
	w.pending = nil
}

// page returns a signed message's body for a range.
func (w *world) page(first, last uint64) []byte {
	var raws [][]byte
	for seq := first; seq <= last; seq++ {
		raws = append(raws, w.log[seq-1].raw)
	}
	body, err := events.EncodeBatch(w.epoch, first, w.chainAt(first-1), w.floor, false, raws)
	if err != nil {
		panic(err)
	}
	return body
}

// publish sends a range in messages of a size.
func (w *world) publish(first, last uint64, size int) {
	for seq := first; seq <= last; seq += uint64(size) {
		w.batches = append(w.batches, w.page(seq, min(last, seq+uint64(size)-1)))
	}
}

// openEpoch numbers what lives anew in a greater epoch.
func (w *world) openEpoch() {
	w.epochs++
	w.epoch = events.ID{4: byte(w.epochs >> 8), 5: byte(w.epochs), 6: 0x70, 8: 0x80}.String()
	var live []fact
	for i, e := range w.log {
		if uint64(i+1) >= w.floor {
			live = append(live, e.fact)
		}
	}
	w.log, w.floor, w.pending = nil, 1, append(live, w.pending...)
}

// regress makes the database lose its last events: those calls never happened, whatever the bus has seen.
func (w *world) regress(n int) {
	n = max(0, min(n, len(w.log)-int(w.floor)+1))
	for _, e := range w.log[len(w.log)-n:] {
		w.lost[e.fact.n] = true
	}
	for _, f := range w.pending {
		w.lost[f.n] = true
	}
	w.log, w.pending = slices.Clone(w.log[:len(w.log)-n]), nil
}

func (w *world) live() map[int]bool {
	live := make(map[int]bool)
	for i, e := range w.log {
		if uint64(i+1) >= w.floor {
			live[e.fact.n] = e.fact.unknown
		}
	}
	return live
}

func (w *world) committed() map[int]bool {
	committed := w.live()
	for _, f := range w.pending {
		committed[f.n] = f.unknown
	}
	return committed
}

func (w *world) ask() {
	w.clock.Advance(time.Microsecond) // so that no two questions have one S
	s := sent{since: w.clock.Now(), committed: w.committed()}
	s.body = w.f.Ask(s.since)
	w.requests = append(w.requests, s)
}

// answer is the dispatcher taking a question: it numbers, then answers.
func (w *world) answer(s sent) {
	w.number()
	r, err := events.DecodeProofRequest(s.body)
	if err != nil {
		panic(err)
	}
	w.answers = append(w.answers, events.ProofAnswer{
		Nonce: r.Nonce, Request: events.HashOf(s.body), Epoch: w.epoch, Term: int64(len(w.answers)), Floor: w.floor,
		Head: w.head(), Chain: w.chainAt(w.head()), Keys: w.keySet, Now: w.clock.Now().Micros(),
	})
	w.asks[s.since] = s
	term := int64(len(w.answers) - 1)
	w.proofs[term] = truth{since: s.since, facts: w.nextFact, live: w.live(), keys: w.keySet}
}

func (w *world) deliver(body []byte) {
	b, err := events.DecodeBatch(body)
	if err != nil {
		panic(err)
	}
	w.f.Batch(b, w.clock.Now())
}

// deliverCompact delivers the same events as a compact page.
func (w *world) deliverCompact(body []byte) {
	b, err := events.DecodeBatch(body)
	if err != nil {
		panic(err)
	}
	p, err := events.NewPage(b.Epoch, b.FirstSeq(), b.Prev, b.Floor)
	if err != nil {
		panic(err)
	}
	for _, e := range b.Events {
		if ok, err := p.Add(e.Raw); err != nil || !ok {
			panic(err)
		}
	}
	page, err := events.DecodePage(p.Encode())
	if err != nil {
		panic(err)
	}
	w.f.Batch(page, w.clock.Now())
}

func (w *world) deliverAnswer(a events.ProofAnswer) error {
	body, err := json.Marshal(a)
	if err != nil {
		panic(err)
	}
	decoded, err := events.DecodeProofAnswer(body)
	if err != nil {
		panic(err)
	}
	_, err = w.f.Answer(decoded, w.clock.Now())
	return err
}

func (w *world) setKeys(h events.Hash) {
	w.heldKeys = h
	w.f.KeysReplaced()
}

// check is the oracle: whatever was committed before the question of an accepted proof was sent, and lived in the
// transaction of its answer, is applied and understood; and what died unseen came with a skip.
func (w *world) check(skipsBefore int) error {
	fresh := w.f.Fresh()
	if fresh == w.lastFresh {
		return nil
	}
	asked, ok := w.asks[fresh.Since]
	if !ok {
		return fmt.Errorf("fresh since %v, when nothing was asked", fresh.Since)
	}
	if w.lastFresh != nil && fresh.Since.Boot <= w.lastFresh.Since.Boot {
		return fmt.Errorf("freshness went back")
	}
	at := w.proofs[fresh.Term]
	if at.since != fresh.Since {
		return errors.New("S isn't that of the question")
	}
	w.lastFresh = fresh
	return w.judge(asked, at, skipsBefore)
}

func (w *world) judge(asked sent, at truth, skipsBefore int) error {
	unseen := false
	for _, n := range slices.Sorted(maps.Keys(asked.committed)) {
		unknown, live := at.live[n]
		switch {
		case live && (unknown || !w.applied[n]):
			return fmt.Errorf("fresh without fact %d (unknown %v)", n, unknown)
		case !live && !w.applied[n] && !w.excused[n] && !w.lost[n]:
			unseen = true
		}
	}
	if unseen && w.skips == skipsBefore {
		return fmt.Errorf("dead facts were never seen, and nobody was told")
	}
	if w.heldKeys != at.keys {
		return fmt.Errorf("fresh with another key set")
	}
	if w.skips > skipsBefore {
		for n := range at.facts + 1 { // whatever is dead by now may be unseen
			if _, live := at.live[n]; !live {
				w.excused[n] = true
			}
		}
	}
	return nil
}
