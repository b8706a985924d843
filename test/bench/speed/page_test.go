package speed

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/tocsin-auth/tocsin/test/bench/figure"
)

// Heads of the tables that a later run reads again.
const (
	rowsHead   = "what"
	ratiosHead = "how many times as fast"
)

const explanation = "Each figure is the time of one operation, from a run of many; minimum, median and maximum are of the rounds, in which all contenders come " +
	"in turns, every other round backwards. Allocations are those in the measuring process, which is client and verifier; `=` marks those that are compared exactly. " +
	"*Seen before* and *never seen* are tokens: a cache holds those in use. *One of many* picks at random, and which is next depends on the last result, as requests come " +
	"one after the other; the many are signed by the measuring process, with the same claims, since to have them of authsvc would take longer than the run. *64 at once*: the time divided by how many were answered. HTTP and NATS without anything behind them are served by the measuring process itself; " +
	"authsvc, PostgreSQL and Redis are processes of their own on the same machine. Redis syncs each write to the disk (`appendfsync always`), PostgreSQL and SQLite each commit."

const explainedWaits = "Of those that ask somebody: what each took, of all rounds. *64 at once*: how long one of them waited. The first use of an API key is one " +
	"request to authsvc, which reads its database; the verifier can hold a few of 90 keys, so each is new to it again. An *exact quota* asks each time what the first request of a user to a route with " +
	"an ordinary quota asks, too."

const explainedRatios = "The median of the ratios of the rounds: above 1 the first is faster. `make bench-check` fails when a short run is worse than this " +
	"by more than the tolerance, a factor."

func (s session) page(where string, w *world) string {
	page := &figure.Page{}
	page.Add("# A check, beside what people would use instead, %s", figure.Today())
	page.Add("%s", where)
	page.Add("`make bench`: %d rounds of about %v each; tokens of %d bytes, of authsvc; %d revocations alive; many tokens are %d. %s",
		*rounds, *each, len(w.token), len(w.dead), *many, explanation)
	for _, needed := range slices.Sorted(maps.Keys(w.why)) {
		page.Add("**Not measured: what needs %s**, %s.", needed, w.why[needed])
	}
	page.Add("## Must reach")
	page.Table(s.goals()...)
	page.Add("## Ratios")
	page.Add("%s", explainedRatios)
	page.Table(s.ratios()...)
	page.Add("## Figures")
	page.Table(s.rows()...)
	page.Add("## How long single ones take")
	page.Add("%s", explainedWaits)
	page.Table(s.waits(w.waits)...)
	for _, p := range s.plots() {
		page.Add("![%s](%s)", p.Title, p.file)
	}
	page.Add("## Where Tocsin loses")
	page.Table(s.losses()...)
	return page.String()
}

func (s session) rows() [][]string {
	rows := [][]string{{rowsHead, "median", "min", "max", "allocations"}}
	for _, m := range s {
		least, median, most := span(m.nanos)
		allocs := strconv.Itoa(m.allocs)
		if m.exact {
			allocs = "= " + allocs
		}
		rows = append(rows, []string{m.name, figure.Nanos(median), figure.Nanos(least), figure.Nanos(most), allocs})
	}
	return append(rows, s.unmeasured()...)
}

// unmeasured are rows that others compare with but this machine couldn't run.
func (s session) unmeasured() (rows [][]string) {
	for _, name := range []string{redisExists, redisPipelined, jwtRedis, jwtRedisPiped, optIn, optInMany, optInTouch, broadcast, broadcastTouch, jwtOptIn,
		elitePG, elitePG64, introspectPG, introspectPG64, firstKeyPG, quotaPG} {
		if s.of(name) == nil {
			rows = append(rows, []string{name, "not measured", "", "", ""})
		}
	}
	return rows
}

func (s session) ratios() [][]string {
	rows := [][]string{{ratiosHead, "median", "min", "max", "tolerance"}}
	for _, r := range ratios {
		row := []string{r.name(), "not measured", "", "", fmt.Sprintf("%.2f", r.tolerance)}
		if all := r.by(s); all != nil {
			least, median, most := span(all)
			row[1], row[2], row[3] = digits(median), digits(least), digits(most)
		}
		rows = append(rows, row)
	}
	return rows
}

