package faults

import (
	"fmt"
	"slices"
)

// standstill is the kind of fault that nobody injects: the machine didn't let the run's processes run.
const standstill = "the machine stood still"

// standstills records those since the start of the run. Nothing that is promised whatever happens is judged more mildly
// for it; who waits for a proof may be refused, as with every fault.
func (s *System) standstills() {
	s.beat.Stop()
	var all []string
	for _, r := range s.Resources {
		all = append(all, r.Instance)
	}
	for _, still := range s.beat.Standstills() {
		span := Span{still.From.Sub(s.Recorder.start), still.To.Sub(s.Recorder.start)}
		s.Recorder.Add(Fault{Span: span, Kind: standstill, Name: fmt.Sprintf("%s%s", standstill, lasting(span.End-span.Begin)), Frozen: all})
	}
}

// stoodStill reports whether the machine did during a span.
func (h *History) stoodStill(s Span) bool {
	return slices.ContainsFunc(h.Faults, func(f Fault) bool { return f.Kind == standstill && f.Begin <= s.End && s.Begin <= f.End })
}
