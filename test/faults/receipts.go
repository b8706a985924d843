package faults

import (
	"fmt"
	"slices"
)

// TrueReceipts: when a receipt counts every instance that could be fresh, then whoever isn't named as a laggard decides
// with the change from then on. It also returns how many receipts were checked.
func TrueReceipts(h *History) (checked int, broken []Violation) {
	all := livesOf(h)
	byCredential, byUser := map[string][]*Change{}, map[string][]*Change{}
	for n := range h.Changes {
		c := &h.Changes[n]
		if c.Outcome != Done || c.Fleet == nil || c.Fleet.Total == nil {
			continue
		}
		checked++
		if f := c.Fleet; f.Applied+len(f.Laggards) != *f.Total {
			broken = append(broken, Violation{Promise: "TrueReceipts", Changes: []Change{*c},
				Text: fmt.Sprintf("%d applied and %d laggards are not %d in total", f.Applied, len(f.Laggards), *f.Total)})
		}
		if c.Role > 0 {
			byUser[c.User] = append(byUser[c.User], c)
		}
	}
	for name, l := range all {
		for _, c := range append(slices.Clone(l.kills), l.suspends...) {
			if c.Outcome == Done && c.Fleet != nil && c.Fleet.Total != nil {
				byCredential[name] = append(byCredential[name], c)
			}
		}
	}
	for _, c := range h.Calls {
		if c.Elite || !c.Accepted() {
			continue
		}
		l := all[c.Credential]
		for _, k := range byCredential[c.Credential] {
			final := slices.Contains(l.kills, k) || l.revivedBy(k, c.End) == nil
			if k.End < c.Begin && final && !slices.Contains(k.Fleet.Laggards, c.Instance) {
				broken = append(broken, untrue(c, *k))
			}
		}
		for _, k := range slices.Concat(byUser[l.User], byUser[l.Actor]) {
			if k.End < c.Begin && c.Role < k.Role && !(l.Derived != "" && c.Role == 0) && !slices.Contains(k.Fleet.Laggards, c.Instance) {
				broken = append(broken, untrue(c, *k))
			}
		}
	}
	return checked, broken
}

func untrue(c Call, k Change) Violation {
	return Violation{Promise: "TrueReceipts", Calls: []Call{c}, Changes: []Change{k},
		Text: fmt.Sprintf("accepted %v after a receipt of %d of %d that doesn't name %s as a laggard", c.Begin-k.End, k.Fleet.Applied, *k.Fleet.Total, c.Instance)}
}
