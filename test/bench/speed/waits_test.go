package speed

import (
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/test/bench/figure"
)

// waits are the times of single operations of those that ask somebody, by name: a mean of many tells nothing of the slowest.
type waits map[string]*wait

// wait is safe for concurrent use.
type wait struct {
	mu   sync.Mutex
	took figure.Distribution
}

// asking makes a contender, with so many in flight, of what does it once.
func (w waits) asking(name string, width int, one func() error) contender {
	own := new(wait)
	w[name] = own
	return contender{name, false, inFlight(width, func() error {
		began := time.Now()
		err := one()
		own.add(time.Since(began))
		return err
	})}
}

func (w *wait) add(took time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.took.Add(took)
}

// forget drops what was seen so far: first times, which open connections and fill caches.
func (w waits) forget() {
	for _, one := range w {
		one.mu.Lock()
		one.took = figure.Distribution{}
		one.mu.Unlock()
	}
}

func (s session) waits(w waits) [][]string {
	rows := [][]string{{"what", "times", "p50", "p99", "p99.9", "max"}}
	for _, m := range s {
		if one := w[m.name]; one != nil {
			row := []string{m.name, strconv.Itoa(one.took.Len())}
			for _, p := range []float64{0.5, 0.99, 0.999, 1} {
				row = append(row, figure.Nanos(float64(one.took.At(p).Nanoseconds())))
			}
			rows = append(rows, row)
		}
	}
	return rows
}

func TestWaitsAreThoseOfSingleTimes(t *testing.T) {
	w := waits{}
	c := w.asking("a", 3, func() error { return nil })
	if err := c.run(10); err != nil {
		t.Fatal(err)
	}
	w.forget()
	if err := c.run(7); err != nil {
		t.Fatal(err)
	}
	if rows := (session{{contender: c}, {contender: contender{name: "b"}}}).waits(w); len(rows) != 2 || rows[1][0] != "a" || rows[1][1] != "7" {
		t.Errorf("%v", rows)
	}
}
