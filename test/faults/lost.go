package faults

import (
	"cmp"
	"slices"
	"time"
)

// NothingLost: in the end, with everything healed, every change that had returned 2xx is effective at every service, on
// both kinds of route; all services agree about one of unknown outcome; and what a service once refused as ended for
// good is never accepted again: there by no later call, elsewhere by none that began more than B later.
func NothingLost(h *History) []Violation {
	all := livesOf(h)
	return append(lostInTheEnd(h, all), comeBack(h, all)...)
}

// lostInTheEnd looks at the sweep.
func lostInTheEnd(h *History, all lives) (broken []Violation) {
	roles := rolesOf(h)
	first := map[string]Call{} // of each credential, to compare the others with
	for _, c := range h.Calls {
		if c.Begin < h.Sweep.Begin || h.Sweep.End == 0 {
			continue
		}
		l := all[c.Credential]
		if c.Accepted() {
			if lost := l.dead(h.Sweep.Begin, c.End); lost != nil {
				broken = append(broken, Violation{Promise: "NothingLost", Text: "still accepted in the end", Calls: []Call{c}, Changes: []Change{*lost}})
			}
			if lost := roles.missed(l, c, h.Sweep.Begin); lost != nil {
				broken = append(broken, Violation{Promise: "NothingLost", Text: "a role change is missing in the end", Calls: []Call{c}, Changes: []Change{*lost}})
			}
		}
		switch other, seen := first[c.Credential]; {
		case !c.Accepted() && !c.Refused():
			broken = append(broken, Violation{Promise: "NothingLost", Text: "not decided in the end, with everything healed", Calls: []Call{c}})
		case !seen:
			first[c.Credential] = c
		case other.Accepted() != c.Accepted() && !l.Short:
			broken = append(broken, Violation{Promise: "NothingLost", Text: "services disagree in the end", Calls: []Call{other, c}})
		}
	}
	return broken
}

// comeBack looks for credentials that are accepted after they were refused. Those that were ever given back are left
// out: their end isn't final. So are refusals that may be those of a user who was disabled and is enabled again.
func comeBack(h *History, all lives) (broken []Violation) {
	type where struct{ credential, instance string }
	refusedAt := map[where]Call{} // the earliest
	refusedAnywhere := map[string]Call{}
	keepEarliest := func(c Call) {
		at := where{c.Credential, c.Instance}
		if old, seen := refusedAt[at]; !seen || c.End < old.End {
			refusedAt[at] = c
		}
		if old, seen := refusedAnywhere[c.Credential]; !seen || c.End < old.End {
			refusedAnywhere[c.Credential] = c
		}
	}
	disablings := disablingsOf(h)
	for _, c := range h.Calls {
		l := all[c.Credential]
		if c.Refused() && c.Code == "revoked" && len(l.suspends) == 0 && !disablings.explain(l.User, c, h.Bound) {
			keepEarliest(c)
		}
	}
	for _, c := range h.Calls {
		if !c.Accepted() {
			continue
		}
		here, seenHere := refusedAt[where{c.Credential, c.Instance}]
		anywhere, seen := refusedAnywhere[c.Credential]
		slack := h.Bound
		if c.Elite {
			slack = 0
		}
		switch {
		case seenHere && !here.Elite && c.Begin > here.End:
			broken = append(broken, Violation{Promise: "NothingLost", Text: "accepted again by the service that had refused it", Calls: []Call{here, c}})
		case seen && c.Begin > anywhere.End+slack:
			broken = append(broken, Violation{Promise: "NothingLost", Text: "accepted again " + (c.Begin - anywhere.End).Round(time.Millisecond).String() + " after it was refused", Calls: []Call{anywhere, c}})
		}
	}
	return broken
}

// The names of the changes that disable a user and enable them again.
const (
	disabling = "disable"
	enabling  = "enable"
)

// disablings are the changes of each user that disabled or enabled them, in the order in which they began.
type disablings map[string][]Change

func disablingsOf(h *History) disablings {
	all := disablings{}
	for _, c := range h.Changes {
		if c.Outcome != Failed && (c.Name == disabling || c.Name == enabling) {
			all[c.User] = append(all[c.User], c)
		}
	}
	for _, changes := range all {
		slices.SortFunc(changes, func(a, b Change) int { return cmp.Compare(a.Begin, b.Begin) })
	}
	return all
}

// explain reports whether a user may have been disabled for the service that refused a call: by a change that had begun,
// and wasn't undone so early that everybody knew.
func (d disablings) explain(user string, c Call, bound time.Duration) bool {
	may := false
	for _, change := range d[user] {
		switch {
		case change.Name == disabling && change.Begin <= c.End:
			may = true
		case change.Name == enabling && change.Outcome == Done && change.End+bound < c.Begin:
			may = false
		}
	}
	return may
}
