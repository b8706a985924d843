package faults

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Availability is how a run treated good credentials on ordinary routes.
type Availability struct {
	Good    int // calls with a credential that nothing had ended
	Refused int // of them, in the windows in which that is allowed
	// Recovery is the longest time after a fault's end at which one was refused.
	Recovery time.Duration
	// Reasons are the codes of those refusals, by the kind of the fault that had begun last.
	Reasons map[string]map[string]int
}

func (a *Availability) refused(c Call, excuse *outage) {
	a.Refused++
	a.Recovery = max(a.Recovery, c.Begin-excuse.End)
	kind := excuse.cause(c.End)
	if a.Reasons[kind] == nil {
		a.Reasons[kind] = map[string]int{}
	}
	a.Reasons[kind][c.Code]++
}

// The windows of NoCollateral.
const (
	proofMargin = 2 * time.Second // a fault shorter than B less this refuses nobody
	recovery    = time.Second     // after a fault's end
	// proofWait is how long a service waits for its next proof: a question every B / 10, at most 500 ms, and its answer.
	proofWait = 700 * time.Millisecond
	// renewal is when API keys that a leap has aged have been resolved again: the cache is looked through every 5 s.
	renewal = 8 * time.Second
)

// window is when good credentials may be refused, by all instances or by those that were down.
type window struct {
	outage
	allowed Span
	only    []string
}

// outage is faults that came so close together that the system may not have been whole between them.
type outage struct {
	Span
	faults []Fault
}

// cause is the kind of the fault that began last before a moment.
func (o *outage) cause(moment time.Duration) string {
	last := o.faults[0]
	for _, f := range o.faults {
		if f.Begin >= last.Begin && f.Begin <= moment {
			last = f
		}
	}
	return last.Kind
}

// NoCollateral: a credential that nobody ended is accepted on ordinary routes, if the instance can know it: a key has to be
// accepted there once, and so has a token that was signed just after an emergency had changed the signing key; except, for faults that aren't spared, from B − 2 s after the fault's start until 1 s after its end.
func NoCollateral(h *History) (a Availability, broken []Violation) {
	all, windows, starts, leaps := livesOf(h), windowsOf(h), startsOf(h), leapsOf(h)
	a.Reasons = map[string]map[string]int{}
	cached := map[[2]string]time.Duration{} // credential and instance → the end of the first accepted call since its start
	calls := slices.Clone(h.Calls)
	slices.SortFunc(calls, func(a, b Call) int { return cmp.Compare(a.End, b.End) })
	for _, c := range calls {
		l := all[c.Credential]
		at := [2]string{c.Credential, c.Instance}
		if c.Elite || c.Status == 0 {
			continue
		}
		if c.Accepted() {
			cached[at] = c.End
		}
		if c.Quota != "" || !l.good(h, c.Span, c.Instance) {
			continue
		}
		a.Good++
		if c.Accepted() {
			continue
		}
		started, _ := starts.before(c.Instance, c.Begin)
		leapt, _ := leaps.before(c.Instance, c.Begin)
		inUse := cached[at] > started && cached[at] > l.lastRevival() && (leapt == 0 || cached[at] > leapt+renewal)
		held := inUse || !l.Key && !h.newKeyOf(l, c)
		if excuse := windows.find(c, held); excuse != nil {
			a.refused(c, excuse)
			continue
		}
		broken = append(broken, Violation{Promise: "NoCollateral", Text: fmt.Sprintf("a good credential was refused%s", nearest(h, c)), Calls: []Call{c}})
	}
	return a, broken
}

// leapsOf are the moments at which each instance's clock leapt ahead, which ages the resolutions of API keys.
func leapsOf(h *History) starts {
	all := starts{}
	for _, f := range h.Faults {
		for _, instance := range f.Leapt {
			all[instance] = append(all[instance], f.Begin)
		}
	}
	for _, times := range all {
		slices.Sort(times)
	}
	return all
}

func (l *life) lastRevival() (last time.Duration) {
	for _, r := range l.revives {
		last = max(last, r.End)
	}
	return last
}

