package quota

import (
	"time"

	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/pkg/events"
)

const (
	second = int64(time.Second / time.Microsecond)
	// askAgain is how soon a plan that gets a limit is noticed by who was told that it has none.
	askAgain = 10 * second
	// clockSlack is how far the database's clock may step back without a window being counted twice.
	clockSlack = 60 * second
	// most keeps sums from overflowing, whatever services report.
	most = 1 << 60
)

// account is what was spent of one resource by one user, locked.
type account struct {
	store.QuotaAccount
	limits []store.PlanLimit // of the resource, at least one
	now    int64
	dirty  bool
}

// report is an entry of a question, by whom it was asked.
type report struct {
	events.QuotaEntry
	service string
	seq     int64
}

// open makes an account ready to count at a time: windows that have ended are forgotten, those of the plan's limits begin.
func open(row store.QuotaAccount, limits []store.PlanLimit, now int64) *account {
	a := &account{QuotaAccount: row, limits: limits, now: now}
	if row.Counted > now && row.Counted-now <= clockSlack {
		a.now = row.Counted
	}
	a.Counted = a.now
	windows := make([]store.QuotaWindow, 0, len(row.Windows)+1)
	for _, w := range row.Windows {
		if contains(w, a.now) {
			windows = append(windows, w)
		}
	}
	a.Windows = windows
	term := a.termOf()
	for _, l := range limits {
		if a.window(l) == nil {
			a.begin(l, term)
		}
	}
	if a.Term != term {
		a.Term, a.Holders = term, 0
	}
	for _, w := range a.Windows {
		a.EndsAt = max(a.EndsAt, w.Start+w.Seconds*second)
	}
	return a
}

// termOf returns the end of the present term.
func (a *account) termOf() int64 {
	var term int64
	for _, l := range a.limits {
		end := startOf(l.Seconds, a.now) + l.Seconds*second
		if term == 0 || end < term {
			term = end
		}
	}
	return term
}

func startOf(seconds, now int64) int64 { return now - now%(seconds*second) }

// contains reports whether a moment lies in a window. Of a term that moment is the one before its end.
func contains(w store.QuotaWindow, moment int64) bool {
	return w.Start <= moment && moment < w.Start+w.Seconds*second
}

// window finds the open window of a limit.
func (a *account) window(l store.PlanLimit) *store.QuotaWindow {
	for i := range a.Windows {
		if a.Windows[i].Seconds == l.Seconds {
			return &a.Windows[i]
		}
	}
	return nil
}

// begin opens the window of a limit. If the limit is new, requests of the window have been counted by other limits only: it
// begins with those of the longest window within. Charges of the present term must be among them; where no window lies within, that of
// the shortest are.
func (a *account) begin(l store.PlanLimit, term int64) {
	w := store.QuotaWindow{Seconds: l.Seconds, Start: startOf(l.Seconds, a.now)}
	var within, shortest *store.QuotaWindow
	for i := range a.Windows {
		other := &a.Windows[i]
		if other.Start >= w.Start && other.Start+other.Seconds*second <= w.Start+w.Seconds*second &&
			(within == nil || other.Seconds > within.Seconds) {
			within = other
		}
		if shortest == nil || other.Seconds < shortest.Seconds {
			shortest = other
		}
	}
	if within == nil && a.Term == term {
		within = shortest
	}
	if within != nil {
		w.Used, w.By = within.Used, copied(within.By)
	}
	a.Windows = append(a.Windows, w)
}

func copied(by map[string]int64) map[string]int64 {
	out := make(map[string]int64, len(by))
	for service, spent := range by {
		out[service] = spent
	}
	return out
}

// book changes what is used of the windows that a term lies in.
func (a *account) book(term, charge, spent int64, service string) {
	if charge == 0 && spent == 0 {
		return
	}
	a.dirty = true
	for i := range a.Windows {
		w := &a.Windows[i]
		if !contains(*w, term-1) {
			continue
		}
		w.Used = min(w.Used+charge, most)
		if spent == 0 {
			continue
		}
		if w.By == nil {
			w.By = map[string]int64{}
		}
		w.By[service] = min(w.By[service]+spent, most)
	}
}

// left returns how much of the least limit a holder may spend in the present term beyond what it has spent, if nobody else is
// allowed more.
func (a *account) left(h *holder) int64 {
	least := int64(most)
	for _, l := range a.limits {
		least = min(least, a.leftOf(l, h))
	}
	return least
}

func (a *account) leftOf(l store.PlanLimit, h *holder) int64 {
	return l.Limit - (a.window(l).Used - h.Allowed) - h.Spent
}

// share is how much of what is left one of the present holders gets at once: so much that it needn't ask all the time, so
// little that the others find some, and that little is stranded when it dies.
func (a *account) share(left int64) int64 {
	if left <= 0 {
		return 0
	}
	return max(1, left/(2*max(1, a.Holders)))
}

func (a *account) describe(h *holder) []events.QuotaLimit {
	limits := make([]events.QuotaLimit, 0, len(a.limits))
	for _, l := range a.limits {
		w := a.window(l)
		limits = append(limits, events.QuotaLimit{Limit: l.Limit, Window: l.Seconds, Left: max(0, a.leftOf(l, h)),
			EndsIn: w.Start + w.Seconds*second - a.now})
	}
	return limits
}
