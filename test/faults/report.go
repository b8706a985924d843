package faults

import (
	"fmt"
	"strings"
	"time"
)

// Report is what the validators found.
type Report struct {
	Broken  []Violation
	figures []string
}

// Validate runs every validator.
func Validate(h *History) *Report {
	r := &Report{}
	late, broken := BoundedAcceptance(h)
	r.add(broken)
	r.figure("largest lateness of an accepted ordinary call: %v of %v", late.Round(time.Microsecond), h.Bound)
	r.figure("calls: %d; changes: %d; credentials: %d; faults: %d", len(h.Calls), len(h.Changes), len(h.Issues), len(h.Faults))
	return r
}

func (r *Report) add(broken []Violation) { r.Broken = append(r.Broken, broken...) }

func (r *Report) figure(format string, args ...any) {
	r.figures = append(r.figures, fmt.Sprintf(format, args...))
}

// Figures tells what was measured.
func (r *Report) Figures(faults map[string]int) string {
	return strings.Join(r.figures, "\n")
}

// shown bounds how many violations are printed; the history has all.
const shown = 10

// Complaint tells what was broken.
func (r *Report) Complaint() string {
	text := fmt.Sprintf("%d violations", len(r.Broken))
	for _, v := range r.Broken[:min(shown, len(r.Broken))] {
		text += "\n" + v.String()
	}
	return text
}
