// Package jobs measures what becomes of queued jobs: how many a second are accepted and done, and how long each takes from its commit to that of its
// result, with one worker and four, on both engines:
//
//	make jobs
//
// Each job is the whole way: a grant is minted, the job committed and offered, claimed, its grant exchanged, the payload read, computed and the result
// stored. The compute service is the reference service's own, which does next to nothing.
package jobs

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
	"github.com/tocsin-auth/tocsin/test/pgtest"
	"github.com/tocsin-auth/tocsin/test/system"
)

var (
	engines = flag.String("engines", "sqlite,postgresql", "databases")
	workers = flag.String("workers", "1,4", "how many workers there are, each of which does four jobs at once")
	clients = flag.Int("clients", 8, "how many users queue jobs at once")
	each    = flag.Int("each", 4, "how many jobs each user queues")
	alone   = flag.Int("alone", 2, "how many jobs are queued one after the other")
	results = flag.String("results", "", "folder for the page; none by default")
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

// Without arguments it is a small run that shows that the program works; make jobs gives the sizes.
func TestJobs(t *testing.T) {
	page := &figure.Page{}
	page.Add("# What becomes of queued jobs, %s", figure.Today())
	page.Add("%s", figure.Where())
	page.Add("`make jobs`: *one at a time*: %d jobs of one user, each queued when the one before was done. *%d users*: each queues %d, one after the other, and all at once. %s", *alone, *clients, *each, explanation)
	for engine := range strings.SplitSeq(*engines, ",") {
		t.Run(engine, func(t *testing.T) {
			table := [][]string{{"workers", "jobs", "accepted/s", "done/s", "p50 ms", "p99 ms", "max ms", "CPU ms, authsvc", "service", "workers"}}
			for n := range strings.SplitSeq(*workers, ",") {
				count, err := strconv.Atoi(n)
				if err != nil || count < 1 {
					t.Fatalf("-workers: %q is no number of them", n)
				}
				table = append(table, measure(t, engine, count)...)
			}
			page.Add("## One authsvc, one service, %s", engine)
			page.Table(table...)
		})
	}
	t.Logf("\n%s", page)
	if *results != "" {
		figure.Write(t, *results, figure.Today()+"-jobs.md", page.String())
	}
}

const explanation = "*accepted/s*: answers 202 until the last of them. *done/s*: from the first call to the last result. Milliseconds are from the commit of a job to that of its result, by the service's clock; " +
	"where more is accepted than done they are the time in the queue. CPU is of the programs alone, not of the database, PostgreSQL's or within them, nor of the clients."

func measure(t *testing.T, engine string, count int) [][]string {
	s := newShop(t, engine, count)
	s.queue(t, s.users[:1], 1) // so that everything is there
	s.awaitAll(t)
	return [][]string{
		s.row(t, fmt.Sprintf("%d, one at a time", count), func() {
			for range *alone {
				s.queue(t, s.users[:1], 1)
				s.awaitAll(t)
			}
		}),
		s.row(t, fmt.Sprintf("%d, %d users", count, len(s.users)), func() { s.queue(t, s.users, *each) }),
	}
}

// row runs what queues jobs, waits until they are done, and says how it went.
func (s *shop) row(t *testing.T, name string, queue func()) []string {
	before, began := s.spent(t), time.Now()
	queue()
	accepted := time.Since(began)
	s.awaitAll(t)
	took, lasted := time.Since(began), s.lasted(t, began)
	after := s.spent(t)
	row := []string{name, strconv.Itoa(lasted.Len()), perSecond(lasted.Len(), accepted), perSecond(lasted.Len(), took), figure.Millis(lasted.At(.5)), figure.Millis(lasted.At(.99)), figure.Millis(lasted.At(1))}
	for _, program := range programs {
		row = append(row, figure.Millis((after[program]-before[program])/time.Duration(lasted.Len())))
	}
	return row
}

func perSecond(n int, d time.Duration) string { return fmt.Sprintf("%.0f", float64(n)/d.Seconds()) }
