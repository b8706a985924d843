package faults

import (
	"cmp"
	"slices"
	"time"
)

// walls are the settings of each wall clock, in their order.
type walls map[string][]Clock

func wallsOf(h *History) walls {
	all := walls{}
	for _, c := range h.Clocks {
		all[c.Name] = append(all[c.Name], c)
	}
	for _, settings := range all {
		slices.SortFunc(settings, func(a, b Clock) int { return cmp.Compare(a.Begin, b.Begin) })
	}
	return all
}

// ahead is by how much a clock may have been ahead of this machine's during a span, at least and at most.
func (w walls) ahead(name string, s Span) (least, most time.Duration) {
	for _, c := range w[name] {
		switch {
		case c.Begin > s.End:
			return least, most
		case c.End < s.Begin: // whatever was before is over
			least, most = c.Ahead, c.Ahead
		default:
			least, most = min(least, c.Ahead), max(most, c.Ahead)
		}
	}
	return least, most
}

// clockMargin is for whole seconds, in which tokens count, and for what lies between a reading and the answer.
const clockMargin = 3 * time.Second

// unexpired reports whether a token of a short life has surely not expired by any clock that an instance judges it by
// during a call: its own one, and the database's as it was told in a proof.
func (l *life) unexpired(call Span, instance string, bound time.Duration) bool {
	if l.Life == 0 {
		return false
	}
	issued, _ := l.walls.ahead(ofDatabase, l.Span)
	_, own := l.walls.ahead(instance, call)
	_, signed := l.walls.ahead(ofDatabase, Span{call.Begin - bound - clockMargin, call.End})
	return call.End+max(own, signed) < l.Begin+issued+l.Life-clockMargin
}
