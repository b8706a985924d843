package quota

import (
	"testing"

	"github.com/tocsin-auth/tocsin/pkg/events"
)

// busyGrant is of an entry that authsvc had no time for.
var busyGrant = events.QuotaGrant{Term: 9, EndsIn: 1, Busy: true}

func TestABusyAuthLetsNobodyThroughAndIsAskedAgainAtTheNextTick(t *testing.T) {
	b := newBench(t)
	b.want(Wait)
	b.question().PutOff()
	b.want(Busy)
	if q := b.Next(b.now()); q != nil {
		t.Errorf("asked before the tick: %+v", q.Entries)
	}
	b.Tick(b.now())
	b.want(Wait)
	if e := b.question().Entries[0]; e.Want < 2 {
		t.Errorf("who was put off isn't in the demand: %+v", e)
	}
	if s := b.Stats(); s.Away || s.Uncounted > 0 || s.Failures > 0 || s.Busy != 1 {
		t.Errorf("%+v", s)
	}
}

func TestABusyAuthIsNoAuthThatIsAway(t *testing.T) {
	b := newBench(t)
	b.want(Wait)
	b.failAll()
	b.want(Uncounted)
	b.Tick(b.now())
	b.question().PutOff()
	b.want(Busy)
	if b.Stats().Away {
		t.Error("away")
	}
}

// TestWhatIsAllowedIsSpentWhileAuthIsBusy, and no more: a question that was put off lowers what is left, as a lost one does.
func TestWhatIsAllowedIsSpentWhileAuthIsBusy(t *testing.T) {
	b := newBench(t)
	b.allow(1, 5)
	b.want(Spent)
	b.Tick(b.now())
	q := b.question()
	e := q.Entries[0]
	q.PutOff()
	accepted := int64(1)
	for b.ask() == Spent {
		accepted++
	}
	if accepted > e.Spent+e.Want {
		t.Errorf("%d accepted, told %+v", accepted, e)
	}
	b.want(Busy)
	b.Tick(b.now())
	if again := b.question().Entries[0]; again.Term != 1 || again.Spent != accepted {
		t.Errorf("%d accepted, told %+v", accepted, again)
	}
}

func TestWhatIsUsedUpStaysSoWhileAuthIsBusy(t *testing.T) {
	b := newBench(t)
	b.allow(1, 1)
	b.want(Spent)
	b.answer(b.question(), 1, 1)
	b.clock.Advance(askAgain)
	b.want(Wait)
	b.question().PutOff()
	b.want(Exceeded)
}

func TestNobodyWaitsForABusyAuth(t *testing.T) {
	b := newBench(t)
	b.want(Wait)
	q := b.question()
	_, alice := b.reserve()
	_, other := b.SpendOrAsk(bob, b.jobs, b.now(), false) // whose turn hasn't come
	taking := b.Take(user(5), b.jobs, b.now())
	others := b.Others(other)
	q.PutOff()
	<-alice.Answered
	<-other.Answered
	<-others
	<-taking.Done()
	if _, answered := taking.Taken(); answered {
		t.Error("decided")
	}
	late := b.Take(user(6), b.jobs, b.now())
	<-late.Done()
	if v, _ := b.SpendOrAsk(bob, b.jobs, b.now(), false); v != Busy {
		t.Errorf("verdict %d", v)
	}
}

// TestAQuestionThatIsLostWhileAnotherIsPutOffIsNoOutage: authsvc has said meanwhile that it is there.
func TestAQuestionThatIsLostWhileAnotherIsPutOffIsNoOutage(t *testing.T) {
	b := newBench(t)
	b.want(Wait)
	first := b.question()
	b.SpendOrAsk(bob, b.jobs, b.now(), false)
	second := b.Next(b.now())
	first.PutOff()
	second.Fail()
	b.want(Busy)
	b.Tick(b.now())
	b.want(Wait)
	b.failAll() // and now nobody has answered
	b.want(Uncounted)
}

func TestAnAnswerEndsTheRest(t *testing.T) {
	b := newBench(t)
	b.want(Wait)
	first := b.question()
	b.SpendOrAsk(bob, b.jobs, b.now(), false)
	second := b.Next(b.now())
	first.PutOff()
	b.answer(second, 1, 5)
	if v, _ := b.SpendOrAsk(bob, b.jobs, b.now(), false); v != Spent {
		t.Errorf("verdict %d", v)
	}
	if v, _ := b.SpendOrAsk(user(5), b.jobs, b.now(), false); v != Wait || b.Next(b.now()) == nil {
		t.Errorf("verdict %d", v)
	}
	b.want(Busy) // its own question was put off
}

// TestWhoIsNewKeepsNobodyWaitingWhoIsKnown: of one question, some entries are put off.
func TestWhoIsNewKeepsNobodyWaitingWhoIsKnown(t *testing.T) {
	b := newBench(t)
	b.want(Wait)
	b.SpendOrAsk(bob, b.jobs, b.now(), false)
	taking := b.Take(user(5), b.jobs, b.now())
	b.Take(user(5), b.jobs, b.now()) // has its turn after that
	q := b.Next(b.now())
	q.Answer(events.QuotaAnswer{Grants: []events.QuotaGrant{{Term: 1, EndsIn: 6e7, Allowed: 1}, busyGrant, busyGrant}})
	b.want(Spent)
	if v, _ := b.SpendOrAsk(bob, b.jobs, b.now(), false); v != Busy {
		t.Errorf("verdict %d", v)
	}
	<-taking.Done()
	if _, answered := taking.Taken(); answered || b.takers != 0 {
		t.Errorf("decided; %d wait", b.takers)
	}
	if g := b.table.find(bob, b.jobs).grant.Load(); g != nil {
		t.Errorf("goes by what was no grant: %+v", g)
	}
	if s := b.Stats(); s.Busy != 1 || s.Away {
		t.Errorf("%+v", s)
	}
}

func TestAProcessThatEndsTellsABusyAuthOnce(t *testing.T) {
	for name, end := range map[string]func(q *Question){
		"all":   (*Question).PutOff,
		"entry": func(q *Question) { q.Answer(events.QuotaAnswer{Grants: []events.QuotaGrant{busyGrant}}) },
	} {
		b := newBench(t)
		b.allow(1, 5)
		b.want(Spent)
		b.endAll(end)
		b.Settle()
		end(b.question())
		if q := b.Next(b.now()); q != nil {
			t.Errorf("%s: told again at once: %+v", name, q.Entries)
		}
	}
}

// endAll ends all questions there are in a way.
func (b *bench) endAll(end func(q *Question)) {
	for q := b.Next(b.now()); q != nil; q = b.Next(b.now()) {
		end(q)
	}
}
