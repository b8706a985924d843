package faults

import (
	"fmt"
	"time"
)

// BoundedAcceptance: no ordinary call is accepted that began more than B after a change that ends the credential had
// returned, nor with a role older than a role change that had returned so long ago. It also returns the largest
// lateness seen: of an accepted call, how long it began after the change had returned.
func BoundedAcceptance(h *History) (largest time.Duration, broken []Violation) {
	all, roles := livesOf(h), rolesOf(h)
	for _, c := range h.Calls {
		if c.Elite || !c.Accepted() {
			continue
		}
		l := all[c.Credential]
		old := l.dead(c.Begin, c.End)
		if newer := roles.missed(l.User, c, c.Begin); newer != nil && (old == nil || newer.End < old.End) {
			old = newer
		}
		if old == nil {
			continue
		}
		late := c.Begin - old.End
		largest = max(largest, late)
		if late > h.Bound {
			broken = append(broken, Violation{Promise: "BoundedAcceptance",
				Text:  fmt.Sprintf("accepted %v after the change had returned; B is %v", late, h.Bound),
				Calls: []Call{c}, Changes: []Change{*old}})
		}
	}
	return largest, broken
}

// roles are the role changes of each user that surely happened, in their order.
type roles map[string][]*Change

func rolesOf(h *History) roles {
	all := roles{}
	for n := range h.Changes {
		if c := &h.Changes[n]; c.Role > 0 && c.Outcome == Done {
			all[c.User] = append(all[c.User], c)
		}
	}
	return all
}

// missed returns the first role change that had returned before a moment and that an accepted call doesn't show.
func (r roles) missed(user string, call Call, by time.Duration) *Change {
	for _, c := range r[user] {
		if c.Role > call.Role && c.End < by {
			return c
		}
	}
	return nil
}
