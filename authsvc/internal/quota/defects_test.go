//go:build tocsin_defects && linux

package quota

import (
	"testing"

	"github.com/tocsin-auth/tocsin/authsvc/internal/defect"
	"github.com/tocsin-auth/tocsin/pkg/events"
)

// What is left for one is what the others haven't spent and don't hold; without that, each has a quota of its own.
func TestDefenceTheSumOfAllowancesIsNeeded(t *testing.T) {
	defer func() { defect.Overdraft = false }()
	for _, gone := range []bool{false, true} {
		defect.Overdraft = gone
		b, allowed := newBook(per(60, 10)), int64(0)
		for _, name := range []string{"a", "b"} {
			term, spent := int64(0), int64(0)
			for range 10 { // each spends all that it gets, and asks for more
				g := b.ask(name, events.QuotaEntry{Term: term, Spent: spent, Want: 10})
				term, spent = g.Term, g.Allowed
			}
			allowed += spent
		}
		if beyond := allowed > 10; beyond != gone {
			t.Errorf("defence gone: %v, and %d of 10 were handed out", gone, allowed)
		}
	}
}
