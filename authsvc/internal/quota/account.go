package quota

import (
	"time"

	"github.com/tocsin-auth/tocsin/authsvc/internal/defect"
	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/pkg/events"
)

const (
	second = int64(time.Second / time.Microsecond)
	// askAgain is how soon a plan that gets a limit is noticed by who was told that it has none.
	askAgain = 10 * second
	// clockSlack is how far the database's clock may step back without a window being counted twice.
	clockSlack = 60 * second
	// askedStep is how exactly it is kept when a holder asked last: an index that changed with every report would cost a quarter more.
	askedStep = 600 * second
	// most keeps sums from overflowing, whatever services report.
	most = 1 << 60
)

// account is what was spent of one resource by one user, locked.
type account struct {
	store.QuotaAccount
	limits []store.PlanLimit // of the resource, at least one
	now    int64
	ends   int64 // of the present term, as the plan is now
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
		if w.Start <= a.now && a.now < endOf(w) {
			windows = append(windows, w)
		}
	}
	a.Windows = windows
	a.begin()
	for _, l := range limits {
		end := endOf(*a.window(l))
		if a.EndsAt = max(a.EndsAt, end); a.ends == 0 || end < a.ends {
			a.ends = end
		}
	}
	return a
}

// begin opens the windows that are missing, and then a term begins, so that all charges of a term are in the same windows.
func (a *account) begin() {
	began := false
	for _, l := range a.limits {
		if a.window(l) != nil {
			continue
		}
		if !began {
			a.Term, a.Holders, began = max(a.Term+1, a.now), 0, true
		}
		a.Windows = append(a.Windows, a.newWindow(l))
	}
}

func startOf(seconds, now int64) int64 { return now - now%(seconds*second) }

func endOf(w store.QuotaWindow) int64 { return w.Start + w.Seconds*second }

// window finds the open window of a limit.
func (a *account) window(l store.PlanLimit) *store.QuotaWindow {
	for i := range a.Windows {
		if a.Windows[i].Seconds == l.Seconds {
			return &a.Windows[i]
		}
	}
	return nil
}

// newWindow is that of a limit which has none. If the limit is new to the plan, requests of the window were counted by other limits
// only: then it has the charges of the longest window within, and those alone.
func (a *account) newWindow(l store.PlanLimit) store.QuotaWindow {
	w := store.QuotaWindow{Seconds: l.Seconds, Start: startOf(l.Seconds, a.now), Since: a.Term}
	longest := int64(0)
	for _, other := range a.Windows {
		if other.Start >= w.Start && endOf(other) <= endOf(w) && other.Seconds > longest {
			longest, w.Since, w.Used, w.By = other.Seconds, other.Since, other.Used, copied(other.By)
		}
	}
	return w
}

func copied(by map[string]int64) map[string]int64 {
	out := make(map[string]int64, len(by))
	for service, spent := range by {
		out[service] = spent
	}
	return out
}

// book changes what is used of the windows that have the charges of a term: those that were open when it began. A window that opened
// later never had them, whatever the clock says.
func (a *account) book(term, charge, spent int64, service string) {
	if charge == 0 && spent == 0 {
		return
	}
	a.dirty = true
	for i := range a.Windows {
		w := &a.Windows[i]
		if term < w.Since {
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
	if defect.Overdraft {
		return l.Limit
	}
	return l.Limit - a.window(l).Used + h.Present.Held
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
			EndsIn: endOf(*w) - a.now})
	}
	return limits
}