// digits writes a ratio with three digits that count.
func digits(value float64) string {
	if value >= 99.95 {
		return fmt.Sprintf("%.0f", value)
	}
	return strconv.FormatFloat(value, 'g', 3, 64)
}

// goals sets what was promised beside what was reached.
func (s session) goals() [][]string {
	rows := [][]string{{"what", "target", "reached", ""}}
	for _, b := range bounds {
		m := s.of(b.name)
		if b.nanos > 0 {
			rows = append(rows, goal(b.name, "at most "+figure.Nanos(b.nanos), m != nil, func() (string, bool) {
				return figure.Nanos(m.median()), m.median() <= b.nanos
			}))
		}
		if b.allocs >= 0 {
			rows = append(rows, goal(b.name, fmt.Sprintf("%d allocations", b.allocs), m != nil, func() (string, bool) {
				return strconv.Itoa(m.allocs), m.allocs <= b.allocs
			}))
		}
	}
	for _, a := range additions {
		more, less := s.of(a.name), s.of(a.to)
		rows = append(rows, goal(a.name+", beside: "+a.to, "at most "+figure.Nanos(a.nanos)+" more", more != nil && less != nil, func() (string, bool) {
			added := more.median() - less.median()
			return figure.Nanos(added), added <= a.nanos
		}))
	}
	for _, r := range ratios {
		if r.target > 0 {
			rows = append(rows, goal(r.name(), fmt.Sprintf("at least %s times as fast", digits(r.target)), r.by(s) != nil, func() (string, bool) {
				_, median, _ := span(r.by(s))
				return digits(median), median >= r.target
			}))
		}
	}
	return rows
}

func goal(name, target string, measured bool, reached func() (string, bool)) []string {
	if !measured {
		return []string{name, target, "not measured", ""}
	}
	value, good := reached()
	verdict := "missed"
	if good {
		verdict = "reached"
	}
	return []string{name, target, value, verdict}
}

// losses are only those that this run has shown.
func (s session) losses() [][]string {
	rows := [][]string{{"what", "takes", "against", "takes", "why"}}
	for _, l := range losses {
		ours, theirs := s.of(l.ours), s.of(l.theirs)
		if ours != nil && theirs != nil && ours.median() > theirs.median() {
			rows = append(rows, []string{l.ours, figure.Nanos(ours.median()), l.theirs, figure.Nanos(theirs.median()), l.why})
		}
	}
	return rows
}

// plot is a picture with the name of its file.
type plot struct {
	figure.Bars
	file string
}

func (s session) plots() []plot {
	const subtitle = "median of the rounds, the line from the least to the greatest; logarithmic"
	here := plot{figure.Bars{Title: "Decided in the process", Subtitle: subtitle}, figure.Today() + "-here.svg"}
	there := plot{figure.Bars{Title: "Asks somebody over loopback", Subtitle: subtitle}, figure.Today() + "-there.svg"}
	for _, m := range s {
		least, median, most := span(m.nanos)
		bar := figure.Bar{Name: shortened(m.name), Low: least, Middle: median, High: most, Ours: strings.HasPrefix(m.name, "Tocsin")}
		if m.exact {
			here.Rows = append(here.Rows, bar)
		} else {
			there.Rows = append(there.Rows, bar)
		}
	}
	return []plot{here, there}
}

// shortened makes a name fit beside a bar.
func shortened(name string) string {
	return strings.NewReplacer("client-side cache ", "", "a plain Go map", "a map", "a map of verified tokens of one's own, and a polled list", "one's own map, and a polled list",
		"golang-jwt, EdDSA, and ", "EdDSA and ").Replace(name)
}

func (s session) write(t *testing.T, page string) {
	t.Helper()
	for _, p := range s.plots() {
		figure.Write(t, *results, p.file, p.SVG())
	}
	figure.Write(t, *results, figure.Today()+".md", page)
}
