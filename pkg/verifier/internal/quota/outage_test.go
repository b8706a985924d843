package quota

import (
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/pkg/events"
)

// failAll has no question answered.
func (b *bench) failAll() {
	for q := b.Next(b.now()); q != nil; q = b.Next(b.now()) {
		q.Fail()
	}
}

// later is so many ticks with authsvc away.
func (b *bench) later(ticks int) {
	for range ticks {
		b.clock.Advance(Period)
		b.Tick(b.now())
		b.failAll()
	}
}

// grant answers with a term that ends in so many seconds and lies in one window, of a minute.
func (b *bench) grant(q *Question, term, allowed, endsIn int64) {
	q.Answer(events.QuotaAnswer{Grants: []events.QuotaGrant{{Term: term, EndsIn: endsIn * 1e6, Allowed: allowed,
		Limits: []events.QuotaLimit{{Limit: 100, Window: 60, Left: 100, EndsIn: endsIn * 1e6}}}}})
}

// TestAnOutageLastsUntilAnAnswer: nobody waits to find out anew, however seldom somebody comes.
func TestAnOutageLastsUntilAnAnswer(t *testing.T) {
	b := newBench(t)
	b.want(Wait)
	b.failAll()
	b.later(60)
	b.want(Uncounted)
	b.Tick(b.now())
	b.answer(b.question(), 1, 5)
	if b.Stats().Away {
		t.Error("still away")
	}
}

func TestAnOutageIsFoundToBeOverThoughNobodyComes(t *testing.T) {
	b := newBench(t)
	b.allow(1, 1)
	b.want(Spent)
	b.answer(b.question(), 1, 1)
	b.clock.Advance(askAgain)
	b.want(Wait)
	b.failAll()
	for range 60 {
		b.clock.Advance(Period)
		b.Tick(b.now())
		q := b.Next(b.now())
		if q == nil {
			t.Fatal("authsvc isn't asked")
		}
		q.Fail()
	}
}

// TestWhatIsUsedUpIsAskedAboutInAnOutage: nobody else may come by whom to find out that it is over.
func TestWhatIsUsedUpIsAskedAboutInAnOutage(t *testing.T) {
	b := newBench(t)
	b.allow(1, 1)
	b.want(Spent)
	b.answer(b.question(), 1, 1)
	b.clock.Advance(askAgain)
	b.want(Wait)
	b.failAll()
	b.later(1)
	b.want(Exceeded)
	b.Tick(b.now())
	b.answer(b.question(), 1, 2)
	b.want(Spent)
}

func TestWhatPassedBeforeTheFirstGrantIsToldHoweverLateThatIs(t *testing.T) {
	b := newBench(t)
	b.want(Wait)
	b.failAll()
	for range 50 {
		b.want(Uncounted)
	}
	b.later(15) // idle, and forgotten if there was nothing to tell
	b.Tick(b.now())
	b.grant(b.question(), 1, 60, 30)
	b.Tick(b.now())
	if e := b.question().Entries[0]; e.Spent != 50 || e.Term != 1 {
		t.Errorf("%+v", e)
	}
}

func TestWhatPassedBeforeTheFirstGrantIsToldAtTheEnd(t *testing.T) {
	b := newBench(t)
	b.want(Wait)
	b.failAll()
	b.want(Uncounted)
	b.Settle()
	b.grant(b.question(), 1, 0, 60)
	q := b.question()
	if e := q.Entries[0]; e.Spent != 1 || e.Want != 0 {
		t.Errorf("%+v", e)
	}
	b.grant(q, 1, 1, 60)
	if q := b.Next(b.now()); q != nil {
		t.Errorf("told again: %+v", q.Entries)
	}
}

func TestWhatPassedWithoutALimitIsForgotten(t *testing.T) {
	b := newBench(t)
	b.want(Wait)
	b.failAll()
	b.want(Uncounted)
	b.Tick(b.now())
	b.answer(b.question(), 0, 0)
	b.clock.Advance(time.Hour)
	b.Tick(b.now())
	if b.Tick(b.now()); b.Next(b.now()) != nil {
		t.Error("told, though there is nobody to count it")
	}
}

// TestWhatPassedAfterATermIsCountedInTheNext: authsvc is away when the term ends.
func TestWhatPassedAfterATermIsCountedInTheNext(t *testing.T) {
	for name, next := range map[string]int64{"next": 2, "the same, by a slow clock": 1} {
		b := newBench(t)
		b.want(Wait)
		b.grant(b.question(), 1, 1, 30)
		b.want(Spent)
		b.failAll()
		b.clock.Advance(31 * time.Second)
		for range 40 {
			b.want(Uncounted)
		}
		b.Tick(b.now())
		q := b.question()
		if e := q.Entries[0]; e.Term != 1 || e.Spent != 1 {
			t.Errorf("%s: %+v", name, e)
		}
		b.grant(q, next, 45, 59)
		if next == 1 {
			b.Tick(b.now())
			if e := b.question().Entries[0]; e.Spent != 41 {
				t.Errorf("%s: %+v", name, e)
			}
			continue
		}
		b.clock.Advance(-time.Second / 2)
		for range 5 {
			b.want(Spent)
		}
		if b.ask() == Spent {
			t.Errorf("%s: what had passed doesn't count", name)
		}
	}
}
