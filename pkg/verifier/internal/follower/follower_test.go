package follower

import (
	"errors"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/clock"
)

// history returns a world with n events numbered, nothing delivered, and the keys fetched.
func history(n int) *world {
	w := newWorld()
	for range n {
		w.commit(false)
	}
	w.number()
	w.setKeys(w.keySet)
	return w
}

// exchange asks, lets the dispatcher answer and delivers the answer.
func (w *world) exchange(t *testing.T) sent {
	t.Helper()
	w.ask()
	asked := w.requests[len(w.requests)-1]
	w.answer(asked)
	if err := w.deliverAnswer(w.answers[len(w.answers)-1]); err != nil {
		t.Fatal(err)
	}
	return asked
}

func (w *world) mustBeFresh(t *testing.T, since clock.Reading) {
	t.Helper()
	if fresh := w.f.Fresh(); fresh == nil || fresh.Since != since {
		t.Fatalf("fresh %+v, want since %+v; %+v", fresh, since, w.f.Stats())
	}
}

func (w *world) mustNotBeFresh(t *testing.T) {
	t.Helper()
	if fresh := w.f.Fresh(); fresh != nil {
		t.Fatalf("fresh: %+v", fresh)
	}
}

func TestFreshFromTheMomentOfAskingWhateverTheAnswerTook(t *testing.T) {
	w := history(3)
	w.deliver(w.page(1, 3))
	w.ask()
	asked := w.requests[0]
	w.clock.Advance(20 * time.Second)
	w.answer(asked)
	w.clock.Advance(9 * time.Second)
	if err := w.deliverAnswer(w.answers[0]); err != nil {
		t.Fatal(err)
	}
	w.mustBeFresh(t, asked.since)
	bound := 30 * time.Second
	if !w.f.Fresh().Within(w.clock.Now(), bound) {
		t.Fatal("not fresh within the bound")
	}
	w.clock.Advance(2 * time.Second)
	if w.f.Fresh().Within(w.clock.Now(), bound) {
		t.Fatal("fresh beyond the bound")
	}
}

func TestNothingIsFreshBeforeTheFirstProof(t *testing.T) {
	w := history(3)
	w.deliver(w.page(1, 3))
	w.mustNotBeFresh(t)
	if w.f.Fresh().Within(w.clock.Now(), time.Hour) {
		t.Fatal("no proof is within a bound")
	}
	if got := w.f.State(w.clock.Now()); got != events.StateStarting {
		t.Fatalf("state %q", got)
	}
}

func TestAnswerAheadIsHeldWithItsTimeOfAsking(t *testing.T) {
	w := history(5)
	w.deliver(w.page(1, 3))
	asked := w.exchange(t)
	w.mustNotBeFresh(t)
	w.clock.Advance(time.Second)
	w.deliver(w.page(4, 5))
	w.mustBeFresh(t, asked.since)
}

func TestFirstStartCoversFromTheFloorOn(t *testing.T) {
	w := history(9)
	w.floor = 5
	w.deliver(w.page(4, 6))
	w.deliver(w.page(8, 9))
	asked := w.exchange(t)
	w.mustNotBeFresh(t)
	w.deliver(w.page(6, 8)) // overlaps on both sides: its middle counts
	w.mustBeFresh(t, asked.since)
}

func TestNothingLivingNeedsNothingRead(t *testing.T) {
	w := history(4)
	w.floor = 5
	asked := w.exchange(t)
	w.mustBeFresh(t, asked.since)
	if s := w.f.Stats(); s.Applied != 4 || s.Skips != 1 {
		t.Fatalf("stats %+v", s)
	}
}

