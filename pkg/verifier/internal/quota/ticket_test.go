package quota

import (
	"fmt"
	"testing"

	"github.com/tocsin-auth/tocsin/pkg/events"
)

func (b *bench) reserve() (Verdict, Ticket) {
	return b.SpendOrAsk(alice, b.jobs, b.now(), false)
}

func user(i int) events.ID { return events.ID{6: 0x70, 8: 0x80, 14: byte(i >> 8), 15: byte(i)} }

func TestAuthIsNotAskedForThoseWhoHaveLeft(t *testing.T) {
	b := newBench(t)
	for i := range 3 * events.MaxQuotaEntries {
		_, ticket := b.SpendOrAsk(user(i), b.jobs, b.now(), false)
		if i < 2*events.MaxQuotaEntries {
			b.Leave(ticket)
		}
	}
	if q := b.Next(b.now()); q.Entries[0].Subject != user(2*events.MaxQuotaEntries).String() {
		t.Errorf("asks about %s first, who has gone", q.Entries[0].Subject)
	}
	if q := b.Next(b.now()); q != nil {
		t.Errorf("asks about %d who have gone", len(q.Entries))
	}
}

func TestWhoLeavesTakesNobodyAlong(t *testing.T) {
	b := newBench(t)
	_, first := b.reserve()
	b.clock.Advance(askAgain)
	b.reserve()
	b.Leave(first)
	if b.Next(b.now()) == nil {
		t.Error("one waits still")
	}
}

func TestQuestionsAtOnceAreAboutDifferentUsers(t *testing.T) {
	b := newBench(t)
	for i := range 2*events.MaxQuotaEntries + 1 {
		b.SpendOrAsk(user(i), b.jobs, b.now(), false)
	}
	seen := map[string]bool{}
	var all []*Question
	for q := b.Next(b.now()); q != nil; q = b.Next(b.now()) {
		all = append(all, q)
		for _, e := range q.Entries {
			if seen[e.Subject] {
				t.Fatal("asked about in two questions")
			}
			seen[e.Subject] = true
			b.SpendOrAsk(alice, b.jobs, b.now(), false)
		}
		b.Tick(b.now()) // they are to be told of
	}
	if len(all) != 3 || len(seen) != 2*events.MaxQuotaEntries+1 {
		t.Errorf("%d questions, about %d", len(all), len(seen))
	}
}

func TestWhatIsPutBackCanBeSpent(t *testing.T) {
	b := newBench(t)
	b.allow(1, 2)
	v, ticket := b.reserve()
	b.want(Spent)
	if v != Spent {
		t.Fatal(v)
	}
	b.PutBack(ticket)
	b.want(Spent)
	b.answer(b.question(), 1, 2)
	b.want(Exceeded)
}

// TestTotalsNeverFallByWhatIsPutBack: it was told to be spent, so that another request may be.
func TestTotalsNeverFallByWhatIsPutBack(t *testing.T) {
	b := newBench(t)
	b.allow(1, 5)
	_, ticket := b.reserve()
	b.Settle()
	q := b.question()
	b.PutBack(ticket)
	b.answer(q, 1, 1)
	b.Settle()
	if e := b.question().Entries[0]; e.Spent != 1 {
		t.Errorf("%+v", e)
	}
}

func TestWhatWasToldAndIsPutBackCanBeSpent(t *testing.T) {
	b := newBench(t)
	b.allow(1, 1)
	_, ticket := b.reserve()
	q := b.question() // at once: it was the last
	b.PutBack(ticket)
	b.answer(q, 1, 1)
	b.want(Spent)
	if b.ask() == Spent {
		t.Error("two of one")
	}
}

// TestWhatIsPutBackIsNotMissingInTheNextTerm: it ended without notice, and what was spent meanwhile counts in full.
func TestWhatIsPutBackIsNotMissingInTheNextTerm(t *testing.T) {
	b := newBench(t)
	b.allow(1, 9)
	_, ticket := b.reserve()
	b.Tick(b.now())
	q := b.question()
	b.PutBack(ticket)
	b.want(Spent)
	b.answer(q, 2, 5)
	b.PutBack(ticket)
	if left := b.table.find(alice, b.jobs).grant.Load().left.Load(); left != 4 {
		t.Errorf("%d left", left)
	}
}

// TestAuthIsNotAskedForMoreThanThereIs: it has said how much is left.
func TestAuthIsNotAskedForMoreThanThereIs(t *testing.T) {
	b := newBench(t)
	b.want(Wait)
	b.question().Answer(events.QuotaAnswer{Grants: []events.QuotaGrant{{Term: 1, EndsIn: 6e7, Allowed: 1,
		Limits: []events.QuotaLimit{{Limit: 1, Window: 60, Left: 1, EndsIn: 6e7}}}}})
	b.want(Spent)
	b.want(Exceeded)
	if q := b.Next(b.now()); q != nil {
		t.Errorf("%+v", q.Entries)
	}
}

func TestRequestsThatWithdrawAreNotTaken(t *testing.T) {
	b := newBench(t)
	var all []*Taking
	for range maxTakers {
		all = append(all, b.Take(alice, b.jobs, b.now()))
	}
	q := b.question()
	for _, taking := range all {
		b.Withdraw(taking)
	}
	q.Answer(events.QuotaAnswer{Grants: []events.QuotaGrant{{Term: 1, EndsIn: 6e7, Allowed: 1, Taken: true}}})
	if q := b.Next(b.now()); q != nil || b.takers != 0 {
		t.Errorf("%d takers who have gone; %+v", b.takers, q)
	}
}

func TestThereIsABoundToThoseWhomAuthDecides(t *testing.T) {
	b := newBench(t)
	for i := range maxTakers + 10 {
		taking := b.Take(alice, b.jobs, b.now())
		select {
		case <-taking.Done():
			if _, answered := taking.Taken(); answered || i < maxTakers {
				t.Fatal(i)
			}
			b.Withdraw(taking)
		default:
			if i >= maxTakers {
				t.Fatal(fmt.Sprint(i, " waits"))
			}
		}
	}
}
