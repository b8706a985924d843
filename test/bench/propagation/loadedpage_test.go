package propagation

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/test/bench/figure"
	"github.com/tocsin-auth/tocsin/test/bench/load"
	"github.com/tocsin-auth/tocsin/test/bench/stage"
)

const explainedLoad = "A prober shows one token to the resource service again and again, on a connection of its own, from shortly before it is revoked until it was refused " +
	"three times; between an answer and its next request it rests 0.1 ms. Meanwhile a process of its own sends requests with other tokens (25 of each person, on 64 connections) " +
	"at a fixed rate, whether or not earlier ones are answered, and refreshes and logs in (argon2, 19 MiB, 20 ms of CPU each) at the authsvc in turn; each refreshed token is used, too. Revocations are 25 to 50 ms " +
	"apart, and each is preceded by a refresh, which makes the token that it ends. *Last acceptance*: when the answer to the last accepted request was read; *first refusal*: when that to the first refused one " +
	"was, so whatever is decided later is refused; the truth lies between the two. *The commit*, where there is PostgreSQL: the time in the commit's record, which is before the flush to the disk (track_commit_timestamp; the same machine's clock), so *from the commit* is a little too long. With SQLite the moment of the commit isn't seen from outside, but it lies between *the change*, the time " +
	"that the row of the event bears, read from the database's clock (the same machine's) in the transaction before its last statements and its flush to the disk, and *the answer* to the revoking call, which is sent after the commit. " +
	"So *from the answer* is too short, and *from the change* is too long: the first refusal from the change is the upper bound of all. *From the sending* of the call everything is in it. " +
	"Of fewer than 1,000 samples p99.9 is the maximum."

// TestUnderLoad measures with a real resource service, asked over HTTP. Without arguments it is a small run that shows that the
// program works; make propagation-load gives the sizes.
func TestUnderLoad(t *testing.T) {
	page := &figure.Page{}
	page.Add("# How fast a revocation arrives under load, %s", figure.Today())
	page.Add("%s", figure.Where())
	page.Add("`make propagation-load`: %d rounds of all loads in turn, %d revocations each, of one token each, `wait=none`; %d people are at work. Milliseconds. %s",
		*loadRounds, *loadRevocations, *people, explainedLoad)
	for _, s := range []struct {
		name, title string
		start       func(testing.TB) *stage.Stage
	}{
		{"sqlite", "one authsvc, SQLite", stage.Single},
		{"postgresql", "two authsvc, PostgreSQL, three NATS nodes", func(t testing.TB) *stage.Stage { return stage.Cluster(t, false) }},
	} {
		t.Run(s.name, func(t *testing.T) {
			all := setScene(t, s.start(t)).measure(t)
			page.Add("## %s", s.title)
			page.Table(endingsTable(all)...)
			page.Add("### What else was seen")
			page.Table(besidesTable(all)...)
		})
	}
	t.Logf("\n%s", page)
	if *results != "" {
		figure.Write(t, *results, figure.Today()+"-propagation-load.md", page.String())
	}
}

func endingsTable(all []*endings) [][]string {
	head := []string{"load", "clock", "samples"}
	for _, share := range shares {
		head = append(head, share.name)
	}
	rows := [][]string{head}
	for _, e := range all {
		for _, d := range []struct {
			name string
			*figure.Distribution
		}{{"last acceptance, from the answer", &e.fromAnswer}, {"last acceptance, from the change", &e.fromChange}, {"last acceptance, from the sending", &e.fromSending},
			{"first refusal, from the answer", &e.refusedFromAnswer}, {"first refusal, from the change", &e.refusedFromChange}, {"first refusal, from the sending", &e.refusedFromSending},
			{"last acceptance, **from the commit**", &e.fromCommit}, {"first refusal, from the commit", &e.refusedFromCommit},
			{"from the change to the commit", &e.beforeCommit}, {"from the commit to the answer", &e.afterCommit},
			{"from the last acceptance to the first refusal", &e.resolution}, {"the call itself", &e.call}} {
			if d.Len() == 0 {
				continue
			}
			row := []string{e.work.String(), d.name, fmt.Sprint(d.Len())}
			for _, share := range shares {
				row = append(row, figure.Millis(d.At(share.p)))
			}
			rows = append(rows, row)
		}
	}
	return rows
}

func besidesTable(all []*endings) [][]string {
	rows := [][]string{{"load", "what", "figures"}}
	for _, e := range all {
		for _, r := range e.reports {
			rows = append(rows, []string{e.work.String(), "requests, refreshes, logins", fmt.Sprintf("%s; %s; %s", told(r.Requests, r.Lasted), told(r.Refreshes, r.Lasted), told(r.Logins, r.Lasted))})
		}
		rows = append(rows,
			[]string{e.work.String(), "the prober's requests", fmt.Sprintf("%.0f a second", float64(e.asked)/e.lasted.Seconds())},
			[]string{e.work.String(), "age of the last proof, p50 / p99 / max", fmt.Sprintf("%s / %s / %s", figure.Millis(e.proofAge.At(0.5)), figure.Millis(e.proofAge.At(0.99)), figure.Millis(e.proofAge.At(1)))},
			[]string{e.work.String(), "CPU, of one core", e.shareOfCPU()})
	}
	return rows
}

func told(k load.Kind, lasted time.Duration) string {
	text := fmt.Sprintf("%.0f/s in %s / %s / %s", float64(k.Answered)/lasted.Seconds(), figure.Millis(k.P50), figure.Millis(k.P99), figure.Millis(k.Max))
	for _, why := range slices.Sorted(maps.Keys(k.Refused)) {
		text += fmt.Sprintf(", **%d refused: %s**", k.Refused[why], why)
	}
	return text
}

func (e *endings) shareOfCPU() string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(e.cpu)) {
		parts = append(parts, fmt.Sprintf("%s %.0f %%", name, 100*e.cpu[name].Seconds()/e.lasted.Seconds()))
	}
	return strings.Join(parts, ", ")
}
