package faults

import (
	"fmt"
	"time"
)

// life is what a history says about one credential, in the order in which the changes began.
type life struct {
	Issue
	kills, suspends, revives []*Change
	walls                    walls
}

// lives are the lives of all credentials of a history.
type lives map[string]*life

func livesOf(h *History) lives {
	all, walls := lives{}, wallsOf(h)
	for _, i := range h.Issues {
		all[i.Credential] = &life{Issue: i, walls: walls}
	}
	for n := range h.Changes {
		c := &h.Changes[n]
		if c.Outcome == Failed {
			continue
		}
		for _, name := range c.Kills {
			all[name].kills = append(all[name].kills, c)
		}
		for _, name := range c.Suspends {
			all[name].suspends = append(all[name].suspends, c)
		}
		for _, name := range c.Revives {
			all[name].revives = append(all[name].revives, c)
		}
		if !c.AllTokens && !c.AllKeys {
			continue
		}
		for _, l := range all {
			covered := (l.Key && c.AllKeys) || (!l.Key && c.AllTokens)
			// One of unknown outcome may happen after a later issue.
			if covered && (l.End <= c.Begin || (c.Outcome == Unknown && l.Begin <= c.Begin+lateness)) {
				l.kills = append(l.kills, c)
			}
		}
	}
	return all
}

// lateness is how long after it was called a change of unknown outcome may still happen: longer than any process is
// frozen.
const lateness = 30 * time.Second

// dead returns a change that had returned before a moment and so must have been known to a call that began then, nil
// if there is none. A suspension counts only while nothing that could have undone it had begun before the call's end.
func (l *life) dead(by, end time.Duration) *Change {
	for _, k := range l.kills {
		if k.Outcome == Done && k.End < by {
			return k
		}
	}
	for _, s := range l.suspends {
		if s.Outcome == Done && s.End < by && l.revivedBy(s, end) == nil {
			return s
		}
	}
	return nil
}

// revivedBy returns a change that may have undone a suspension before a moment.
func (l *life) revivedBy(s *Change, end time.Duration) *Change {
	for _, r := range l.revives {
		if r.Begin >= s.Begin && r.Begin <= end {
			return r
		}
	}
	return nil
}

// good reports whether a credential must be accepted by a call, whatever order the changes took: nothing had begun that
// ends it, and what had suspended it was undone so early that everybody knows.
func (l *life) good(h *History, call Span, instance string) bool {
	known := h.Bound + recovery
	if l.End > call.Begin || l.Short && !l.unexpired(call, instance, h.Bound) {
		return false
	}
	for _, k := range l.kills {
		if k.Begin <= call.End {
			return false
		}
	}
	for _, s := range l.suspends {
		if s.Begin > call.End {
			continue
		}
		r := l.revivedBy(s, call.Begin)
		if r == nil || r.Outcome != Done || r.End+known > call.Begin {
			return false
		}
	}
	return true
}

// Violation is a promise that a history breaks.
type Violation struct {
	Promise string
	Text    string
	Calls   []Call
	Long    []LongAnswer
	Changes []Change
	Faults  []Fault
}

func (v Violation) String() string {
	text := v.Promise + ": " + v.Text
	for _, c := range v.Changes {
		text += fmt.Sprintf("\n    change %v %s %s: %s %d", c.Span, c.Name, c.User, c.Outcome, c.Status)
	}
	for _, c := range v.Calls {
		text += fmt.Sprintf("\n    call   %v %s at %s elite=%v: %d %s role %d", c.Span, c.Credential, c.Instance, c.Elite, c.Status, c.Code, c.Role)
	}
	for _, a := range v.Long {
		text += fmt.Sprintf("\n    long   %v %s at %s poll=%v: %d %s, %d pieces, hung up %v", a.Span, a.Credential, a.Instance, a.Poll, a.Status, a.Code, len(a.Pieces), a.HungUp)
	}
	for _, f := range v.Faults {
		text += fmt.Sprintf("\n    fault  %v %s", f.Span, f.Name)
	}
	return text
}
