// Package coldstart measures how soon verifiers that know nothing are fresh, with many live revocations that were published
// one by one: one verifier from an authsvc that has compact pages ready, from one that has just been started and makes them
// from its database, and a thousand at once.
//
//	make coldstart
package coldstart

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tocsin-auth/tocsin/test/bench/figure"
	"github.com/tocsin-auth/tocsin/test/bench/fleet"
	"github.com/tocsin-auth/tocsin/test/bench/stage"
	"github.com/tocsin-auth/tocsin/test/pgtest"
	"github.com/tocsin-auth/tocsin/test/system"
)

var (
	live    = flag.String("live", "9000", "numbers of live revocations, rising")
	storms  = flag.String("storms", "3", "for each of those, how many verifiers start at once on one authsvc with SQLite")
	rounds  = flag.Int("rounds", 1, "how often one verifier starts alone, in each way")
	results = flag.String("results", "", "folder for the page; none by default")
)

func TestMain(m *testing.M) {
	if arg := os.Getenv(childVariable); arg != "" {
		if err := child(arg); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	code := pgtest.Run(m)
	system.CloseIdle()
	system.RemoveBuild()
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// bound is the shipped default.
const bound = 30 * time.Second

// Without arguments it is a run of seconds that shows that the program works; make coldstart gives the sizes.
func TestColdStart(t *testing.T) {
	page := &figure.Page{}
	page.Add("# How soon verifiers that know nothing are fresh, %s", figure.Today())
	page.Add("%s", figure.Where())
	page.Add("`make coldstart`. %s", explanation)
	lives, fleets := numbers(t, *live), numbers(t, *storms)
	for _, s := range []struct {
		name, title string
		start       func(testing.TB) *stage.Stage
		fleets      []int
	}{
		{"sqlite", "One authsvc, SQLite, embedded bus", stage.Single, fleets},
		{"postgresql", "Two authsvc, PostgreSQL, three NATS nodes", func(t testing.TB) *stage.Stage { return stage.Cluster(t, false) }, nil},
	} {
		t.Run(s.name, func(t *testing.T) {
			b := &bench{T: t, Stage: s.start(t)}
			for i, n := range lives {
				b.grow(n)
				b.alone()
				if i < len(s.fleets) && s.fleets[i] > 0 {
					b.storm(s.fleets[i])
				}
			}
			page.Add("## %s", s.title)
			page.Table(b.singles...)
			if len(b.storms) > 0 {
				page.Table(append([][]string{stormHead}, b.storms...)...)
			}
		})
	}
	t.Logf("\n%s", page)
	if *results != "" {
		figure.Write(t, *results, figure.Today()+"-coldstart.md", page.String())
	}
}

const explanation = "Each verifier is a new process, of one verifier or, in a storm, of all of them: *fresh* is from its making until it has accepted its first " +
	"proof, with the fetch of the feed keys over HTTP and the connection to the bus in it; its *CPU* and largest *memory* are those of the whole process. *Ready*: authsvc has made the compact pages before. " +
	"*Just started*: authsvc was killed with -9 and started again, and makes them from the database as they are asked for, while it makes others ahead and its caches are cold. *Stream lost*: the same, and its stream is gone, so that it also publishes it again. " +
	"*Oldest proof*: the greatest age that the proof of any of four verifiers reached that were fresh all the while; B is 30 s, and they ask twice a second."

func numbers(t *testing.T, list string) (all []int) {
	for field := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(field)
		if err != nil || n < 0 {
			t.Fatalf("%q is no number", field)
		}
		all = append(all, n)
	}
	return all
}

// bench is one set-up under measurement.
type bench struct {
	*testing.T
	*stage.Stage
	live            int
	singles, storms [][]string
}

// settle is how long authsvc has to find out that the stream lacks something.
const settle = 3 * time.Second

// held is how many revocations the stream has room for, about.
const held = 2_500_000

// grow lets so many revocations live, and waits until the stream has them, too, if it can.
func (b *bench) grow(n int) {
	b.Helper()
	for _, a := range b.Auth {
		a.Stop(b.T)
	}
	fill(b.T, b.DatabaseURL, n-b.live)
	b.live = n
	for _, a := range b.Auth {
		a.Restart(b.T)
	}
	time.Sleep(settle) // other processes: nothing else tells
	if n > held {
		return // it is sent again for minutes, to push itself out; nobody reads it here
	}
	for deadline := time.Now().Add(3 * time.Minute); b.said("republishing to the stream") > b.said("the stream is complete again"); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.Fatal("the stream isn't complete")
		}
	}
}

