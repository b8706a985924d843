package faults

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// kindFigures is what faults of one kind did to the fleet.
type kindFigures struct {
	times  int
	oldest time.Duration // proof of any instance, from a fault's start to its end
	// recoveries are, of the faults at whose end an instance wasn't fresh, the times until all were again; without those
	// that another fault met before.
	recoveries []time.Duration
	late       time.Duration  // largest lateness of an acceptance while one was on
	refused    map[string]int // good ordinary calls, by code
	// of the faults of this kind, how many left events behind
	unnumbered, unpublished int
}

// faultFigures tells of each kind of fault, as rows of a table, how often it was injected, what the instances said of their
// freshness, and what it meant for callers.
func faultFigures(h *History, late Lateness, a Availability) string {
	kinds := map[string]*kindFigures{}
	samples := slices.SortedFunc(slices.Values(h.Samples), func(a, b Sample) int { return cmp.Compare(a.Begin, b.Begin) })
	for _, f := range h.Faults {
		if kinds[f.Kind] == nil {
			kinds[f.Kind] = &kindFigures{late: late.ByKind[f.Kind], refused: a.Reasons[f.Kind]}
		}
		k := kinds[f.Kind]
		k.times++
		k.unnumbered += min(1, f.Waiting.Unnumbered)
		k.unpublished += min(1, f.Waiting.Unpublished)
		k.look(h, f, samples)
	}
	text := fmt.Sprintf("%d faults; largest lateness of an acceptance while none was on: %v\n", len(h.Faults), late.ByKind[noFault].Round(time.Millisecond)) +
		"| fault | times | oldest proof | fresh again after: median, largest of | largest lateness | good calls refused | left behind |\n| --- | --- | --- | --- | --- | --- | --- |"
	for _, name := range slices.Sorted(maps.Keys(kinds)) {
		text += "\n" + kinds[name].row(name)
	}
	return text
}

func (k *kindFigures) row(name string) string {
	fresh := "always fresh"
	if n := len(k.recoveries); n > 0 {
		slices.Sort(k.recoveries)
		fresh = fmt.Sprintf("%v, %v of %d", milliseconds(k.recoveries[n/2]), milliseconds(k.recoveries[n-1]), n)
	}
	var reasons []string
	for _, code := range slices.Sorted(maps.Keys(k.refused)) {
		reasons = append(reasons, fmt.Sprintf("%d %s", k.refused[code], code))
	}
	left := ""
	if k.unnumbered+k.unpublished > 0 {
		left = fmt.Sprintf("%d unnumbered, %d unpublished", k.unnumbered, k.unpublished)
	}
	return fmt.Sprintf("| %s | %d | %v | %s | %v | %s | %s |", name, k.times, milliseconds(k.oldest), fresh, milliseconds(k.late), strings.Join(reasons, ", "), left)
}

func milliseconds(d time.Duration) time.Duration { return d.Round(time.Millisecond) }

// look reads the samples of a fault: all of the run's, by their begin.
func (k *kindFigures) look(h *History, f Fault, samples []Sample) {
	const after = 10 * time.Second
	stale, again := map[string]bool{}, map[string]time.Duration{}
	from, _ := slices.BinarySearchFunc(samples, f.Begin, func(s Sample, t time.Duration) int { return cmp.Compare(s.Begin, t) })
	for _, s := range samples[from:] {
		switch {
		case s.Begin > f.End+after:
			k.recover(h, f, stale, again)
			return
		case s.End <= f.End:
			k.oldest = max(k.oldest, s.Age)
			stale[s.Instance] = !s.Fresh
		case s.Begin > f.End && s.Fresh && again[s.Instance] == 0:
			again[s.Instance] = s.Begin
		}
	}
	k.recover(h, f, stale, again)
}

// recover notes when all were fresh again.
func (k *kindFigures) recover(h *History, f Fault, stale map[string]bool, again map[string]time.Duration) {
	last := time.Duration(0)
	for instance, was := range stale {
		if was {
			last = max(last, again[instance])
		}
	}
	if last == 0 || slices.ContainsFunc(h.Faults, func(o Fault) bool { return o.End > f.End && o.Begin < last }) {
		return
	}
	k.recoveries = append(k.recoveries, last-f.End)
}
