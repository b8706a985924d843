package quota

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/clock"
)

// bench is one process and what it may be told.
type bench struct {
	*Meter
	t     *testing.T
	clock *clock.Fake
	jobs  *Resource
}

func newBench(t *testing.T) *bench {
	m := NewMeter()
	return &bench{m, t, clock.NewFake(time.Unix(1_800_000_000, 0)), m.Resource("jobs")}
}

func (b *bench) now() clock.Reading { return b.clock.Now() }

func (b *bench) ask() Verdict {
	if b.Spend(alice, b.jobs, b.now()) {
		return Spent
	}
	v, _ := b.SpendOrAsk(alice, b.jobs, b.now(), false)
	return v
}

func (b *bench) want(want Verdict) {
	b.t.Helper()
	if got := b.ask(); got != want {
		b.t.Errorf("verdict %d, want %d", got, want)
	}
}

// question is the next, which must be about alice alone.
func (b *bench) question() *Question {
	b.t.Helper()
	q := b.Next(b.now())
	if q == nil || len(q.Entries) != 1 {
		b.t.Fatalf("question %+v", q)
	}
	return q
}

func (b *bench) answer(q *Question, term, allowed int64) {
	q.Answer(events.QuotaAnswer{Grants: []events.QuotaGrant{{Term: term, EndsIn: time.Minute.Microseconds(), Allowed: allowed}}})
}

// allow has the process hold so much.
func (b *bench) allow(term, allowed int64) {
	b.t.Helper()
	b.want(Wait)
	b.answer(b.question(), term, allowed)
}

// TestWhatIsSpentWhileAQuestionIsMadeIsWithinIt: the MUST of [events.QuotaEntry], with spenders at work.
func TestWhatIsSpentWhileAQuestionIsMadeIsWithinIt(t *testing.T) {
	for range 200 {
		b := newBench(t)
		b.allow(1, 1000)
		var spent atomic.Int64
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				for b.Spend(alice, b.jobs, b.now()) {
					spent.Add(1)
				}
			})
		}
		b.Settle()
		q := b.question()
		all.Wait()
		if e := q.Entries[0]; spent.Load() > e.Spent+e.Want {
			t.Fatalf("%d spent, told %d + %d", spent.Load(), e.Spent, e.Want)
		}
	}
}

func TestALostAnswerLeavesWhatWasLowered(t *testing.T) {
	b := newBench(t)
	b.allow(1, 10)
	b.want(Spent)
	b.Settle()
	if e := b.question().Entries[0]; e.Spent != 1 || e.Want != 0 || e.Term != 1 {
		t.Errorf("%+v", e)
	}
	b.want(Wait)
}

// TestASlowSpenderFindsNothingInATermThatWasReported: it had looked at its clock before the end.
func TestASlowSpenderFindsNothingInATermThatWasReported(t *testing.T) {
	b := newBench(t)
	b.allow(1, 10)
	before := b.now()
	b.clock.Advance(2 * time.Minute)
	b.want(Wait)
	q := b.question()
	if e := q.Entries[0]; e.Term != 1 || e.Spent != 0 || e.Want == 0 {
		t.Errorf("%+v", e)
	}
	if b.Spend(alice, b.jobs, before) {
		t.Error("spent in a term whose last report is on its way")
	}
}

func TestATermEndsByEitherClock(t *testing.T) {
	for name, move := range map[string][2]time.Duration{"both": {time.Minute, time.Minute}, "asleep": {time.Minute, 0}, "set back": {-time.Hour, time.Minute}} {
		b := newBench(t)
		b.allow(1, 10)
		b.want(Spent)
		if b.clock.Move(move[0], move[1]); b.ask() == Spent {
			t.Errorf("%s: spent after the end", name)
		}
	}
}

func TestWhatIsUsedUpIsAskedAboutOnceASecond(t *testing.T) {
	b := newBench(t)
	b.allow(1, 1)
	b.want(Spent)
	b.answer(b.question(), 1, 1) // asked as soon as half is spent: nothing more
	for range 5 {
		b.want(Exceeded)
	}
	if q := b.Next(b.now()); q != nil {
		t.Errorf("%+v", q.Entries)
	}
	b.clock.Advance(time.Second)
	b.want(Wait)
	b.want(Exceeded)
	b.answer(b.question(), 1, 2)
	b.want(Spent)
}