func TestAnswersThatAreNotToAnOpenQuestion(t *testing.T) {
	for name, change := range map[string]func(*events.ProofAnswer){
		"other nonce":   func(a *events.ProofAnswer) { a.Nonce = events.NewNonce() },
		"other request": func(a *events.ProofAnswer) { a.Request[0] ^= 1 },
	} {
		t.Run(name, func(t *testing.T) {
			w := history(0)
			w.ask()
			w.answer(w.requests[0])
			a := w.answers[0]
			change(&a)
			if err := w.deliverAnswer(a); !errors.Is(err, ErrNotAsked) {
				t.Fatalf("got %v", err)
			}
			w.mustNotBeFresh(t)
		})
	}
	t.Run("answered already", func(t *testing.T) {
		w := history(0)
		w.exchange(t)
		if err := w.deliverAnswer(w.answers[0]); !errors.Is(err, ErrNotAsked) {
			t.Fatalf("got %v", err)
		}
	})
	t.Run("asked longer ago than any bound", func(t *testing.T) {
		w := history(0)
		w.ask()
		w.answer(w.requests[0])
		w.clock.Advance(events.MaxBound + time.Second)
		w.ask() // forgets
		if err := w.deliverAnswer(w.answers[0]); !errors.Is(err, ErrNotAsked) {
			t.Fatalf("got %v", err)
		}
	})
}

func TestLaterQuestionWins(t *testing.T) {
	w := history(2)
	w.deliver(w.page(1, 2))
	w.ask()
	w.answer(w.requests[0])
	later := w.exchange(t)
	if err := w.deliverAnswer(w.answers[0]); !errors.Is(err, ErrNotAsked) {
		t.Fatalf("an older answer after a later one: %v", err)
	}
	w.mustBeFresh(t, later.since)
}

func TestOldAnswerWithASmallerHeadIsAccepted(t *testing.T) {
	w := history(2)
	w.deliver(w.page(1, 2))
	w.ask()
	w.answer(w.requests[0]) // head 2
	w.commit(false)
	w.number()
	w.deliver(w.page(3, 3)) // applied 3
	w.clock.Advance(4 * time.Minute)
	w.ask() // the chain of head 2 must survive the tidying up
	if err := w.deliverAnswer(w.answers[0]); err != nil {
		t.Fatal(err)
	}
	w.mustBeFresh(t, w.requests[0].since)
}

func TestHoleMismatchAndNewEpochKeepWhatWasProven(t *testing.T) {
	for name, disturb := range map[string]func(*world){
		"hole": func(w *world) {
			w.commit(false)
			w.commit(false)
			w.number()
			w.deliver(w.page(4, 4))
		},
		"branch": func(w *world) {
			w.regress(1)
			w.commit(false)
			w.commit(false)
			w.number()
			w.deliver(w.page(1, 3))
		},
		"epoch": func(w *world) {
			w.openEpoch()
			w.number()
			w.deliver(w.page(1, 2))
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := history(2)
			w.deliver(w.page(1, 2))
			asked := w.exchange(t)
			disturb(w)
			w.mustBeFresh(t, asked.since)
			again := w.exchange(t)
			w.clock.Advance(catchUpAfter)
			if need, due := w.f.CatchUp(w.clock.Now()); due {
				w.deliver(w.page(need.From, w.head()))
			}
			w.mustBeFresh(t, again.since)
		})
	}
}

func TestAnswerOfAnOlderEpochIsRefused(t *testing.T) {
	w := history(1)
	w.ask()
	w.answer(w.requests[0])
	w.openEpoch()
	w.number()
	w.deliver(w.page(1, 1))
	w.ask()
	w.answer(w.requests[1])
	w.ask()
	stale := w.answers[0]
	r, err := events.DecodeProofRequest(w.requests[2].body)
	if err != nil {
		t.Fatal(err)
	}
	stale.Nonce, stale.Request = r.Nonce, events.HashOf(w.requests[2].body)
	if err := w.deliverAnswer(w.answers[1]); err != nil {
		t.Fatal(err)
	}
	if err := w.deliverAnswer(stale); !errors.Is(err, ErrOldEpoch) {
		t.Fatalf("got %v", err)
	}
}

