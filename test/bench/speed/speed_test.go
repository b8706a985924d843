// Package speed measures a check of Tocsin beside what people would use instead, on the same tokens, in one run, in turns:
//
//	make bench          # five minutes, with a page and plots
//	make bench-check    # a minute or two, against the committed page
//
// Tokens are those of a real authsvc, and what asks somebody asks real programs over loopback; durability is on in all of them.
// golang-jwt verifies the very tokens that Tocsin does, with the same key; those of RS256 and HS256 have the same claims.
package speed

import (
	"flag"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/test/bench/figure"
	"github.com/tocsin-auth/tocsin/test/pgtest"
	"github.com/tocsin-auth/tocsin/test/system"
)

var (
	rounds  = flag.Int("rounds", 2, "how often each contender comes")
	each    = flag.Duration("each", 2*time.Millisecond, "for how long a contender runs in a round, about")
	many    = flag.Int("tokens", 400, "how many tokens there are where one of many is looked for")
	revoked = flag.Int("revoked", 20, "how many revocations are alive: in the verifier's set, in Redis, in the polled list")
	results = flag.String("results", "", "folder for the page and the plots; none by default")
	check   = flag.String("check", "", "folder of pages; the newest is what this run is compared with")
)

func TestMain(m *testing.M) { system.Exit(pgtest.Run(m)) }

// Without arguments it is a small run that shows that the program works; make bench gives the sizes.
func TestSpeed(t *testing.T) {
	where := figure.Where() // before this run is what loads the machine
	began := time.Now()
	w := newWorld(t)
	all := w.contenders(t)
	t.Logf("%d contenders are ready after %.0f s", len(all), time.Since(began).Seconds())
	run := measure(t, all, w.waits.forget)
	t.Logf("measured after %.0f s", time.Since(began).Seconds())
	page := run.page(where, w)
	t.Logf("\n%s", page)
	if *results != "" {
		run.write(t, page)
	}
	if *check != "" {
		run.compare(t, *check)
	}
}
