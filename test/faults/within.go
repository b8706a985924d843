package faults

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Meter is a limit of the plan that the users of the history's calls with a quota have.
type Meter struct {
	Resource, Path string
	Limit          int
	Window         time.Duration
	Strict         bool // what can't be counted is refused
}

// QuotaFigures is how a run spent its quotas.
type QuotaFigures struct {
	Calls, Exceeded, Unavailable int
	Windows, UsedUp              int // windows that were judged, and those of them in which the whole limit was accepted
	Uncounted                    int // accepted beyond what was allowed, since authsvc couldn't be asked
}

const (
	// windowMargin is by how much this process's clock may differ from what the database's is derived from.
	windowMargin = 200 * time.Millisecond
	// stepBack is how far the database's clock may step back without a window being opened again: it seems to stand still.
	stepBack = time.Minute
)

// WithinQuota: in no window more is accepted of a user's calls to a resource than the limit; where the route isn't strict,
// than that and what the instances say they have accepted because authsvc couldn't be asked. And nobody is refused in a window
// in which nobody has called yet. Windows are those of the database's clock. One in which that was set isn't judged, nor one
// that began less than its length later: an instance may still spend what it was allowed in a window that the clock has left.
// Who is refused just after the machine stood still may have been told so late that the window has ended meanwhile.
func WithinQuota(h *History) (figures QuotaFigures, broken []Violation) {
	all, samples, starts := livesOf(h), samplesOf(h), startsOf(h)
	clock := wallsOf(h)[ofDatabase]
	spent := map[string][]Call{}
	for _, c := range h.Calls {
		if c.Quota != "" {
			figures.count(c)
			key := c.Quota + " " + all[c.Credential].User
			spent[key] = append(spent[key], c)
		}
	}
	for _, m := range h.Meters {
		for key, calls := range spent {
			if calls[0].Quota != m.Resource {
				continue
			}
			slices.SortFunc(calls, func(a, b Call) int { return cmp.Compare(a.Begin, b.Begin) })
			for _, w := range windowsIn(h, m, clock, calls) {
				broken = append(broken, figures.judge(m, w, samples, starts, key)...)
			}
			broken = append(broken, lockedOut(h, m, clock, calls)...)
		}
	}
	for _, of := range samples {
		figures.Uncounted += uncounted(of, Span{0, 1 << 62})
	}
	return figures, broken
}

func (f *QuotaFigures) count(c Call) {
	f.Calls++
	switch c.Status {
	case 429:
		f.Exceeded++
	case 503:
		f.Unavailable++
	}
}

// quotaWindow is what was accepted in one window, by calls that surely began and ended in it.
type quotaWindow struct {
	Span     // by this process's clock
	accepted []Call
}

// windowsIn sorts accepted calls into the windows that can be told.
func windowsIn(h *History, m Meter, clock []Clock, calls []Call) (all []*quotaWindow) {
	type name struct{ era, index int64 }
	byName := map[name]*quotaWindow{}
	for _, c := range calls {
		around := Span{c.Begin - windowMargin, c.End + windowMargin}
		era, ahead := eraOf(clock, around.Begin)
		first, begins := windowAt(h, m, ahead, around.Begin)
		last, _ := windowAt(h, m, ahead, around.End)
		if !c.Accepted() || first != last || disturbed(clock, around, m.Window) {
			continue
		}
		w := byName[name{int64(era), first}]
		if w == nil {
			w = &quotaWindow{Span: Span{begins, begins + m.Window}}
			byName[name{int64(era), first}] = w
			all = append(all, w)
		}
		w.accepted = append(w.accepted, c)
	}
	return all
}

// windowAt numbers the window of a moment, and tells when it began by this process's clock.
func windowAt(h *History, m Meter, ahead, moment time.Duration) (index int64, began time.Duration) {
	index = int64((h.Epoch + moment + ahead) / m.Window)
	return index, time.Duration(index)*m.Window - h.Epoch - ahead
}

