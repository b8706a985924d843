package faults

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// endMargin is by how much the end of a long answer may be read later than it was due: nothing tells when it happened, and
// this machine is busy. For what is sent there is no margin: see [boundedPieces].
const endMargin = time.Second

// LongFigures is how a run treated event streams and long polls.
type LongFigures struct {
	Streams, Polls, Pieces int
	// Ended of them were open when their credential was ended; Latest is the longest time from the return of that change
	// until one was seen to end, at an instance that hadn't stood still meanwhile.
	Ended  int
	Latest time.Duration
	// Good of them had a credential that nothing had ended when they ended of themselves, Cut were ended by the service or
	// refused where that is allowed.
	Good, Cut int
}

// LongAnswers: nothing is sent later than B after a change that ends the credential had returned, and the answer ends by
// then; it isn't cut while its credential is good, except where an ordinary call may be refused. It returns the largest
// lateness of a piece: by how much what it tells is younger than the change's return.
func LongAnswers(h *History) (figures LongFigures, largest time.Duration, broken []Violation) {
	all, windows := livesOf(h), windowsOf(h)
	for _, a := range h.Long {
		figures.count(a)
		l := all[a.Credential]
		late, found := boundedPieces(h, l, a)
		largest = max(largest, late)
		broken = append(broken, found...)
		broken = append(broken, figures.end(h, l, a)...)
		broken = append(broken, figures.good(h, l, a, windows)...)
	}
	return figures, largest, broken
}

func (n *LongFigures) count(a LongAnswer) {
	if a.Poll {
		n.Polls++
	} else {
		n.Streams++
	}
	n.Pieces += len(a.Pieces)
}

// boundedPieces: a piece was sent after what it tells had been made. So it compares two readings of one clock, and what
// the kernel held, or the service had judged before it was frozen, is never taken for late.
func boundedPieces(h *History, l *life, a LongAnswer) (largest time.Duration, broken []Violation) {
	for _, piece := range a.Pieces {
		old := l.dead(piece.Made, piece.Read)
		if old == nil {
			continue
		}
		late := piece.Made - old.End
		largest = max(largest, late)
		if late > h.Bound {
			broken = append(broken, Violation{Promise: "BoundedAcceptance", Long: []LongAnswer{a}, Changes: []Change{*old},
				Text: fmt.Sprintf("a long answer told at %v what was made %v after the change had returned; B is %v", piece.Read, late, h.Bound)})
			break
		}
	}
	return largest, broken
}

// end looks whether an answer was open longer than B after the end of its credential.
func (n *LongFigures) end(h *History, l *life, a LongAnswer) []Violation {
	old := l.dead(a.End, a.End)
	if old == nil || a.Status == 0 && !a.HungUp {
		return nil
	}
	from := max(old.End, a.Begin)
	due, still := awake(h, a.Instance, from+h.Bound+endMargin)
	if !a.HungUp && old.End > a.Begin {
		n.Ended++
		if !still {
			n.Latest = max(n.Latest, a.End-old.End)
		}
	}
	if a.End <= due {
		return nil
	}
	return []Violation{{Promise: "BoundedAcceptance", Text: fmt.Sprintf("a long answer was still open %v after the change had returned", a.End-old.End),
		Long: []LongAnswer{a}, Changes: []Change{*old}}}
}

// awake moves a time by which something is due to after the freezes during which it would be, and reports whether there
// was one.
func awake(h *History, instance string, due time.Duration) (time.Duration, bool) {
	var frozen []Span
	for _, f := range h.Faults {
		if slices.Contains(f.Frozen, instance) && f.Begin <= due && f.End+endMargin > due-h.Bound-endMargin {
			frozen = append(frozen, f.Span)
		}
	}
	slices.SortFunc(frozen, func(a, b Span) int { return cmp.Compare(a.Begin, b.Begin) })
	for _, f := range frozen {
		due = max(due, f.End+endMargin)
	}
	return due, len(frozen) > 0
}

// good looks whether the service ended or refused an answer although its credential was good. That a stream isn't opened
// is the matter of NoCollateral, as with every call.
func (n *LongFigures) good(h *History, l *life, a LongAnswer, w windows) []Violation {
	if !l.good(h, a.Span, a.Instance) || (!a.Poll && a.Status != 200) {
		return nil
	}
	n.Good++
	if a.HungUp || (a.Poll && a.Status == 200) {
		return nil
	}
	if w.excuse(a, !l.Key && !h.newKeyOf(l, Call{Span: a.Span})) != nil {
		n.Cut++
		return nil
	}
	end := Call{Span: Span{a.End, a.End}, Instance: a.Instance}
	return []Violation{{Promise: "NoCollateral", Text: "a long answer of a good credential was cut" + nearest(h, end), Long: []LongAnswer{a}}}
}

// excuse returns what excuses the end of an answer to a good credential, nil if nothing does. Whether a poll was refused
// at once or after a while can't be seen: one with a key that the service may not hold counts as just begun.
func (w windows) excuse(a LongAnswer, held bool) *outage {
	if a.Poll && a.Status != 0 {
		return w.find(Call{Span: Span{max(a.Begin, a.End-callTimeout), a.End}, Instance: a.Instance, Status: a.Status}, held)
	}
	for n := range w.all {
		o := &w.all[n]
		if a.End >= o.allowed.Begin && a.End <= o.allowed.End && (o.only == nil || slices.Contains(o.only, a.Instance)) {
			return &o.outage
		}
	}
	return nil
}

func (n LongFigures) String() string {
	return fmt.Sprintf("%d streams, %d polls, %d pieces; %d ended with their credential, the last seen %v after the change had returned; %d with good ones, of them %d cut where that is allowed",
		n.Streams, n.Polls, n.Pieces, n.Ended, n.Latest.Round(time.Millisecond), n.Good, n.Cut)
}
