package faults

import (
	"cmp"
	"slices"
	"time"
)

// NotReadyUntilProven: a service accepts nothing between its start and its first proof. A proof can't be seen from the
// outside, but what follows from it can: whatever had ended before a service was started is never accepted by it, not
// even within B; and one that was started without the bus accepts nothing until it has that.
func NotReadyUntilProven(h *History) (broken []Violation) {
	all, roles, starts := livesOf(h), rolesOf(h), startsOf(h)
	apart := slices.DeleteFunc(slices.Clone(h.Faults), func(f Fault) bool { return len(f.Apart) == 0 })
	for _, c := range h.Calls {
		if c.Elite || !c.Accepted() {
			continue
		}
		started, ok := starts.before(c.Instance, c.Begin)
		if !ok {
			continue
		}
		l := all[c.Credential]
		old := l.dead(started, c.End)
		if old == nil {
			old = roles.missed(l, c, started)
		}
		if old != nil {
			broken = append(broken, Violation{Promise: "NotReadyUntilProven", Text: "accepted by a service that was started after the change had returned",
				Calls: []Call{c}, Changes: []Change{*old}})
		}
		for _, f := range apart {
			if slices.Contains(f.Apart, c.Instance) && started >= f.Begin && started <= f.Healed && c.End < f.Healed {
				broken = append(broken, Violation{Promise: "NotReadyUntilProven", Text: "accepted without ever having reached the bus",
					Calls: []Call{c}, Faults: []Fault{f}})
			}
		}
	}
	return broken
}

// starts are the moments at which each instance was started, in order.
type starts map[string][]time.Duration

func startsOf(h *History) starts {
	all := starts{}
	for _, s := range h.Starts {
		all[s.Instance] = append(all[s.Instance], s.Begin)
	}
	for _, times := range all {
		slices.SortFunc(times, cmp.Compare)
	}
	return all
}

// before returns the last start of an instance before a moment.
func (s starts) before(instance string, moment time.Duration) (time.Duration, bool) {
	times := s[instance]
	n, _ := slices.BinarySearch(times, moment)
	if n == 0 {
		return 0, false
	}
	return times[n-1], true
}