func TestUnknownEventStopsAppliedUnlessIgnorableOrDead(t *testing.T) {
	build := func(payload string) *world {
		w := history(1)
		raw, err := events.EncodeEvent(2, "future.thing", 10, 20, []byte(payload))
		if err != nil {
			t.Fatal(err)
		}
		w.log = append(w.log, entry{fact: fact{n: 99}, raw: raw, chain: w.chainAt(1).Next(raw)})
		w.commit(false)
		w.number()
		w.deliver(w.page(1, 3))
		return w
	}
	t.Run("stops", func(t *testing.T) {
		w := build(`{}`)
		w.exchange(t)
		w.mustNotBeFresh(t)
		if !w.applied[1] || !w.applied[2] {
			t.Fatal("the rest of the batch must be applied")
		}
	})
	t.Run("ignorable", func(t *testing.T) {
		w := build(`{"ignorable":true}`)
		asked := w.exchange(t)
		w.mustBeFresh(t, asked.since)
	})
	t.Run("dead", func(t *testing.T) {
		w := build(`{}`)
		w.floor = 3
		asked := w.exchange(t)
		w.mustBeFresh(t, asked.since)
	})
}

func TestCatchUpStartsAfterTheEventsHadTheirChance(t *testing.T) {
	w := history(2)
	w.exchange(t)
	if _, due := w.f.CatchUp(w.clock.Now()); !due {
		t.Fatal("at the first start there is nothing to wait for")
	}
	w.deliver(w.page(1, 2))
	for range 4 {
		w.commit(false)
	}
	w.exchange(t)
	if _, due := w.f.CatchUp(w.clock.Now()); due {
		t.Fatal("due at once")
	}
	w.clock.Advance(catchUpAfter / 2)
	if wait, ok := w.f.CatchUpDue(w.clock.Now()); !ok || wait != catchUpAfter/2 {
		t.Fatalf("due in %v, %v", wait, ok)
	}
	w.clock.Advance(catchUpAfter / 2)
	need, due := w.f.CatchUp(w.clock.Now())
	if !due || need.From != 3 || need.To != 6 || need.Since == 0 || need.Distrust {
		t.Fatalf("need %+v, %v", need, due)
	}
	w.deliver(w.page(3, 6))
	if _, due := w.f.CatchUp(w.clock.Now()); due {
		t.Fatal("due when nothing is missing")
	}
}

func TestLeapOverUnseenEventsEmptiesTheKeyCacheBeforeTheProofCounts(t *testing.T) {
	w := history(2)
	w.deliver(w.page(1, 2))
	w.exchange(t)
	skips := w.skips
	for range 4 {
		w.commit(false)
	}
	w.number()
	w.deliver(w.page(3, 3))
	w.exchange(t)
	w.floor = 6
	w.deliver(w.page(6, 6))
	freshAtSkip := w.f.Fresh()
	w.f.cfg.Skipped = func() {
		w.skips++
		if w.f.Fresh() != freshAtSkip {
			t.Error("the proof counted before the cache was empty")
		}
	}
	asked := w.exchange(t)
	w.mustBeFresh(t, asked.since)
	if w.skips != skips+1 {
		t.Fatalf("%d skips", w.skips-skips)
	}
}

// An event that the set doesn't keep, because it takes it for past until, may concern a resolved key all the same.
func TestAnEventThatIsNotKeptEmptiesTheKeyCacheOnce(t *testing.T) {
	w := history(4)
	w.floor = 3
	w.deliver(w.page(3, 4))
	w.exchange(t)
	w.commit(false)
	w.commit(false)
	w.number()
	w.unkept = map[int]bool{1: true, 2: true, 5: true, 6: true}
	skips := w.skips
	freshBefore := w.f.Fresh()
	w.f.cfg.Skipped = func() {
		w.skips++
		if w.f.Fresh() != freshBefore {
			t.Error("a proof counted before the cache was empty")
		}
	}
	w.deliver(w.page(1, 2)) // below the floor that was proven
	w.deliver(w.page(3, 4))
	if w.skips != skips {
		t.Error("the cache was emptied for what is known to be dead")
	}
	w.deliver(w.page(6, 6))
	w.exchange(t)
	w.deliver(w.page(5, 6))
	w.deliver(w.page(5, 6))
	if w.skips != skips+2 || w.f.Fresh() == freshBefore {
		t.Errorf("emptied %d times", w.skips-skips)
	}
}

