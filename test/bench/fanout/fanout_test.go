// Package fanout measures what each verifier, each proof and each revocation costs, and where, from 1 to 1,000 verifiers in
// one run, and how many revocations a second there can be:
//
//	make fanout
//
// authsvc, the bus, the database and the verifiers are processes of their own on one machine, and what each used is read from
// the kernel, so that costs add up to something even where the machine has no room for all of them at once.
package fanout

import (
	"flag"
	"strconv"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/test/bench/figure"
	"github.com/tocsin-auth/tocsin/test/bench/stage"
	"github.com/tocsin-auth/tocsin/test/pgtest"
	"github.com/tocsin-auth/tocsin/test/system"
)

var (
	verifiers = flag.String("verifiers", "1,3", "numbers of verifiers")
	rates     = flag.String("rates", "50", "revocations a second, beside none")
	clients   = flag.String("clients", "4", "numbers of callers that revoke as fast as they are answered, with one verifier")
	each      = flag.Duration("each", 500*time.Millisecond, "how long each is measured")
	logins    = flag.Int("logins", 3, "logins, and ten refreshes for each, by which a session is measured")
	results   = flag.String("results", "", "folder for the page and the plots; none by default")
)

func TestMain(m *testing.M) { system.Exit(pgtest.Run(m)) }

// bound is the shipped default: with it verifiers ask for a proof twice a second.
const bound = 30 * time.Second

// Without arguments it is a small run that shows that the program works; make fanout gives the sizes.
func TestFanOut(t *testing.T) {
	page := &figure.Page{}
	page.Add("# What verifiers and revocations cost, %s", figure.Today())
	page.Add("%s", figure.Where())
	page.Add("`make fanout`: %v for each figure. %s", *each, explanation)
	t.Run("fleets", func(t *testing.T) { fleets(t, page) })
	for _, engine := range []struct {
		name     string
		postgres bool
	}{{"SQLite", false}, {"PostgreSQL", true}} {
		t.Run(engine.name, func(t *testing.T) { sweep(t, page, engine.name, engine.postgres) })
	}
	t.Logf("\n%s", page)
	if *results != "" {
		figure.Write(t, *results, figure.Today()+"-fanout.md", page.String())
	}
}

func fleets(t *testing.T, page *figure.Page) {
	var all []reading
	for _, n := range append([]int{0}, stage.Numbers(t, "verifiers", *verifiers)...) {
		// Each has a system of its own: a thousand that start would read for minutes what was revoked for those before.
		t.Run(strconv.Itoa(n), func(t *testing.T) {
			all = append(all, newBench(t, stage.Apart(t, false)).fleet(t, n, stage.Numbers(t, "rates", *rates))...)
		})
	}
	page.Add("## Cost by the number of verifiers")
	page.Table(restTable(all)...)
	page.Table(loadTable(all)...)
	for _, p := range plots(all) {
		page.Add("![%s](%s)", p.chart.Title, p.name)
		if *results != "" {
			figure.Write(t, *results, p.name, p.chart.SVG())
		}
	}
}

func sweep(t *testing.T, page *figure.Page, engine string, postgres bool) {
	b := newBench(t, stage.Apart(t, postgres))
	page.Add("## The greatest number of revocations a second, one verifier, %s", engine)
	all, growth := b.sweep(t, stage.Numbers(t, "clients", *clients))
	page.Table(sweepTable(all)...)
	page.Add("## What a revocation and a session leave behind, %s", engine)
	page.Table(append(growth, b.sessions(t, *logins)...)...)
}
