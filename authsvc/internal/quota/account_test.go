package quota

import (
	"testing"

	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/pkg/events"
)

// book keeps one account and its holders in memory.
type book struct {
	now     int64
	limits  []store.PlanLimit
	account store.QuotaAccount
	holders map[string]store.QuotaHolder
	seq     int64
}

// noon is the beginning of windows of every usual length.
const noon = int64(1_760_011_200) * second

func newBook(limits ...store.PlanLimit) *book {
	return &book{now: noon, limits: limits, holders: map[string]store.QuotaHolder{}}
}

func per(seconds, limit int64) store.PlanLimit {
	return store.PlanLimit{Resource: resource, Limit: limit, Seconds: seconds}
}

func (b *book) ask(name string, e events.QuotaEntry) events.QuotaGrant {
	b.seq++
	return b.askAs(name, e, b.seq)
}

func (b *book) askAs(name string, e events.QuotaEntry, seq int64) events.QuotaGrant {
	a := open(b.account, b.limits, b.now)
	h := &holder{QuotaHolder: b.holders[name]}
	g := a.settle(h, report{e, "cars", seq})
	if a.dirty {
		b.account = a.QuotaAccount
	}
	if h.dirty {
		b.holders[name] = h.QuotaHolder
	}
	return g
}

// left is what a stranger could still get.
func (b *book) left() int64 { return open(b.account, b.limits, b.now).left(&holder{}) }

func TestARepeatedOrOvertakenQuestionChangesNothing(t *testing.T) {
	b := newBook(per(60, 100))
	first := b.askAs("a", events.QuotaEntry{Want: 10}, 5)
	b.askAs("a", events.QuotaEntry{Term: first.Term, Spent: 7, Want: 2}, 6)
	for _, seq := range []int64{5, 6} {
		if g := b.askAs("a", events.QuotaEntry{Want: 50, Take: true}, seq); g.Allowed != 9 || g.Taken || b.left() != 91 {
			t.Errorf("seq %d: %+v, %d left", seq, g, b.left())
		}
	}
}

func TestExactModeTakesToTheLastAndNoFurther(t *testing.T) {
	b := newBook(per(60, 3))
	term, taken := int64(0), int64(0)
	for range 5 {
		g := b.ask("a", events.QuotaEntry{Term: term, Spent: taken, Take: true})
		if term = g.Term; g.Taken {
			taken++
		}
		if g.Allowed != taken {
			t.Errorf("allowed %d besides %d that were taken", g.Allowed, taken)
		}
	}
	if taken != 3 || b.left() != 0 {
		t.Errorf("%d taken, %d left", taken, b.left())
	}
}

func TestWhatAnInstanceHoldsIsLostWithItOnlyUntilTheWindowEnds(t *testing.T) {
	b := newBook(per(60, 10))
	b.ask("dead", events.QuotaEntry{Want: 5})
	if b.left() != 5 {
		t.Errorf("%d left", b.left())
	}
	if b.now += 60 * second; b.left() != 10 {
		t.Errorf("%d left in the next window", b.left())
	}
}

func TestAnEndedTermIsBookedInItsOwnWindows(t *testing.T) {
	b := newBook(per(60, 50), per(3600, 100))
	g := b.ask("a", events.QuotaEntry{Want: 20})
	if g.Term != noon || g.EndsIn != 60*second || g.Allowed != 20 {
		t.Fatalf("%+v", g)
	}
	b.now += 61 * second
	g = b.ask("a", events.QuotaEntry{Term: g.Term, Spent: 30, Want: 5}) // it went on while nobody answered
	if g.Term != noon+61*second || g.Allowed != 5 || g.Limits[0].Left != 50 || g.Limits[1].Left != 70 {
		t.Errorf("%+v", g)
	}
}

