package faults

import (
	"strings"
	"testing"
	"time"
)

// What a kind of fault did is told in a row of the guarantees' table.
func TestFiguresTellWhatEachKindOfFaultDid(t *testing.T) {
	sample := func(at float64, age float64, fresh bool) Sample {
		return Sample{Span: Span{seconds(at), seconds(at + 0.01)}, Instance: "one", Fresh: fresh, Age: seconds(age)}
	}
	cut := func(begin, end float64) Fault { return Fault{Span: at(begin, end), Kind: "cut"} }
	h := history().with(
		cut(10, 12), sample(11.9, 2, true), sample(12.1, 0.1, true),
		cut(20, 26), sample(25.8, 5.5, false), sample(26.1, 6, false), sample(26.3, 0.1, true),
		cut(40, 46), sample(45.9, 4, false), cut(46.1, 47), sample(46.9, 5, true), sample(47.1, 0, true),
		Fault{Span: at(60, 61), Kind: "kill", Waiting: Waiting{Unnumbered: 2}},
		kill(41, 42, "t"), accepted(44.5, 44.6, "t"),
		unavailable(25, 25.1, "k"), unavailable(26.2, 26.25, "k"),
	)
	late, _ := BoundedAcceptance(h)
	a, _ := NoCollateral(h)
	text := faultFigures(h, late, a)
	for _, row := range []string{
		"| cut | 4 | 5.5s | 300ms, 300ms of 1 | 2.5s | 2 stale |  |",
		"| kill | 1 | 0s | always fresh | 0s |  | 1 unnumbered, 0 unpublished |",
	} {
		if !strings.Contains(text, row) {
			t.Errorf("no %q in\n%s", row, text)
		}
	}
	if late.Largest != 2500*time.Millisecond {
		t.Errorf("largest lateness %v", late.Largest)
	}
}
