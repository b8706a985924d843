package mass

import (
	"fmt"
	"strconv"
	"time"

	"github.com/tocsin-auth/tocsin/test/bench/figure"
	"github.com/tocsin-auth/tocsin/test/bench/fleet"
)

// noteChecks sorts what checks took by when they were. Where the 100 ms with the worst p99 lay is looked for, too.
func (b *bench) noteChecks(m moments, all []fleet.Slice) {
	var lately []fleet.Slice
	for _, s := range all {
		switch {
		case s.At.Before(m.quiet), s.At.After(m.everywhere.Add(time.Second)):
			continue
		case s.At.Before(m.sent):
			b.before.Merge(s.Nanos)
			continue
		case s.At.Before(m.answered):
			b.during.Merge(s.Nanos)
		case s.At.Before(m.applied):
			b.applying.Merge(s.Nanos)
		}
		lately = b.noteWorst(append(lately, s))
	}
	b.line = timeline(m, all)
}

// noteWorst looks at whole stretches only, and returns what is still of interest for the next.
func (b *bench) noteWorst(lately []fleet.Slice) []fleet.Slice {
	const stretch = 100 * time.Millisecond
	if lately[len(lately)-1].At.Sub(lately[0].At) < stretch {
		return lately
	}
	if sum := merged(lately); sum.At(0.99) > b.worst.At(0.99) {
		b.worst = sum
	}
	return lately[1:]
}

func merged(all []fleet.Slice) fleet.Histogram {
	sum := fleet.Histogram{}
	for _, s := range all {
		sum.Merge(s.Nanos)
	}
	return sum
}

// timeline is how the last round went, in steps.
func timeline(m moments, all []fleet.Slice) figure.Timeline {
	const step = 20 * time.Millisecond
	c := figure.Timeline{From: -min(*quiet, time.Second), To: m.everywhere.Sub(m.sent) + time.Second,
		Lines: []figure.Series{{Name: "p50"}, {Name: "p99"}, {Name: "p99.9"}},
		Marks: []figure.Mark{{Name: "call"}, {At: m.answered.Sub(m.sent), Name: "answer"}, {At: m.everywhere.Sub(m.sent), Name: "applied everywhere"}}}
	for i := 0; i < len(all); {
		begin, sum := all[i].At, fleet.Histogram{}
		for ; i < len(all) && all[i].At.Sub(begin) < step; i++ {
			sum.Merge(all[i].Nanos)
		}
		if at := begin.Sub(m.sent); at > c.From && at < c.To {
			for l, p := range []float64{0.5, 0.99, 0.999} {
				c.Lines[l].At, c.Lines[l].Y = append(c.Lines[l].At, at), append(c.Lines[l].Y, sum.At(p))
			}
		}
	}
	return c
}

func (b *bench) plot(title string) figure.Timeline {
	b.line.Title, b.line.Subtitle = fmt.Sprintf("A check while a role of %d users is revoked", *holders), title
	return b.line
}

func (b *bench) checks() [][]string {
	rows := [][]string{{"a check at the verifier under load", "checks", "p50", "p99", "p99.9", "max", "p99 / quiet"}}
	for _, in := range []struct {
		name  string
		nanos fleet.Histogram
	}{{"quiet", b.before}, {"during the call", b.during}, {"while it is applied", b.applying}, {"the worst 100 ms", b.worst}} {
		row := []string{in.name, strconv.Itoa(in.nanos.Len())}
		for _, p := range []float64{0.5, 0.99, 0.999, 1} {
			row = append(row, figure.Nanos(float64(in.nanos.At(p))))
		}
		rows = append(rows, append(row, fmt.Sprintf("%.2f", float64(in.nanos.At(0.99))/float64(max(1, b.before.At(0.99))))))
	}
	return rows
}

func (b *bench) times() [][]string {
	rows := [][]string{{"milliseconds", "samples", "p50", "max"}}
	for _, one := range []struct {
		name string
		*figure.Distribution
	}{{"the call, `wait=none`", &b.call}, {"commit → its first message arrives somewhere", &b.firstSent}, {"commit → its last message arrives", &b.lastSent},
		{"commit → a verifier refuses the last user", &b.each}, {"commit → everywhere", &b.everywhere},
		{"a single revocation right after it: its answer → refused", &b.following}, {"the call, `wait=fleet`", &b.fleetCall},
		{"one user disabled by a call of its own, 8 at once", &b.one}, {"the last of those: commit → a verifier refuses", &b.oneEverywhere},
		{"`all`: the call", &b.beforeCall}, {"`all`: commit → a verifier refuses", &b.beforeEverywhere}} {
		rows = append(rows, []string{one.name, strconv.Itoa(one.Len()), figure.Millis(one.At(0.5)), figure.Millis(one.At(1))})
	}
	return rows
}

func (b *bench) costs() [][]string {
	rows := [][]string{{"worst wait of others, milliseconds", "quiet", "around the call"}}
	for _, one := range []struct {
		name string
		waits
	}{{"refresh", b.refreshes}, {"elite check", b.elite}, {"single revocation", b.revocations}} {
		rows = append(rows, []string{one.name, figure.Millis(one.quiet), figure.Millis(one.around)})
	}
	if *oneByOne > 0 {
		per := b.oneByOne / time.Duration(*oneByOne)
		rows = append(rows, []string{fmt.Sprintf("%d users disabled one by one", *oneByOne), "", fmt.Sprintf("%s; 100,000 would take %.0f s", figure.Millis(b.oneByOne), (100_000 * per).Seconds())})
	}
	return append(rows, []string{"oldest proof", "", figure.Millis(b.oldest)}, []string{"live feed to each verifier", "", b.messages},
		[]string{"authsvc's memory in the end", "", b.memory})
}
