package follower

import (
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/pkg/events"
)

// kept is how many chains the only run keeps.
func (w *world) kept(t *testing.T) int {
	t.Helper()
	runs := w.f.tracks[w.epoch].runs
	if len(runs) != 1 {
		t.Fatalf("%d runs", len(runs))
	}
	return len(runs[0].chains)
}

func TestCompactPagesLeaveNoChainForEachEvent(t *testing.T) {
	w := history(300)
	for first := uint64(1); first <= 300; first += 50 {
		w.deliverCompact(w.page(first, first+49))
	}
	if n := w.kept(t); n != 1 {
		t.Errorf("%d chains are kept", n)
	}
	w.mustBeFresh(t, w.exchange(t).since)
}

// The answer came before the page that goes beyond its head.
func TestAPageBeyondAHeldAnswerProvesIt(t *testing.T) {
	w := history(100)
	asked := w.exchange(t)
	for range 50 {
		w.commit(false)
	}
	w.number()
	w.deliverCompact(w.page(1, 70))
	w.deliverCompact(w.page(71, 150))
	w.mustBeFresh(t, asked.since)
	if n := w.kept(t); n != 51 {
		t.Errorf("%d chains are kept", n)
	}
}

// The answer was under way when the page came: its head's chain wasn't kept, and that is no contradiction.
func TestAnAnswerThatAPageOvertookContradictsNothing(t *testing.T) {
	w := history(100)
	w.ask()
	w.answer(w.requests[0])
	for range 50 {
		w.commit(false)
	}
	w.number()
	w.deliverCompact(w.page(1, 150))
	if err := w.deliverAnswer(w.answers[0]); err != nil {
		t.Fatal(err)
	}
	w.mustNotBeFresh(t)
	if s := w.f.Stats(); s.Mismatches != 0 {
		t.Fatalf("%+v", s)
	}
	w.clock.Advance(time.Second)
	if _, due := w.f.CatchUp(w.clock.Now()); due {
		t.Error("something is to be read again")
	}
	w.mustBeFresh(t, w.exchange(t).since)
}

// The answer to a question that was asked after the page had come has a head in the page: the database was set back.
func TestAnAnswerBelowAPageIsAContradiction(t *testing.T) {
	w := history(100)
	w.deliverCompact(w.page(1, 100))
	w.clock.Advance(time.Second)
	w.regress(40)
	w.exchange(t)
	if s := w.f.Stats(); s.Mismatches != 1 {
		t.Fatalf("%+v", s)
	}
	w.deliverCompact(w.page(1, 60))
	if w.f.Fresh() == nil {
		t.Fatalf("%+v", w.f.Stats())
	}
}

// A verifier that has been quiet for so long that it keeps few chains reads pages that begin before what it has.
func TestPagesJoinWhatWasKnownForLong(t *testing.T) {
	w := history(30)
	w.deliver(w.page(1, 30))
	w.mustBeFresh(t, w.exchange(t).since)
	w.clock.Advance(2 * events.MaxBound)
	w.exchange(t)
	if n := w.kept(t); n != 1 {
		t.Fatalf("%d chains are kept", n)
	}
	for range 100 {
		w.commit(false)
	}
	w.number()
	asked := w.exchange(t)
	for _, first := range []uint64{81, 21, 41, 61, 101, 121} {
		w.deliverCompact(w.page(first, min(w.head(), first+19)))
	}
	w.mustBeFresh(t, asked.since)
	if s := w.f.Stats(); s.Mismatches != 0 || s.Skips != 1 {
		t.Errorf("%+v", s)
	}
}