func TestContinuousFeedEmptiesNoCache(t *testing.T) {
	w := history(2)
	w.deliver(w.page(1, 2))
	w.exchange(t)
	skips := w.skips
	for range 5 {
		w.commit(false)
		w.number()
		w.floor++
		w.deliver(w.page(w.head(), w.head()))
		asked := w.exchange(t)
		w.mustBeFresh(t, asked.since)
	}
	if w.skips != skips {
		t.Fatalf("%d skips", w.skips-skips)
	}
}

func TestAnswerWaitsForExactlyItsKeySet(t *testing.T) {
	w := history(1)
	w.deliver(w.page(1, 1))
	w.keySet = events.HashOf([]byte("rotated"))
	asked := w.exchange(t)
	w.mustNotBeFresh(t)
	if !w.f.TakeKeyDemand() {
		t.Fatal("no demand")
	}
	if w.f.TakeKeyDemand() {
		t.Fatal("the same answer demanded twice")
	}
	w.exchange(t)
	if !w.f.TakeKeyDemand() {
		t.Fatal("a later answer must demand again: the fetch may have come too early")
	}
	w.setKeys(w.keySet)
	if fresh := w.f.Fresh(); fresh == nil || fresh.Since == asked.since {
		t.Fatalf("fresh %+v; the later question counts", fresh)
	}
	if w.f.TakeKeyDemand() {
		t.Fatal("demand for keys that are held")
	}
}

func TestQuestionTellsThePosition(t *testing.T) {
	w := history(3)
	w.deliver(w.page(1, 3))
	w.exchange(t)
	w.clock.Advance(31 * time.Second)
	w.ask()
	r, err := events.DecodeProofRequest(w.requests[1].body)
	if err != nil {
		t.Fatal(err)
	}
	if r.Epoch != w.epoch || r.Applied != 3 || r.Chain != w.chainAt(3) || r.State != events.StateStale || r.Bound != 30_000_000 {
		t.Fatalf("question %+v", r)
	}
}

