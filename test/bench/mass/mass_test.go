// Package mass measures what it takes to revoke all holders of a role at once, 100,000 users in one call of an admin, on both
// engines: the call, what others wait for meanwhile, how soon every verifier applies it, and what a check costs meanwhile.
//
//	make mass
//
// Ten verifiers in a process of their own, each with its own connection, apply what comes; another, alone in its process, is
// being used all the time, and each of its checks is measured.
package mass

import (
	"flag"
	"fmt"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/test/bench/figure"
	"github.com/tocsin-auth/tocsin/test/bench/stage"
	"github.com/tocsin-auth/tocsin/test/pgtest"
	"github.com/tocsin-auth/tocsin/test/system"
)

var (
	holders     = flag.Int("holders", 200, "users with each role that is revoked")
	rounds      = flag.Int("rounds", 1, "how many roles are revoked, one after the other")
	verifiers   = flag.Int("verifiers", 2, "verifiers that apply it, besides the one that is measured")
	tokensInUse = flag.Int("tokens", 50, "tokens that the verifier under load checks")
	quiet       = flag.Duration("quiet", 300*time.Millisecond, "how long everything is measured before each call")
	oneByOne    = flag.Int("one-by-one", 20, "how many users are disabled, each by a call of its own")
	results     = flag.String("results", "", "folder for the page and the plots; none by default")
)

func TestMain(m *testing.M) { system.Exit(pgtest.Run(m)) }

// bound is the shipped default: with it verifiers ask for a proof twice a second.
const bound = 30 * time.Second

// Without arguments it is a small run that shows that the program works; make mass gives the sizes.
func TestMass(t *testing.T) {
	page := &figure.Page{}
	page.Add("# Revoking a role of %d users in one call, %s", *holders, figure.Today())
	page.Add("%s", figure.Where())
	page.Add("`make mass`: %d roles one after the other, each with %d users of its own; %d verifiers in one process, and one under load. %s", *rounds, *holders, *verifiers, explanation)
	for _, s := range []struct {
		name, title string
		start       func(testing.TB) *stage.Stage
	}{
		{"sqlite", "one authsvc, SQLite", stage.Single},
		{"postgresql", "two authsvc, PostgreSQL, three NATS nodes", func(t testing.TB) *stage.Stage { return stage.Cluster(t, false) }},
	} {
		t.Run(s.name, func(t *testing.T) {
			b := &bench{T: t, Stage: s.start(t)}
			b.run()
			page.Add("## %s", s.title)
			page.Table(b.checks()...)
			page.Table(b.times()...)
			page.Table(b.costs()...)
			picture := fmt.Sprintf("%s-mass-%s.svg", figure.Today(), s.name)
			page.Add("![checks around the call](%s)", picture)
			if *results != "" {
				figure.Write(t, *results, picture, b.plot(s.title).SVG())
			}
		})
	}
	t.Logf("\n%s", page)
	if *results != "" {
		figure.Write(t, *results, figure.Today()+"-mass.md", page.String())
	}
}

const explanation = "The verifier under load checks warm tokens of other users in bursts, four in ten of one core's time, and each check is measured with one reading of the clock in it. " +
	"*Quiet*: before the call. *During the call*: from its sending to its answer, which with `wait=none` comes right after the commit. *While it is applied*: from then until that " +
	"verifier refuses the user who comes last in the last event. *Everywhere*: until the slowest of all verifiers does. *Worst wait*: of refreshes, of elite checks at a verifier, of single " +
	"revocations, all of other users, that began in the quiet time, and from the call's sending until everywhere. *Oldest proof*: the greatest age that any verifier's proof had from the " +
	"call's sending until a second after everywhere; B is 30 s."