// emergency is the name of the change by which a new signing key signs at once.
const emergency = "rotate signing key at once"

// newKeyOf reports whether a token may be signed with a key that an emergency has made so lately that an instance which
// was cut off at that time need neither know it nor be stale.
func (h *History) newKeyOf(l *life, c Call) bool {
	return slices.ContainsFunc(h.Changes, func(e Change) bool {
		return e.Name == emergency && e.Outcome != Failed && e.Begin <= l.End && c.Begin <= e.End+h.Bound
	})
}

type windows struct {
	all    []window
	spared []Fault
}

// windowsOf merges faults that came close together, since each of them may meet a system that the one before has left
// shaken.
func windowsOf(h *History) windows {
	var w windows
	faults := slices.Clone(h.Faults)
	slices.SortFunc(faults, func(a, b Fault) int { return cmp.Compare(a.Begin, b.Begin) })
	var outages []outage
	for _, f := range faults {
		for _, instance := range f.Down {
			w.all = append(w.all, window{outage{f.Span, []Fault{f}}, Span{f.Begin, f.End + recovery}, []string{instance}})
		}
		for _, instance := range f.Leapt {
			w.all = append(w.all, window{outage{f.Span, []Fault{f}}, Span{f.Begin, leapEnd(f, faults)}, []string{instance}})
		}
		if (f.Spared || len(f.Down) > 0 && len(f.Apart) == 0) && !overlaps(f, faults) {
			w.spared = append(w.spared, f)
			continue
		}
		if n := len(outages); n > 0 && f.Begin <= outages[n-1].End+recovery {
			outages[n-1].End = max(outages[n-1].End, f.End)
			outages[n-1].faults = append(outages[n-1].faults, f)
			continue
		}
		outages = append(outages, outage{f.Span, []Fault{f}})
	}
	for _, o := range outages {
		w.all = append(w.all, window{o, Span{o.Begin + max(0, h.Bound-proofMargin), o.End + recovery}, nil})
	}
	return w
}

// leapEnd is until when a leap may cost calls: until the next proof, which another fault may hold up from its first moment on,
// since the leap has used the freshness up.
func leapEnd(leap Fault, faults []Fault) time.Duration {
	end := leap.End + proofWait
	for _, o := range faults {
		if !o.Spared && len(o.Down) == 0 && o.Begin <= leap.End+proofWait && leap.Begin <= o.End+recovery {
			end = max(end, o.End+recovery)
		}
	}
	return end
}

// overlaps reports whether a fault that is spared by itself meets one that isn't.
func overlaps(f Fault, faults []Fault) bool {
	return slices.ContainsFunc(faults, func(o Fault) bool {
		return !o.Spared && len(o.Down) == 0 && o.Begin <= f.End+recovery && f.Begin <= o.End+recovery
	})
}

// find returns what excuses a refusal, nil if nothing does. Only 503 is excused: nothing makes a good credential bad.
// A key that the instance doesn't hold yet has to be resolved, for which any fault is an excuse.
func (w windows) find(c Call, held bool) *outage {
	if c.Status != 503 {
		return nil
	}
	for n := range w.all {
		o := &w.all[n]
		allowed := o.allowed
		if !held {
			allowed.Begin = o.Begin
		}
		if c.End >= allowed.Begin && c.Begin <= allowed.End && (o.only == nil || slices.Contains(o.only, c.Instance)) {
			return &o.outage
		}
	}
	for _, f := range w.spared {
		if !held && c.End >= f.Begin && c.Begin <= f.End+recovery {
			return &outage{f.Span, []Fault{f}}
		}
	}
	return nil
}

// nearest tells a reader what had happened before a refusal.
func nearest(h *History, c Call) string {
	text := ""
	for _, f := range h.Faults {
		if f.Begin <= c.End && f.End+10*time.Second > c.Begin {
			text += fmt.Sprintf("; %v after the start and %v after the end of %v %s", c.Begin-f.Begin, c.Begin-f.End, f.Span, f.Name)
		}
	}
	return text
}