func TestBatchTellsWhatItBrought(t *testing.T) {
	w := history(2)
	w.deliver(w.page(1, 2))
	w.exchange(t)
	for range 3 {
		w.commit(false)
	}
	w.number()
	decode := func(first, last uint64) events.Batch {
		b, err := events.DecodeBatch(w.page(first, last))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for _, c := range []struct {
		name        string
		first, last uint64
		want        Applied
	}{
		{"beyond a hole", 4, 4, Applied{Gap: true}},
		{"next", 3, 3, Applied{Advanced: true}},
		{"again", 3, 4, Applied{}},
		{"next after the joined one", 5, 5, Applied{Advanced: true}},
	} {
		if got := w.f.Batch(decode(c.first, c.last), w.clock.Now()); got != c.want {
			t.Fatalf("%s: %+v", c.name, got)
		}
	}
	if s := w.f.Stats(); s.Applied != 5 || s.Gaps != 1 {
		t.Fatalf("stats %+v", s)
	}
}

func TestOnlyWhatTheFeedBringsAfterAProofIsTimed(t *testing.T) {
	w := history(2)
	w.clock.Advance(time.Second) // the proof's time is later than that of the events before it
	w.deliver(w.page(1, 2))
	w.exchange(t)
	w.clock.Advance(time.Second)
	w.commit(false)
	w.number()
	w.commit(false)
	w.number()
	w.deliver(w.page(1, 2)) // again
	w.deliver(w.page(4, 4)) // beyond a hole, in effect all the same
	w.deliver(w.page(3, 4))
	w.deliver(w.page(3, 4))
	if len(w.arrived) != 2 {
		t.Fatalf("%d events timed, want 2: %v", len(w.arrived), w.arrived)
	}
}

func TestChangedKeySetIsToldOnce(t *testing.T) {
	w := newWorld()
	payload, err := events.EncodePayload(events.KeysChanged{Hash: w.keySet})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := events.EncodeEvent(1, events.TypeKeysChanged, 10, 20, payload)
	if err != nil {
		t.Fatal(err)
	}
	w.log = append(w.log, entry{raw: raw, chain: w.chainAt(0).Next(raw)})
	b, err := events.DecodeBatch(w.page(1, 1))
	if err != nil {
		t.Fatal(err)
	}
	if !w.f.Batch(b, w.clock.Now()).KeysChanged {
		t.Fatal("not told")
	}
	if w.f.Batch(b, w.clock.Now()).KeysChanged {
		t.Fatal("told again for a repetition")
	}
}

// Whoever counts this instance among those that have applied a change of the key set must be right: tokens of a key that
// left the set are refused only once readers see the new one.
func TestAppliedStopsBeforeAKeySetThatReadersDoNotSee(t *testing.T) {
	w := history(2)
	w.deliver(w.page(1, 2))
	w.exchange(t)
	first, second := events.HashOf([]byte("keys 1")), events.HashOf([]byte("keys 2"))
	w.changeKeys(t, first)
	w.changeKeys(t, second)
	w.commit(false)
	w.number()
	w.deliver(w.page(3, 5))
	w.wantApplied(t, 2)
	w.setKeys(first)
	w.wantApplied(t, 3)
	w.deliver(w.page(3, 5)) // again
	w.wantApplied(t, 3)
	w.setKeys(second)
	w.wantApplied(t, 5)
}

// The proof tells that the set is that of the feed's head, whether or not its events were heard.
func TestAProofSettlesEveryKeySetBeforeIt(t *testing.T) {
	w := history(2)
	w.deliver(w.page(1, 2))
	w.exchange(t)
	w.changeKeys(t, events.HashOf([]byte("keys 1")))
	w.deliver(w.page(3, 3))
	w.wantApplied(t, 2)
	w.changeKeys(t, events.HashOf([]byte("keys 2")))
	w.floor = 5
	w.exchange(t)
	w.setKeys(w.keySet)
	w.wantApplied(t, 4)
}

// changeKeys is a rotation, numbered at once.
func (w *world) changeKeys(t *testing.T, set events.Hash) {
	t.Helper()
	payload, err := events.EncodePayload(events.KeysChanged{Hash: set})
	if err != nil {
		t.Fatal(err)
	}
	now := w.clock.Now().Micros()
	raw, err := events.EncodeEvent(w.head()+1, events.TypeKeysChanged, now, now+1, payload)
	if err != nil {
		t.Fatal(err)
	}
	w.keySet = set
	w.log = append(w.log, entry{raw: raw, chain: w.chainAt(w.head()).Next(raw)})
}

func (w *world) wantApplied(t *testing.T, seq uint64) {
	t.Helper()
	w.ask()
	r, err := events.DecodeProofRequest(w.requests[len(w.requests)-1].body)
	if err != nil || r.Applied != seq || r.Chain != w.chainAt(seq) {
		t.Fatalf("applied %d, want %d, or another chain: %v", r.Applied, seq, err)
	}
}

func TestTimeForExpiryIsTheLaterOne(t *testing.T) {
	clk := clock.NewFake(time.Unix(1_800_000_000, 0))
	fresh := &Freshness{Since: clk.Now(), Now: clk.Now().Micros() + 5_000_000} // this machine runs 5 s late
	clk.Advance(2 * time.Second)
	if got, want := fresh.Time(clk.Now()), fresh.Now+2_000_000; got != want {
		t.Fatalf("got %d, want %d", got, want)
	}
	fresh.Now -= 10_000_000 // and now 5 s early
	if got, want := fresh.Time(clk.Now()), clk.Now().Micros(); got != want {
		t.Fatalf("got %d, want %d", got, want)
	}
}

func TestFreshnessIsReadWithoutAllocation(t *testing.T) {
	w := history(1)
	w.deliver(w.page(1, 1))
	w.exchange(t)
	if n := testing.AllocsPerRun(100, func() { w.f.Fresh().Within(clock.Reading{}, time.Second) }); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func TestHolesAreBounded(t *testing.T) {
	w := history(2*maxRuns + 10)
	for seq := w.head(); seq > 0; seq -= 2 {
		w.deliver(w.page(seq, seq))
	}
	if n := len(w.f.tracks[w.epoch].runs); n > maxRuns {
		t.Fatalf("%d runs", n)
	}
	asked := w.exchange(t)
	w.deliver(w.page(1, 500))
	w.clock.Advance(catchUpAfter)
	for {
		need, due := w.f.CatchUp(w.clock.Now())
		if !due {
			break
		}
		w.deliver(w.page(need.From, min(w.head(), need.From+499)))
	}
	w.mustBeFresh(t, asked.since)
}

func TestEpochsThatAreFollowedAreBounded(t *testing.T) {
	w := history(1)
	for range 3 * maxTracks {
		w.deliver(w.page(1, 1))
		w.openEpoch()
		w.number()
	}
	if n := len(w.f.tracks); n > maxTracks {
		t.Fatalf("%d epochs", n)
	}
	w.deliver(w.page(1, w.head()))
	asked := w.exchange(t)
	w.mustBeFresh(t, asked.since)
	if n := len(w.f.tracks); n != 1 {
		t.Fatalf("%d epochs after the proof", n)
	}
}

// FuzzMessages feeds outside bytes as they come after the signature was verified: nothing may panic, and nothing may
// become fresh, as no question was asked.
func FuzzMessages(f *testing.F) {
	w := history(4)
	f.Add(w.page(1, 4), []byte(`{}`))
	f.Add(w.page(2, 3), w.page(4, 4))
	w.ask()
	w.answer(w.requests[0])
	f.Fuzz(func(t *testing.T, a, b []byte) {
		w := newWorld()
		w.f.cfg.Apply = func([]events.Event) []uint64 { return nil }
		for _, body := range [][]byte{a, b} {
			if batch, err := events.DecodeBatch(body); err == nil {
				w.f.Batch(batch, w.clock.Now())
			}
			if answer, err := events.DecodeProofAnswer(body); err == nil {
				if _, err := w.f.Answer(answer, w.clock.Now()); !errors.Is(err, ErrNotAsked) {
					t.Fatalf("got %v", err)
				}
			}
			w.f.CatchUp(w.clock.Now())
			w.f.Stats()
		}
		w.mustNotBeFresh(t)
	})
}

// A database that was set back to before its floor goes on below what was proven: its events are needed again.
func TestAnAnswerBelowTheProvenRunIsReadAgain(t *testing.T) {
	w := newWorld()
	w.setKeys(w.keySet)
	w.commit(false)
	w.commit(false)
	w.number()
	w.floor = 3 // both are dead: the answer alone gives the position
	w.ask()
	w.answer(w.requests[0])
	if err := w.deliverAnswer(w.answers[0]); err != nil || w.f.Fresh() == nil {
		t.Fatalf("%v, fresh %v", err, w.f.Fresh())
	}

	w.log, w.floor = nil, 1 // restored from a backup, and nobody remembers
	w.commit(false)
	w.ask()
	w.answer(w.requests[1])
	if err := w.deliverAnswer(w.answers[1]); err != nil {
		t.Fatal(err)
	}
	w.deliver(w.page(1, 1))
	if fresh := w.f.Fresh(); fresh.Since != w.requests[1].since {
		t.Errorf("not fresh by the second answer: %+v", w.f.Stats())
	}
}