// said counts a line of the logs.
func (b *bench) said(text string) (n int) {
	for _, a := range b.Auth {
		n += strings.Count(a.Output(), text)
	}
	return n
}

func (b *bench) start(verifiers int) started {
	b.Helper()
	done := start{Issuer: b.Issuer, Credentials: b.Credentials, URL: stage.URL(b.Bus), Verifiers: verifiers}.run(b.T)
	if done.Revocations != b.live || done.CatchUps["compact"] == 0 {
		b.Fatalf("%d revocations are known of %d; %v\n%s", done.Revocations, b.live, done.CatchUps, done.Log)
	}
	return done
}

// alone has one verifier start, after another that has made authsvc ready, and at once after authsvc.
func (b *bench) alone() {
	b.Helper()
	if b.singles == nil {
		b.singles = [][]string{{"live", "authsvc", "starts", "fresh, median s", "max s", "CPU s", "peak MB", "MB a second later", "authsvc CPU s", "read from"}}
	}
	for _, way := range []struct {
		name   string
		before func()
	}{
		{"just started", b.restart},
		{"stream lost", b.loseStream},
		{"ready", func() {}},
	} {
		if way.name == "stream lost" && b.Nodes != nil {
			continue // a cluster's stream isn't lost with authsvc
		}
		var fresh, cpu, spent figure.Distribution
		var last started
		for range *rounds {
			way.before()
			before := b.spent()
			last = b.start(1)
			spent.Add(b.spent() - before)
			fresh.Add(last.Fresh[0])
			cpu.Add(last.CPU)
		}
		b.singles = append(b.singles, []string{strconv.Itoa(b.live), way.name, strconv.Itoa(*rounds), seconds(fresh.At(0.5)), seconds(fresh.At(1)),
			seconds(cpu.At(0.5)), megabytes(last.Peak), megabytes(last.Settled), seconds(spent.At(0.5)), fmt.Sprint(last.CatchUps)})
		b.Log(b.singles[len(b.singles)-1])
	}
}

func (b *bench) restart() {
	for _, a := range b.Auth {
		a.Kill()
	}
	for _, a := range b.Auth {
		a.Restart(b.T)
	}
}

// loseStream is restart without what JetStream had, which authsvc publishes again at the same time.
func (b *bench) loseStream() {
	b.Auth[0].Kill()
	if err := os.RemoveAll(filepath.Join(b.Auth[0].DataDir, "jetstream")); err != nil {
		b.Fatal(err)
	}
	b.Auth[0].Restart(b.T)
}

var stormHead = []string{"live", "verifiers", "fresh, median s", "all s", "their CPU s", "their memory MB", "authsvc CPU s", "authsvc peak MB", "oldest proof of others s", "read from"}

// storm has many verifiers start at once, while others go on.
func (b *bench) storm(size int) {
	b.Helper()
	others := fleet.Start(b.T, fleet.Config{Issuer: b.Issuer, Credentials: b.Credentials, URLs: strings.Split(strings.Repeat(stage.URL(b.Bus)+" ", 4), " ")[:4], Bound: bound, Proofs: true})
	defer others.Close()
	before := b.spent()
	done := b.start(size)
	spent := b.spent() - before
	var fresh figure.Distribution
	for _, d := range done.Fresh {
		fresh.Add(d)
	}
	var peak int64
	for _, a := range b.Auth {
		peak = max(peak, status(strconv.Itoa(a.PID()), "VmHWM"))
	}
	b.storms = append(b.storms, []string{strconv.Itoa(b.live), strconv.Itoa(size), seconds(fresh.At(0.5)), seconds(fresh.At(1)), seconds(done.CPU),
		megabytes(done.Peak), seconds(spent), megabytes(peak), seconds(oldest(others.Report(b.T))), fmt.Sprint(done.CatchUps)})
	b.Log(b.storms[len(b.storms)-1])
}

// oldest returns the greatest age that a proof had reached when the next one came.
func oldest(members []fleet.Member) (age time.Duration) {
	for _, m := range members {
		for i := 1; i < len(m.Proofs); i++ {
			age = max(age, m.Proofs[i].At.Sub(m.Proofs[i-1].Asked))
		}
	}
	return age
}

// spent is the processor time of all authsvc, with their embedded bus.
func (b *bench) spent() (sum time.Duration) {
	for _, a := range b.Auth {
		sum += spent(b.T, a.PID())
	}
	return sum
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.2f", d.Seconds()) }

func megabytes(bytes int64) string { return fmt.Sprintf("%.0f", float64(bytes)/1e6) }
