package quota

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/pkg/events"
)

func TestAnInstanceGetsWhatItWantsAndNoMoreThanItsShare(t *testing.T) {
	eachEngine(t, perDay(100), func(t *testing.T, w *world) {
		u, a, b := w.user(t), events.NewNonce(), events.NewNonce()
		first := w.ask(t, a, events.QuotaEntry{Subject: u.ID, Resource: resource, Want: 10})
		if first.Allowed != 10 || first.Term == 0 || first.EndsIn <= 0 || len(first.Limits) != 1 || first.Limits[0].Left != 100 {
			t.Errorf("a modest wish: %+v", first)
		}
		if g := w.ask(t, b, events.QuotaEntry{Subject: u.ID, Resource: resource, Want: 1000}); g.Allowed != 22 || g.Limits[0].Left != 90 {
			t.Errorf("a share of two: %+v", g) // a quarter of the 90 that are left
		}
		if g := w.ask(t, a, events.QuotaEntry{Subject: u.ID, Resource: resource, Term: first.Term, Spent: 10, Want: 0}); g.Allowed != 10 || g.Limits[0].Left != 68 {
			t.Errorf("spent: %+v", g)
		}
		if got := w.usage(t, u)[0]; got.Used != 10 || got.Held != 22 || got.By["cars"] != 10 {
			t.Errorf("usage %+v", got)
		}
	})
}

func TestWhatHasNoLimitIsNotCounted(t *testing.T) {
	eachEngine(t, perDay(100), func(t *testing.T, w *world) {
		u := w.user(t)
		for _, e := range []events.QuotaEntry{{Subject: u.ID, Resource: "other", Want: 5}, {Subject: events.NewNonce(), Resource: resource, Want: 5}} {
			if g := w.ask(t, events.NewNonce(), e); g.Term != 0 || g.EndsIn != askAgain || g.Limits != nil {
				t.Errorf("%+v: %+v", e, g)
			}
		}
	})
}

// What an instance gives back of an earlier term is taken out of the windows that had it, not of those that a plan has begun since.
func TestAChangedPlanLimitsWhoHeldAnAllowanceOfTheOldOne(t *testing.T) {
	old := []store.PlanLimit{{Resource: resource, Limit: 1_000_000, Seconds: 60}}
	t.Run("a longer window", func(t *testing.T) {
		eachEngine(t, old, func(t *testing.T, w *world) {
			u, a := w.user(t), events.NewNonce()
			w.clock.Early(time.Hour)
			g := w.ask(t, a, events.QuotaEntry{Subject: u.ID, Resource: resource, Want: 1_000_000})
			w.clock.Advance(5 * time.Minute)
			w.plans(t, store.Plan{Name: "free", Limits: []store.PlanLimit{{Resource: resource, Limit: 100, Seconds: 3600}}})
			g = w.ask(t, a, events.QuotaEntry{Subject: u.ID, Resource: resource, Term: g.Term})
			if g = w.ask(t, a, events.QuotaEntry{Subject: u.ID, Resource: resource, Term: g.Term, Want: 1_000_000}); g.Allowed > 100 {
				t.Errorf("of 100, %d are allowed: %+v", g.Allowed, w.usage(t, u))
			}
		})
	})
	t.Run("a shorter window with the same end", func(t *testing.T) {
		eachEngine(t, old, func(t *testing.T, w *world) {
			u, a, b := w.user(t), events.NewNonce(), events.NewNonce()
			w.clock.Early(time.Minute)
			g := w.ask(t, a, events.QuotaEntry{Subject: u.ID, Resource: resource, Want: 1_000_000})
			w.plans(t, store.Plan{Name: "free", Limits: []store.PlanLimit{{Resource: resource, Limit: 100, Seconds: 10}}})
			w.clock.Advance(10 * time.Second)
			other := w.ask(t, b, events.QuotaEntry{Subject: u.ID, Resource: resource, Want: 1})
			w.clock.Advance(37 * time.Second)
			w.ask(t, b, events.QuotaEntry{Subject: u.ID, Resource: resource, Term: other.Term, Spent: 1, Want: 1})
			g = w.ask(t, a, events.QuotaEntry{Subject: u.ID, Resource: resource, Term: g.Term, Want: 1})
			if g = w.ask(t, a, events.QuotaEntry{Subject: u.ID, Resource: resource, Term: g.Term, Want: 1_000_000}); g.Allowed > 100 {
				t.Errorf("of 100, %d are allowed: %+v", g.Allowed, w.usage(t, u))
			}
		})
	})
}

func TestAClockThatWasSetBackAndForthAddsNothing(t *testing.T) {
	eachEngine(t, []store.PlanLimit{{Resource: resource, Limit: 1000, Seconds: 60}}, func(t *testing.T, w *world) {
		u, a, b := w.user(t), events.NewNonce(), events.NewNonce()
		w.clock.Early(time.Minute)
		g := w.ask(t, a, events.QuotaEntry{Subject: u.ID, Resource: resource, Want: 1000})
		w.clock.Advance(-2 * time.Minute)
		w.ask(t, b, events.QuotaEntry{Subject: u.ID, Resource: resource, Want: 1})
		w.clock.Advance(2 * time.Minute)
		if g = w.ask(t, a, events.QuotaEntry{Subject: u.ID, Resource: resource, Term: g.Term}); g.Limits[0].Left != 1000 {
			t.Errorf("of 1000, %d are left", g.Limits[0].Left)
		}
	})
}