// What was moved into the new term counts there, and no more in the old one.
func TestWhatAnInstanceMayHaveAcceptedMeanwhileStaysCountedUntilItTells(t *testing.T) {
	b := newBook(per(60, 100), per(3600, 100))
	first := b.ask("a", events.QuotaEntry{Want: 20})
	b.now += 60 * second
	second := b.ask("a", events.QuotaEntry{Term: first.Term, Spent: 10, Want: 5})
	if b.left() != 100-15-5 { // ten, five that it may have accepted since it asked, and five in the new term
		t.Errorf("%d left", b.left())
	}
	b.ask("a", events.QuotaEntry{Term: second.Term, Spent: 3})
	if b.left() != 100-10-3 {
		t.Errorf("%d left when it has told", b.left())
	}
}

func TestATermThatNobodyKnowsIsCountedOnTop(t *testing.T) {
	b := newBook(per(60, 100), per(3600, 100))
	for range 3 { // told again, it is the same
		b.ask("a", events.QuotaEntry{Term: noon + 7*second, Spent: 30})
		if b.left() != 70 {
			t.Errorf("%d left", b.left())
		}
	}
}

func TestALimitThatIsNewCountsWhatIsKnownOfItsWindow(t *testing.T) {
	b := newBook(per(60, 50))
	g := b.ask("a", events.QuotaEntry{Want: 20})
	b.ask("a", events.QuotaEntry{Term: g.Term, Spent: 20})
	b.limits = []store.PlanLimit{per(60, 50), per(3600, 100), per(1, 30)}
	a := open(b.account, b.limits, b.now)
	if a.window(b.limits[1]).Used != 20 || a.window(b.limits[2]).Used != 0 {
		t.Errorf("%+v", a.Windows) // what happened in the new second isn't known
	}
	b = newBook(per(60, 50))
	g = b.ask("a", events.QuotaEntry{Want: 20})
	b.limits = []store.PlanLimit{per(3600, 100)}
	b.ask("b", events.QuotaEntry{Want: 1})
	if b.ask("a", events.QuotaEntry{Term: g.Term, Spent: 5}); b.left() != 100-5-1 {
		t.Errorf("%d left after the rest of the minute's was given back", b.left())
	}
}

func TestALoweredLimitTakesNothingBackAndGivesNothingMore(t *testing.T) {
	b := newBook(per(60, 50))
	g := b.ask("a", events.QuotaEntry{Want: 20})
	b.limits = []store.PlanLimit{per(60, 5)}
	if g = b.ask("a", events.QuotaEntry{Term: g.Term, Spent: 2, Want: 30}); g.Allowed != 20 || g.Limits[0].Left != 3 {
		t.Errorf("%+v", g)
	}
	if g = b.ask("a", events.QuotaEntry{Term: g.Term, Spent: 10, Want: 0}); g.Allowed != 10 || g.Limits[0].Left != 0 {
		t.Errorf("%+v", g)
	}
}

func TestAClockThatStepsBackOpensNoWindowTwice(t *testing.T) {
	b := newBook(per(60, 10))
	b.now += 59 * second
	g := b.ask("a", events.QuotaEntry{Want: 5})
	b.ask("a", events.QuotaEntry{Term: g.Term, Spent: 5})
	b.now += 2 * second
	later := b.ask("a", events.QuotaEntry{Want: 1})
	b.now -= 3 * second
	if g := b.ask("b", events.QuotaEntry{Want: 5}); g.Term != later.Term {
		t.Errorf("%+v", g)
	}
	b.now -= 10 * 60 * second // that was a wrong clock: it is believed what it says now
	if g := b.ask("b", events.QuotaEntry{Want: 5}); g.Term <= later.Term || g.EndsIn != 2*second {
		t.Errorf("%+v", g)
	}
}

func TestNothingThatServicesReportOverflows(t *testing.T) {
	b := newBook(per(3600, 100))
	for range 100 {
		b.now++
		b.ask(events.NewNonce(), events.QuotaEntry{Term: noon + second + b.now%second, Spent: events.MaxQuotaCount, Want: events.MaxQuotaCount, Take: true})
	}
	for i := range 5000 {
		w := &b.account.Windows[0]
		if w.Used < 0 || w.By["cars"] < 0 {
			t.Fatalf("after %d: %+v", i, w)
		}
		b.ask("a", events.QuotaEntry{Term: noon + int64(i+1), Spent: events.MaxQuotaCount, Want: events.MaxQuotaCount})
	}
}
