// Package recovery measures how soon the system is itself again: the dispatcher's succession after kill -9, silence on a
// connection, and freshness after the end of outages that were longer than B.
//
//	make recovery
//
// Verifiers run in a process of their own, each with its own connections, through proxies that can fall silent.
package recovery

import (
	"flag"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/test/bench/figure"
	"github.com/tocsin-auth/tocsin/test/bench/fleet"
	"github.com/tocsin-auth/tocsin/test/bench/stage"
	"github.com/tocsin-auth/tocsin/test/faults"
	"github.com/tocsin-auth/tocsin/test/pgtest"
	"github.com/tocsin-auth/tocsin/test/system"
)

var (
	kills   = flag.Int("kills", 1, "how often the dispatcher is killed, in each set-up")
	holes   = flag.Int("holes", 0, "how often connections fall silent, of verifiers and of authsvc")
	outages = flag.Int("outages", 0, "how often there is an outage of each kind")
	size    = flag.Int("verifiers", 8, "verifiers in each set-up")
	results = flag.String("results", "", "folder for the page; none by default")
)

func TestMain(m *testing.M) { system.Exit(pgtest.Run(m)) } // and natstest or fleet, when this process is one of theirs

const (
	bound = 3 * time.Second
	// patience is how long anything may take before the run fails.
	patience = 2 * time.Minute
	// lookEvery is how often the fleet is asked what it has been through; its own times are exact.
	lookEvery = 20 * time.Millisecond
)

// Without arguments it is a run of seconds that shows that the program works; make recovery gives the numbers.
func TestRecovery(t *testing.T) {
	page := &figure.Page{}
	page.Add("# How soon the system is itself again, %s", figure.Today())
	page.Add("%s", figure.Where())
	page.Add("`make recovery`: B = %v, %d verifiers in each set-up, both set-ups at the same time. Milliseconds, over all verifiers and times.", bound, *size)
	page.Add("%s", explanation)
	var single, cluster bench
	t.Run("set-ups", func(t *testing.T) { // both at once: most of the time they wait
		t.Run("single", func(t *testing.T) {
			t.Parallel()
			single.run(t, stage.Single(t), (*bench).single)
		})
		t.Run("cluster", func(t *testing.T) {
			t.Parallel()
			cluster.run(t, stage.Cluster(t, true), (*bench).cluster)
		})
	})
	page.Add("## One authsvc with SQLite and its embedded bus")
	page.Table(single.table()...)
	page.Add("## Two authsvc, PostgreSQL, three NATS nodes")
	page.Table(cluster.table()...)
	t.Logf("\n%s", page)
	if *results != "" {
		figure.Write(t, *results, figure.Today()+"-recovery.md", page.String())
	}
}

const explanation = "*Proven again*: from the beginning until a verifier has accepted a proof that it asked for after it. *Fresh again*: from the end of an outage " +
	"(the process is ready, the silence is over, the frozen process goes on) until a verifier that wasn't fresh at that moment is. " +
	"*Noticed*: until the connection is given up; only connections that were on the silent node count."

// bench is one set-up under measurement.
type bench struct {
	*testing.T
	*stage.Stage
	fleet *fleet.Fleet
	ways  [][]*faults.Proxy // of each verifier to each node
	admin system.User
	user  system.User
	found []*finding
}

// finding is one line of the table.
type finding struct {
	figure.Distribution
	name, target string
	times        int
}

// run starts the fleet and measures.
func (b *bench) run(t *testing.T, s *stage.Stage, measure func(*bench)) {
	b.T, b.Stage = t, s
	cfg := fleet.Config{Issuer: s.Issuer, Credentials: s.Credentials, Bound: bound, Proofs: true}
	for range *size {
		way, url := s.Way(t)
		b.ways, cfg.URLs = append(b.ways, way), append(cfg.URLs, url)
	}
	b.fleet = fleet.Start(t, cfg)
	b.admin, b.user = s.Auth[0].Admin(t), s.Auth[0].Register(t, "recovery")
	measure(b)
}

func (b *bench) table() [][]string {
	rows := [][]string{{"what", "times", "samples", "p50", "p90", "max", "target"}}
	for _, f := range b.found {
		rows = append(rows, []string{f.name, strconv.Itoa(f.times), strconv.Itoa(f.Len()),
			figure.Millis(f.At(0.5)), figure.Millis(f.At(0.9)), figure.Millis(f.At(1)), f.target})
	}
	return rows
}

// outage is how long an outage lasts: longer than B, so that no verifier is fresh when it ends, and never equally long, so that it
// ends at any point of what is being tried meanwhile.
func outage() time.Duration { return bound + 300*time.Millisecond + rand.N(time.Second) }

func (b *bench) finding(name, target string) *finding {
	f := &finding{name: name, target: target}
	b.found = append(b.found, f)
	return f
}

// await asks the fleet until each member has what is looked for, and returns when it had.
func (b *bench) await(what string, look func(fleet.Member) (time.Time, bool)) []time.Time {
	b.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(lookEvery) { // another process: nothing else tells
		var all []time.Time
		for _, m := range b.fleet.Report(b) {
			if at, ok := look(m); ok {
				all = append(all, at)
			}
		}
		if len(all) == *size {
			return all
		}
		if time.Now().After(deadline) {
			b.Fatalf("%s: only %d of %d verifiers", what, len(all), *size)
		}
	}
}

func (b *bench) provenSince(moment time.Time) []time.Time {
	b.Helper()
	return b.await("proven again", func(m fleet.Member) (time.Time, bool) { return m.ProvenAt(moment) })
}

// freshSince takes in how long after an outage's end those are fresh who weren't at that moment.
func (b *bench) freshSince(end time.Time, f *finding) {
	b.Helper()
	f.times++
	for _, at := range b.await("fresh again", func(m fleet.Member) (time.Time, bool) { return m.FreshAt(end, bound) }) {
		if at.After(end) {
			f.Add(at.Sub(end))
		}
	}
	b.provenSince(end) // so that the next fault meets a fleet that is well
	b.fleet.Forget(b)
}

func (f *finding) since(moment time.Time, times ...time.Time) {
	for _, at := range times {
		f.Add(at.Sub(moment))
	}
}

// logged returns when a process wrote lines with a text.
func logged(a *system.Auth, text string) (all []time.Time) {
	for line := range strings.Lines(a.Output()) {
		if !strings.Contains(line, text) {
			continue
		}
		stamp, _, _ := strings.Cut(strings.TrimPrefix(line, "time="), " ")
		if at, err := time.Parse(time.RFC3339Nano, stamp); err == nil {
			all = append(all, at)
		}
	}
	return all
}
