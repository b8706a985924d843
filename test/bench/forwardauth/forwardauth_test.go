// Package forwardauth measures what forwardauth behind nginx costs beside an auth_request to a handler that does nothing, and
// beside one that asks authsvc about each request.
package forwardauth

import (
	"bufio"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/test/bench/figure"
	"github.com/tocsin-auth/tocsin/test/system"
)

var (
	rounds  = flag.Int("rounds", 2, "how often each contender is measured, in turn")
	each    = flag.Duration("each", 200*time.Millisecond, "how long, each time")
	clients = flag.Int("clients", 16, "connections at once, for throughput")
	results = flag.String("results", "", "folder to write the page to")
)

// figures are those of one contender.
type figures struct {
	latency figure.Distribution // one connection, one request after the other
	medians []float64           // of each round, in ns
	rates   []float64           // requests per second with many connections, of each round
	load    figure.Distribution // latency then
}

func TestForwardauth(t *testing.T) {
	all, user := contenders(t)
	measured := make([]figures, len(all))
	n := 0
	for _, c := range all { // caches and connections are there before it counts
		c.run(t, user, *clients, min(*each, 500*time.Millisecond), &n)
	}
	for range *rounds {
		inTurn(t, all, measured, user, *each, &n)
		for i, c := range all {
			many := c.run(t, user, *clients, *each, &n)
			measured[i].load.Add(many...)
			measured[i].rates = append(measured[i].rates, float64(len(many))/each.Seconds())
		}
	}
	page := makePage(all, measured)
	t.Log("\n" + page)
	if *results != "" {
		figure.Write(t, *results, figure.Today()+"-forwardauth.md", page)
	}
}

func median(all []time.Duration) float64 {
	slices.Sort(all)
	return float64(all[len(all)/2])
}

// run has some connections send one request after the other for a while; n makes paths that weren't asked for before.
func (c contender) run(t *testing.T, user system.User, connections int, d time.Duration, n *int) []time.Duration {
	t.Helper()
	var mu sync.Mutex
	var all []time.Duration
	var done sync.WaitGroup
	end := time.Now().Add(d)
	for range connections {
		first := *n
		*n += 10_000_000
		done.Go(func() {
			took, err := c.session(user, end, first)
			mu.Lock()
			defer mu.Unlock()
			if all = append(all, took...); err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
		})
	}
	done.Wait()
	if len(all) == 0 {
		t.Fatalf("%s: no answer", c.name)
	}
	return all
}

// inTurn measures latencies: one request to each contender, then the next to each, so that whatever disturbs the machine disturbs
// all; in a random order, since each leaves the caches to the next.
func inTurn(t *testing.T, all []contender, measured []figures, user system.User, d time.Duration, n *int) {
	t.Helper()
	lines, took := make([]*line, len(all)), make([][]time.Duration, len(all))
	for i, c := range all {
		var err error
		if lines[i], err = c.dial(user); err != nil {
			t.Fatal(err)
		}
		defer lines[i].conn.Close()
	}
	for end := time.Now().Add(d * time.Duration(len(all))); time.Now().Before(end); *n++ {
		for _, i := range rand.Perm(len(all)) {
			one, err := lines[i].ask(*n)
			if err != nil {
				t.Fatalf("%s: %v", all[i].name, err)
			}
			took[i] = append(took[i], one)
		}
	}
	for i := range all {
		measured[i].latency.Add(took[i]...)
		measured[i].medians = append(measured[i].medians, median(took[i]))
	}
}

// line is one connection. It writes bytes and reads them itself, so that what measures costs little.
type line struct {
	contender
	authorization string
	conn          net.Conn
	answers       *bufio.Reader
}

func (c contender) dial(user system.User) (*line, error) {
	conn, err := net.Dial("tcp", c.addr)
	if err != nil {
		return nil, err
	}
	return &line{c, user.Auth(), conn, bufio.NewReader(conn)}, nil
}

// ask returns how long one request took.
func (l *line) ask(n int) (time.Duration, error) {
	began := time.Now()
	if _, err := fmt.Fprintf(l.conn, "GET %s HTTP/1.1\r\nHost: api.example.com\r\nUser-Agent: bench\r\nAccept: */*\r\nAuthorization: %s\r\n\r\n", l.path(n), l.authorization); err != nil {
		return 0, err
	}
	res, err := http.ReadResponse(l.answers, nil)
	if err != nil {
		return 0, err
	}
	if _, err := l.answers.Discard(int(res.ContentLength)); err != nil || res.StatusCode != 200 {
		return 0, fmt.Errorf("%s, %v", res.Status, err)
	}
	return time.Since(began), nil
}

// session asks over one connection until the end.
func (c contender) session(user system.User, end time.Time, n int) (took []time.Duration, err error) {
	l, err := c.dial(user)
	if err != nil {
		return nil, err
	}
	defer l.conn.Close()
	for ; time.Now().Before(end); n++ {
		one, err := l.ask(n)
		if err != nil {
			return took, err
		}
		took = append(took, one)
	}
	return took, nil
}