// eraOf counts how often the database's clock had been set before a moment, and tells by how much it was ahead then.
func eraOf(clock []Clock, moment time.Duration) (era int, ahead time.Duration) {
	for _, c := range clock {
		if c.Begin > moment {
			break
		}
		era, ahead = era+1, c.Ahead
	}
	return era, ahead
}

// disturbed reports whether the database's clock was set during a span, or not long before.
func disturbed(clock []Clock, s Span, before time.Duration) bool {
	return slices.ContainsFunc(clock, func(c Clock) bool { return c.Begin <= s.End && s.Begin <= c.End+before })
}

func (f *QuotaFigures) judge(m Meter, w *quotaWindow, samples map[string][]Sample, starts starts, what string) []Violation {
	free, counted := 0, w.accepted
	if !m.Strict {
		for _, of := range samples {
			free += uncounted(of, w.Span)
		}
		counted = slices.DeleteFunc(slices.Clone(counted), func(c Call) bool { return !told(c, samples[c.Instance], starts[c.Instance]) })
	}
	f.Windows++
	if len(w.accepted) >= m.Limit {
		f.UsedUp++
	}
	if len(counted) <= m.Limit+free {
		return nil
	}
	return []Violation{{Promise: "WithinQuota", Calls: counted,
		Text: fmt.Sprintf("%d of %s were accepted in the window %v; the limit is %d, and %d were accepted uncounted", len(counted), what, w.Span, m.Limit, free)}}
}

// uncounted is how many requests an instance has accepted beyond what it was allowed, from the last it said before a span to
// the first after it. Its count begins anew when it starts.
func uncounted(samples []Sample, s Span) (free int) {
	before := 0
	for _, one := range samples {
		switch {
		case one.End <= s.Begin:
		case one.Uncounted >= before:
			free += one.Uncounted - before
		default:
			free += one.Uncounted
		}
		if before = one.Uncounted; one.Begin >= s.End {
			break
		}
	}
	return free
}

// told reports whether the instance was asked after a call what it had accepted uncounted, and before it was started again.
func told(c Call, samples []Sample, starts []time.Duration) bool {
	n, _ := slices.BinarySearchFunc(samples, c.End, func(s Sample, t time.Duration) int { return cmp.Compare(s.Begin, t) })
	if n == len(samples) {
		return false
	}
	next, _ := slices.BinarySearch(starts, c.End)
	return next == len(starts) || samples[n].End <= starts[next]
}

// lockedOut looks for calls that were refused in a window in which nobody had called before.
func lockedOut(h *History, m Meter, clock []Clock, calls []Call) (broken []Violation) {
	latest := time.Duration(-1) // end of the calls before
	for n, c := range calls {
		around := Span{c.Begin - windowMargin, c.End + windowMargin}
		_, ahead := eraOf(clock, around.Begin)
		index, began := windowAt(h, m, ahead, around.Begin)
		last, _ := windowAt(h, m, ahead, around.End)
		alone := latest < began-windowMargin && (n+1 == len(calls) || calls[n+1].Begin > c.End)
		if c.Status == 429 && alone && index == last && !disturbed(clock, around, 2*m.Window+stepBack) && !h.stoodStill(Span{around.Begin - m.Window, around.End}) {
			broken = append(broken, Violation{Promise: "WithinQuota", Text: "refused in a window in which nobody had called before", Calls: []Call{c}})
		}
		latest = max(latest, c.End)
	}
	return broken
}

// samplesOf are what each instance said, in order.
func samplesOf(h *History) map[string][]Sample {
	all := map[string][]Sample{}
	for _, s := range h.Samples {
		all[s.Instance] = append(all[s.Instance], s)
	}
	for _, of := range all {
		slices.SortFunc(of, func(a, b Sample) int { return cmp.Compare(a.Begin, b.Begin) })
	}
	return all
}

func (f QuotaFigures) String() string {
	return fmt.Sprintf("%d calls, %d beyond the limit, %d refused without an answer; %d windows, %d used up to the limit; %d accepted uncounted",
		f.Calls, f.Exceeded, f.Unavailable, f.Windows, f.UsedUp, f.Uncounted)
}
