package faults

import (
	"fmt"
	"maps"
	"slices"
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
	long, lateLong, broken := LongAnswers(h)
	r.add(broken)
	users, broken := EliteLinearizable(h)
	r.add(broken)
	r.add(NothingLost(h))
	r.add(NotReadyUntilProven(h))
	available, broken := NoCollateral(h)
	r.add(broken)
	receipts, broken := TrueReceipts(h)
	r.add(broken)
	r.add(OneGuarantee(h))
	quotas, broken := WithinQuota(h)
	r.add(broken)

	r.figure("calls: %s", callFigures(h))
	r.figure("changes: %s", changeFigures(h))
	r.figure("BoundedAcceptance: largest lateness of an accepted ordinary call %v, of B = %v", late.Largest.Round(time.Microsecond), h.Bound)
	r.figure("long answers: %v; largest lateness of a piece %v", long, lateLong.Round(time.Microsecond))
	r.figure("EliteLinearizable: %d users", users)
	r.figure("NoCollateral: %d ordinary calls with good credentials, %d refused where that is allowed, the last %v after a fault's end",
		available.Good, available.Refused, available.Recovery.Round(time.Millisecond))
	r.figure("derived tokens: %s", derivedFigures(h))
	r.figure("WithinQuota: %v", quotas)
	r.figure("TrueReceipts: %d that count the whole fleet", receipts)
	r.figure("%s", faultFigures(h, late, available))
	return r
}

func (r *Report) add(broken []Violation) { r.Broken = append(r.Broken, broken...) }

func (r *Report) figure(format string, args ...any) {
	r.figures = append(r.figures, fmt.Sprintf(format, args...))
}

// Figures tells what was measured.
func (r *Report) Figures() string { return strings.Join(r.figures, "\n") }

func callFigures(h *History) string {
	var ordinary, elite, metered, silent int
	for _, c := range h.Calls {
		switch {
		case c.Status == 0:
			silent++
		case c.Elite:
			elite++
		case c.Quota != "":
			metered++
		default:
			ordinary++
		}
	}
	return fmt.Sprintf("%d ordinary, %d elite, %d with a quota, %d without an answer", ordinary, elite, metered, silent)
}

// derivedFigures tells how many tokens were derived in each way, and by how many changes some of them ended.
func derivedFigures(h *History) string {
	issued, ended := map[string]int{}, map[string]int{}
	all := livesOf(h)
	for _, i := range h.Issues {
		if i.Derived != "" {
			issued[i.Derived]++
		}
	}
	for _, c := range h.Changes {
		if slices.ContainsFunc(slices.Concat(c.Kills, c.Suspends), func(name string) bool { return all[name].Derived != "" }) {
			ended[c.Name]++
		}
	}
	return fmt.Sprintf("%s; some ended by: %s", counts(issued), counts(ended))
}

func counts(of map[string]int) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(of)) {
		all = append(all, fmt.Sprintf("%s %d", name, of[name]))
	}
	return strings.Join(all, ", ")
}

func changeFigures(h *History) string {
	outcomes := map[Outcome]int{}
	for _, c := range h.Changes {
		outcomes[c.Outcome]++
	}
	return fmt.Sprintf("%d done, %d failed, %d of unknown outcome; %d credentials issued", outcomes[Done], outcomes[Failed], outcomes[Unknown], len(h.Issues))
}

// shown bounds how many violations of each promise are printed; the history has all.
const shown = 10

// Complaint tells what was broken.
func (r *Report) Complaint() string {
	byPromise, printed := map[string]int{}, ""
	for _, v := range r.Broken {
		if byPromise[v.Promise]++; byPromise[v.Promise] <= shown {
			printed += "\n" + v.String()
		}
	}
	return fmt.Sprintf("%d violations: %s%s", len(r.Broken), counts(byPromise), printed)
}