func TestTheWishFollowsTheDemand(t *testing.T) {
	b := newBench(t)
	b.want(Wait)
	held, most := int64(0), int64(0)
	for range 12 {
		if q := b.Next(b.now()); q != nil {
			e := q.Entries[0]
			held, most = e.Spent+e.Want, max(most, e.Want)
			b.answer(q, 1, held)
		}
		for b.Spend(alice, b.jobs, b.now()) {
		}
	}
	if most < 500 {
		t.Errorf("after twelve questions no more than %d are wanted at once", most)
	}
	for range 10 {
		b.clock.Advance(Period)
		b.Tick(b.now())
		if q := b.Next(b.now()); q != nil {
			e := q.Entries[0]
			held = e.Want
			b.answer(q, 1, e.Spent+e.Want)
		}
	}
	if held != 0 {
		t.Errorf("idle, and %d are held", held)
	}
}

func TestWhatIsIdleIsForgottenWhenAllIsTold(t *testing.T) {
	b := newBench(t)
	b.allow(1, 3)
	b.want(Spent)
	b.clock.Advance(time.Hour)
	b.Tick(b.now())
	b.question().Fail()
	for range 3 {
		b.clock.Advance(Period)
		b.Tick(b.now())
		if q := b.Next(b.now()); b.Stats().States != 1 {
			t.Fatal("forgotten, and not told")
		} else if q != nil {
			b.answer(q, 1, q.Entries[0].Spent)
		}
	}
	b.clock.Advance(time.Hour)
	if b.Tick(b.now()); b.Stats().States != 0 || b.table.find(alice, b.jobs) != nil {
		t.Error("kept")
	}
}

func TestWhatPassedBeforeTheFirstGrantIsCountedInItsWindow(t *testing.T) {
	for name, c := range map[string]struct {
		outage time.Duration
		counts int64
	}{"within": {time.Second, 2}, "longer": {2 * time.Minute, 0}} {
		b := newBench(t)
		b.want(Wait)
		b.question().Fail()
		b.want(Uncounted)
		b.want(Uncounted)
		b.clock.Advance(c.outage)
		b.Tick(b.now())
		q := b.question()
		q.Answer(events.QuotaAnswer{Grants: []events.QuotaGrant{{Term: 1, EndsIn: time.Second.Microseconds(), Allowed: 5,
			Limits: []events.QuotaLimit{{Limit: 5, Window: 60, Left: 5, EndsIn: time.Second.Microseconds()}}}}})
		left := int64(0)
		for b.Spend(alice, b.jobs, b.now()) {
			left++
		}
		if left != 5-c.counts {
			t.Errorf("%s: %d left of 5", name, left)
		}
	}
}

func TestThereIsABoundToWhatIsCounted(t *testing.T) {
	b := newBench(t)
	for i := range MaxStates + 10 {
		user := events.ID{12: byte(i >> 24), 13: byte(i >> 16), 14: byte(i >> 8), 15: byte(i)}
		want := Wait
		if i >= MaxStates {
			want = Away
		}
		if v, _ := b.SpendOrAsk(user, b.jobs, b.now(), false); v != want {
			t.Fatalf("user %d: %d", i, v)
		}
	}
	if n := b.Stats().States; n != MaxStates {
		t.Errorf("%d states", n)
	}
}

func TestAnswersOnTheirWayWhenAllIsRecalledAreLost(t *testing.T) {
	b := newBench(t)
	b.want(Wait)
	q := b.question()
	b.Recall()
	b.answer(q, 1, 5)
	b.want(Wait)
}

// TestAFailureReleasesWhoWaitsForTheNextQuestion: nobody waits twice for an authsvc that is away.
func TestAFailureReleasesWhoWaitsForTheNextQuestion(t *testing.T) {
	b := newBench(t)
	b.want(Wait)
	q := b.question()
	bob := events.ID{15: 2}
	verdict, ticket := b.SpendOrAsk(bob, b.jobs, b.now(), false)
	if verdict != Wait {
		t.Fatal(verdict)
	}
	q.Fail()
	select {
	case <-ticket.Answered:
	default:
		t.Error("waits on")
	}
	if verdict, _ := b.SpendOrAsk(bob, b.jobs, b.now(), false); verdict != Uncounted {
		t.Error(verdict)
	}
}
