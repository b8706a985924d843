package quota

import (
	"testing"

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
