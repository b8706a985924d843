package faults

import (
	"fmt"
	"time"
)

// BoundedAcceptance: no ordinary call is accepted that began more than B after a change that ends the credential had
// returned, nor with a role older than a role change that had returned so long ago. It also returns the largest
// lateness seen: of an accepted call, how long it began after the change had returned.
func BoundedAcceptance(h *History) (late Lateness, broken []Violation) {
	all, roles := livesOf(h), rolesOf(h)
	late.ByKind = map[string]time.Duration{}
	for _, c := range h.Calls {
		if c.Elite || !c.Accepted() {
			continue
		}
		l := all[c.Credential]
		old := l.dead(c.Begin, c.End)
		if newer := roles.missed(l, c, c.Begin); newer != nil && (old == nil || newer.End < old.End) {
			old = newer
		}
		if old == nil {
			continue
		}
		late.note(h, Span{old.End, c.Begin})
		if c.Begin-old.End > h.Bound {
			broken = append(broken, Violation{Promise: "BoundedAcceptance",
				Text:  fmt.Sprintf("accepted %v after the change had returned; B is %v", c.Begin-old.End, h.Bound),
				Calls: []Call{c}, Changes: []Change{*old}})
		}
	}
	return late, broken
}

// Lateness is how late calls were accepted at most.
type Lateness struct {
	Largest time.Duration
	// ByKind is the largest while a fault of the kind was on, or had ended less than a second before.
	ByKind map[string]time.Duration
}

// noFault is the kind of what happened while there was none.
const noFault = ""

// note takes the time from a change's return to the begin of a call that was accepted nevertheless.
func (l *Lateness) note(h *History, s Span) {
	late, calm := s.End-s.Begin, true
	l.Largest = max(l.Largest, late)
	for n := range h.Faults {
		if f := &h.Faults[n]; f.Begin <= s.End && f.End+recovery >= s.Begin {
			l.ByKind[f.Kind], calm = max(l.ByKind[f.Kind], late), false
		}
	}
	if calm {
		l.ByKind[noFault] = max(l.ByKind[noFault], late)
	}
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

// missed returns the first role change that had returned before a moment and that an accepted call doesn't show. A derived
// token shows the role that it was given, or, when either of its users has lost that, none.
func (r roles) missed(l *life, call Call, by time.Duration) *Change {
	if l.Derived != "" && call.Role == 0 {
		return nil
	}
	for _, user := range []string{l.User, l.Actor} {
		for _, c := range r[user] {
			if c.Role > call.Role && c.End < by {
				return c
			}
		}
	}
	return nil
}
