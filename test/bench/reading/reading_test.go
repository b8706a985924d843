// Package reading measures what it costs to ask authsvc about a credential: an elite check, the first use of an API key,
// and an introspection over HTTP, with 1 to 64 of them in flight, on both engines:
//
//	make reading
//
// The client, authsvc with its embedded bus, and the database share the CPUs. With -before=FILE an older authsvc is
// measured in the same run, in turns with this one.
package reading

import (
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tocsin-auth/tocsin/test/bench/figure"
	"github.com/tocsin-auth/tocsin/test/bench/stage"
	"github.com/tocsin-auth/tocsin/test/pgtest"
	"github.com/tocsin-auth/tocsin/test/system"
)

var (
	engines  = flag.String("engines", "sqlite,postgresql", "databases")
	inFlight = flag.String("in-flight", "1,16,64", "how many calls run at once")
	only     = flag.String("only", "", "the one kind of call to measure; all by default")
	rounds   = flag.Int("rounds", 1, "how often each kind and number comes")
	each     = flag.Duration("each", 100*time.Millisecond, "how long each is measured in a round")
	before   = flag.String("before", "", "an authsvc of an earlier commit, to be measured in turns with this one")
	results  = flag.String("results", "", "folder for the page; none by default")
)

func TestMain(m *testing.M) {
	code := pgtest.Run(m)
	system.CloseIdle()
	system.RemoveBuild()
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// Without arguments it is a small run that shows that the program works; make reading gives the sizes.
func TestReading(t *testing.T) {
	page := &figure.Page{}
	page.Add("# What asking authsvc costs, %s", figure.Today())
	page.Add("%s", figure.Where())
	page.Add("`make reading`: %d rounds of all rows in turn, %v each. Times in milliseconds, CPU in microseconds of processor time for one call. %s", *rounds, *each, explanation)
	for engine := range strings.SplitSeq(*engines, ",") {
		t.Run(engine, func(t *testing.T) {
			rows := measure(t, engine)
			page.Add("## One authsvc, %s", engine)
			page.Table(table(rows)...)
		})
	}
	t.Logf("\n%s", page)
	if *results != "" {
		figure.Write(t, *results, figure.Today()+"-reading.md", page.String())
	}
}

const explanation = "*elite token*, *elite key*: `Verify` of pkg/verifier on an elite route; the token's signature is in the verifier's cache, the decision never is. " +
	"*first use of a key*: `Verify` on an ordinary route by verifiers that haven't seen the key. *introspection*: `POST /oauth2/introspect` of an access token with HTTP Basic, " +
	"by Go's HTTP client. Each call is for another of 32 users in turn. Every answer is a read of the primary that began after the call did."

// system under test: one version of authsvc on one engine.
type version struct {
	name string
	*scene
}

func measure(t *testing.T, engine string) []*row {
	start := map[string]func(testing.TB, string) *stage.Stage{"sqlite": stage.SingleOf, "postgresql": stage.SinglePostgres}[engine]
	if start == nil {
		t.Fatalf("-engines: there is no %q", engine)
	}
	versions := []version{{"", newScene(t, start(t, ""))}}
	if *before != "" {
		versions = []version{{"before", newScene(t, start(t, *before))}, {"now", versions[0].scene}}
	}
	var rows []*row
	for _, k := range kinds {
		for n := range strings.SplitSeq(*inFlight, ",") {
			for _, v := range versions {
				rows = append(rows, &row{kind: k, inFlight: number(t, n), version: v})
			}
		}
	}
	for range *rounds {
		for _, r := range rows {
			if *only == "" || *only == r.kind.name {
				r.measure(t)
			}
		}
	}
	return rows
}

func number(t *testing.T, text string) int {
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("-in-flight: %q is no number of calls", text)
	}
	return n
}
