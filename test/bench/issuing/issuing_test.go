// Package issuing measures what the writing calls of the HTTP API cost: login, refresh, register, and the end of one session
// or token, on both engines, with few and many clients:
//
//	make issuing
//
// authsvc, the database, the bus and the clients share the machine. Clients keep their connections and are written to cost
// little: they are on the same CPUs.
package issuing

import (
	"flag"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/test/bench/figure"
	"github.com/tocsin-auth/tocsin/test/bench/stage"
	"github.com/tocsin-auth/tocsin/test/pgtest"
	"github.com/tocsin-auth/tocsin/test/system"
)

var (
	engines = flag.String("engines", "sqlite,postgresql", "which systems are measured")
	clients = flag.String("clients", "1,4", "numbers of clients")
	only    = flag.String("calls", "", "the calls to measure, by their names in the table; all by default")
	each    = flag.Duration("each", 50*time.Millisecond, "how long each call is measured with each number of clients")
	rounds  = flag.Int("rounds", 1, "how often all of that comes")
	results = flag.String("results", "", "folder for the page; none by default")
)

func TestMain(m *testing.M) { system.Exit(pgtest.Run(m)) }

// Without arguments it is a small run that shows that the program works; make issuing gives the figures.
func TestIssuing(t *testing.T) {
	page := &figure.Page{}
	page.Add("# What issuing costs, %s", figure.Today())
	page.Add("%s", figure.Where())
	page.Add("`make issuing`: %v of each call with each number of clients, %d times. %s", *each, *rounds, explanation)
	for _, s := range []struct {
		name, title string
		start       func(testing.TB) *stage.Stage
	}{
		{"sqlite", "one authsvc, SQLite, its embedded bus", stage.Single},
		{"postgresql", "two authsvc, PostgreSQL, three NATS nodes", func(t testing.TB) *stage.Stage { return stage.Cluster(t, false) }},
	} {
		if !strings.Contains(*engines, s.name) {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			b := &bench{T: t, Stage: s.start(t)}
			b.measure()
			page.Add("## %s", s.title)
			page.Table(b.table()...)
		})
	}
	t.Logf("\n%s", page)
	if *results != "" {
		figure.Write(t, *results, figure.Today()+"-issuing.md", page.String())
	}
}

const explanation = "Milliseconds from the first byte sent to the last byte read, on connections that are kept. *µs of authsvc*: what its processes " +
	"used of the CPUs for each call; the rest is the database's, the bus's, the clients' and the kernel's. *argon2 aside*: authsvc was built with a switch (tag " +
	system.DefectsTag + ") that makes a password hash cost 10 µs, and is the shipped program otherwise; the other rows are of the shipped program, whose hashes bound them. " +
	"Each client is a user of its own; logins go through all users in turn, so that none has many sessions. " +
	"`wait=none` answers after the commit, the default when the event is in the stream too."

// seen is one line of the table.
type seen struct {
	call    string
	clients int
	figure.Distribution
	elapsed, cpu time.Duration
}

func (b *bench) table() [][]string {
	rows := [][]string{{"call", "clients", "calls", "calls/s", "p50", "p99", "max", "µs of authsvc"}}
	for _, s := range b.found {
		if s.Len() == 0 {
			continue
		}
		rows = append(rows, []string{s.call, strconv.Itoa(s.clients), strconv.Itoa(s.Len()),
			fmt.Sprintf("%.0f", float64(s.Len())/s.elapsed.Seconds()), figure.Millis(s.At(0.5)), figure.Millis(s.At(0.99)), figure.Millis(s.At(1)),
			strconv.FormatInt(s.cpu.Microseconds()/int64(s.Len()), 10)})
	}
	return rows
}