// question is of an instance that nobody knows.
func question(service string, users ...string) Question {
	q := Question{Service: service, QuotaRequest: events.QuotaRequest{StartNonce: events.NewNonce(), Seq: 1}}
	for _, u := range users {
		q.Entries = append(q.Entries, events.QuotaEntry{Subject: u, Resource: resource, Want: 1})
	}
	return q
}

func (w *world) settle(t testing.TB, qs ...Question) []Answer {
	t.Helper()
	answers, err := w.ledger.Settle(t.Context(), qs)
	if err != nil {
		t.Fatal(err)
	}
	return answers
}

func TestAnAccountKnowsABoundedNumberOfAServicesInstances(t *testing.T) {
	eachEngine(t, perDay(1000), func(t *testing.T, w *world) {
		w.ledger.holders = 3
		u := w.user(t)
		first := question("cars", u.ID)
		for i, q := range []Question{first, question("cars", u.ID), question("cars", u.ID), question("cars", u.ID)} {
			if g := w.settle(t, q)[0].Grants[0]; g.Allowed != int64(min(1, 3-i)) || g.Busy != (i == 3) || g.Term == 0 || len(g.Limits) != 1 || g.EndsIn <= 0 {
				t.Errorf("instance %d: %+v", i, g)
			}
		}
		if both := w.settle(t, question("jobs", u.ID), question("cars", u.ID)); both[0].Grants[0].Allowed != 1 || both[1].Grants[0].Allowed != 0 {
			t.Errorf("another service's, and another one: %+v", both)
		}
		if first.Seq++; w.settle(t, first)[0].Grants[0].Allowed != 1 {
			t.Error("one that is known is refused")
		}
	})
}

// Only who is new is put off: not those who are known, in the same question or another, and no other service.
func TestAServiceThatMakesInstancesUpIsPutOff(t *testing.T) {
	eachEngine(t, perDay(1000), func(t *testing.T, w *world) {
		now := time.Now()
		w.ledger.pace.burst, w.ledger.pace.now = 4, func() time.Time { return now }
		a, b, c := w.user(t).ID, w.user(t).ID, w.user(t).ID
		known := question("cars", a, b)
		answers := w.settle(t, known, question("cars", a, b), question("cars", a), question("jobs", a))
		for i, busy := range []bool{false, false, true, false} {
			for _, g := range answers[i].Grants {
				if g.Busy != busy || g.Term == 0 || g.Allowed > 0 == busy || g.EndsIn <= 0 || len(g.Limits) != 1 {
					t.Errorf("question %d: %+v", i, g)
				}
			}
		}
		known.Seq++
		known.Entries = append(known.Entries, question("cars", c).Entries...)
		if g := w.settle(t, known)[0].Grants; g[0].Busy || g[1].Busy || !g[2].Busy {
			t.Errorf("two that are known, one that isn't: %+v", g)
		}
		if now = now.Add(newHoldersEvery); w.settle(t, question("cars", c))[0].Grants[0].Busy {
			t.Error("put off for too long")
		}
		if got := w.usage(t, store.User{ID: c, Plan: "free"})[0]; got.Held+got.Used != 1 {
			t.Errorf("who was put off is counted: %+v", got)
		}
	})
}

// One user, two modes: each has the plan's limit for itself, and usage is that of the live mode.
func TestTestTrafficIsCountedApart(t *testing.T) {
	eachEngine(t, perDay(10), func(t *testing.T, w *world) {
		u := w.user(t)
		live, test := question("cars", u.ID), question("cars", u.ID)
		test.Test, test.StartNonce = true, live.StartNonce
		for _, q := range []Question{test, live} {
			q.Entries[0].Want, q.Entries[0].Take = 0, true
			for range 11 {
				g := w.settle(t, q)[0].Grants[0]
				if taken := q.Seq <= 10; g.Taken != taken {
					t.Errorf("test %v, request %d: %+v", q.Test, q.Seq, g)
				}
				q.Seq++
				q.Entries[0].Term, q.Entries[0].Spent = g.Term, g.Allowed
			}
			if got := w.usage(t, u)[0].Used; q.Test && got != 0 || !q.Test && got != 10 {
				t.Errorf("test %v: usage %d", q.Test, got)
			}
		}
		w.update(t, func(ctx context.Context, tx *store.Tx) error {
			reset, err := Reset(ctx, tx, u.ID, "")
			if err == nil && !slices.Equal(reset, []string{resource}) {
				t.Errorf("reset %v", reset)
			}
			return err
		})
		test = question("cars", u.ID)
		test.Test = true
		if g := w.settle(t, test)[0].Grants[0]; g.Allowed != 1 {
			t.Errorf("after the reset: %+v", g)
		}
	})
}
