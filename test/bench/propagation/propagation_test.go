// Package propagation measures how long a revocation takes until every verifier refuses, with 1 to 500 of them, in one run:
//
//	make propagation
//
// Each verifier has its own connection, its own set and its own checks of signatures; those of one size live in one process
// beside authsvc, the database and the bus, on the same CPUs. Sizes alternate, so that what else the machine does meets all.
//
//	make propagation-load
//
// measures one real resource service over HTTP while it is at work: from the commit to the last request that it accepted.
package propagation

import (
	"flag"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/test/bench/figure"
	"github.com/tocsin-auth/tocsin/test/bench/stage"
	"github.com/tocsin-auth/tocsin/test/pgtest"
	"github.com/tocsin-auth/tocsin/test/system"
)

var (
	single      = flag.String("single", "1,3", "numbers of verifiers, on one authsvc with SQLite")
	cluster     = flag.String("cluster", "1,3", "numbers of verifiers, on two authsvc with PostgreSQL and three NATS nodes")
	rounds      = flag.Int("rounds", 1, "how often each size comes")
	revocations = flag.Int("revocations", 3, "revocations of each size in a round")
	wait        = flag.String("wait", "none", "what the revoking call waits for: none, published, or fleet; that with one size and one round, as verifiers that are gone count until B has passed")
	results     = flag.String("results", "", "folder for the page and the plots; none by default")
)

func TestMain(m *testing.M) { system.Exit(pgtest.Run(m)) }

// bound is the shipped default: with it verifiers ask for a proof twice a second.
const bound = 30 * time.Second

// settle lets what a new fleet and a new token have caused be over: what is measured is one revocation, on its own.
const settle = 20 * time.Millisecond

// Without arguments it is a small run that shows that the program works; make propagation gives the sizes.
func TestPropagation(t *testing.T) {
	page := &figure.Page{}
	page.Add("# How fast a revocation arrives, %s", figure.Today())
	page.Add("%s", figure.Where())
	page.Add("`make propagation`: %d rounds of all sizes in turn, %d revocations each, `wait=%s`. Milliseconds. %s", *rounds, *revocations, *wait, explanation)
	for _, s := range []struct {
		name, title, flag, sizes string
		start                    func(testing.TB) *stage.Stage
	}{
		{"sqlite", "one authsvc, SQLite", "single", *single, stage.Single},
		{"postgresql", "two authsvc, PostgreSQL, three NATS nodes", "cluster", *cluster, func(t testing.TB) *stage.Stage { return stage.Cluster(t, false) }},
	} {
		t.Run(s.name, func(t *testing.T) {
			all := measure(t, s.start(t), stage.Numbers(t, s.flag, s.sizes))
			picture := fmt.Sprintf("%s-propagation-%s.svg", figure.Today(), s.name)
			page.Add("## %s", s.title)
			page.Table(table(all)...)
			page.Add("![everywhere, from the answer](%s)", picture)
			if *results != "" {
				figure.Write(t, *results, picture, plot(s.title, all).SVG())
			}
		})
	}
	t.Logf("\n%s", page)
	if *results != "" {
		figure.Write(t, *results, figure.Today()+"-propagation.md", page.String())
	}
}

const explanation = "The clock ends when a verifier has refused the token for the first time; it is looked at after each change of " +
	"what it knows, which is late by a wake-up of a goroutine and no more. *From the answer*: from when the answer to the revoking call (with `wait=none` sent right after the commit) " +
	"was read by its caller; what came before it counts as 0. *From the sending*: the call and its commit are in it. *From the numbering*: from the time that the event bears, " +
	"read in the dispatcher's numbering transaction, before that is committed. The truth about the commit lies between the first two. *Everywhere*: the slowest verifier of each revocation; " +
	"without that, all verifiers of all revocations. Of fewer than 1,000 samples p99.9 is the maximum."

// seen is what was measured with one number of verifiers.
type seen struct {
	size                                               int
	each, everywhere, fromSending, fromNumbering, call figure.Distribution
}

func measure(t *testing.T, s *stage.Stage, sizes []int) []*seen {
	var all []*seen
	for _, n := range sizes {
		all = append(all, &seen{size: n})
	}
	admin, user := s.Auth[0].Admin(t), s.Auth[0].Register(t, "propagation")
	for range *rounds {
		for _, one := range all {
			one.round(t, s, admin, &user)
		}
	}
	return all
}

func (e *seen) round(t *testing.T, s *stage.Stage, admin system.User, user *system.User) {
	verifiers := s.Fleet(t, e.size, bound)
	defer verifiers.Close()
	for i := range *revocations {
		a := s.Auth[i%len(s.Auth)] // by the dispatcher's own process and by another one in turn
		stage.Refresh(t, a, user)
		verifiers.Watch(t, user.Token)
		time.Sleep(settle)
		sent := time.Now()
		a.Must(t, 200, "POST", "/v1/admin/revocations?wait="+*wait, admin.Auth(), map[string]any{"token": user.Token})
		answered := time.Now()
		refused, numbered := verifiers.Refusals(t)
		e.add(sent, answered, numbered, refused)
		e.call.Add(answered.Sub(sent))
	}
}

func (e *seen) add(sent, answered, numbered time.Time, refused []time.Time) {
	var last time.Time
	for _, r := range refused {
		e.each.Add(r.Sub(answered))
		if r.After(last) {
			last = r
		}
	}
	e.everywhere.Add(last.Sub(answered))
	e.fromSending.Add(last.Sub(sent))
	e.fromNumbering.Add(last.Sub(numbered))
}

var shares = []struct {
	name string
	p    float64
}{{"p50", 0.5}, {"p99", 0.99}, {"p99.9", 0.999}, {"max", 1}}

func table(all []*seen) [][]string {
	head := []string{"verifiers", "clock", "samples"}
	for _, share := range shares {
		head = append(head, share.name)
	}
	rows := [][]string{head}
	for _, e := range all {
		for _, d := range []struct {
			name string
			*figure.Distribution
		}{{"each, from the answer", &e.each}, {"everywhere, from the answer", &e.everywhere}, {"everywhere, from the numbering", &e.fromNumbering},
			{"everywhere, from the sending", &e.fromSending}, {"the call itself", &e.call}} {
			row := []string{strconv.Itoa(e.size), d.name, strconv.Itoa(d.Len())}
			for _, share := range shares {
				row = append(row, figure.Millis(d.At(share.p)))
			}
			rows = append(rows, row)
		}
	}
	return rows
}

func plot(title string, all []*seen) figure.Chart {
	c := figure.Chart{Title: "From the revoking call's answer until all verifiers refuse", Subtitle: title, X: "verifiers",
		Target: 20 * time.Millisecond, TargetName: "target for p99 of 100 verifiers"}
	for _, share := range shares {
		line := figure.Line{Name: share.name}
		for _, e := range all {
			line.X, line.Y = append(line.X, e.size), append(line.Y, e.everywhere.At(share.p))
		}
		c.Lines = append(c.Lines, line)
	}
	return c
}
