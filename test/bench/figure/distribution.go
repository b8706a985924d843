// Package figure turns what the measuring programs saw into tables, plots and a page that says where it was measured.
package figure

import (
	"fmt"
	"slices"
	"time"
)

// Distribution collects durations. It is not safe for concurrent use.
type Distribution struct {
	all    []time.Duration
	sorted bool
}

// Add takes durations in; a negative one, of an effect that came before the answer that it is measured from, counts as 0.
func (d *Distribution) Add(durations ...time.Duration) {
	for _, one := range durations {
		d.all = append(d.all, max(0, one))
	}
	d.sorted = false
}

// Merge takes all of another distribution in.
func (d *Distribution) Merge(other *Distribution) { d.Add(other.all...) }

// Len returns how many there are.
func (d *Distribution) Len() int { return len(d.all) }

// At returns the smallest duration that at least the share p of all don't exceed: At(0.5) is the median, At(1) the maximum.
// Without any it is 0.
func (d *Distribution) At(p float64) time.Duration {
	if len(d.all) == 0 {
		return 0
	}
	if !d.sorted {
		slices.Sort(d.all)
		d.sorted = true
	}
	rank := int(p*float64(len(d.all)) + 1 - 1e-9) // the ceiling, as nearest rank has it
	return d.all[min(max(rank, 1), len(d.all))-1]
}

// Millis writes a duration in milliseconds with three digits that count.
func Millis(d time.Duration) string {
	ms := float64(d.Microseconds()) / 1000
	switch {
	case ms >= 100:
		return fmt.Sprintf("%.0f", ms)
	case ms >= 10:
		return fmt.Sprintf("%.1f", ms)
	}
	return fmt.Sprintf("%.2f", ms)
}
