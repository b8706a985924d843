package speed

import (
	"math"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"
)

// contender is one way to do one thing.
type contender struct {
	name string
	// exact: all of it happens here, and nothing else allocates meanwhile, so its allocations are the same in every run.
	exact bool
	// run does the thing n times.
	run func(n int) error
}

// measured is a contender with what was seen of it.
type measured struct {
	contender
	n      int       // how often it runs in a round
	nanos  []float64 // of one time, by round
	allocs int       // of one time, in this process
}

// session is all that one run has measured.
type session []*measured

// measure runs all contenders in turns, round by round, and every other round backwards, so that what else the machine does
// meets all of them. It calls begin when all have run for the first time.
func measure(t *testing.T, all []contender, begin func()) session {
	t.Helper()
	var s session
	for _, c := range all {
		m := &measured{contender: c}
		if err := m.calibrate(); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		s = append(s, m)
	}
	t.Logf("calibrated")
	begin()
	for range *rounds {
		for _, m := range s {
			took, err := m.time(m.n)
			if err != nil {
				t.Fatalf("%s: %v", m.name, err)
			}
			m.nanos = append(m.nanos, float64(took.Nanoseconds())/float64(m.n))
		}
		slices.Reverse(s)
	}
	if *rounds%2 == 1 {
		slices.Reverse(s)
	}
	return s
}

// time runs it n times. Nobody pays for the garbage of who came before.
func (m *measured) time(n int) (time.Duration, error) {
	runtime.GC()
	start := time.Now()
	err := m.run(n)
	return time.Since(start), err
}

// calibrate finds how often it has to run for its time, and counts its allocations. The first time of all fills caches.
func (m *measured) calibrate() error {
	if err := m.run(1); err != nil {
		return err
	}
	for m.n = 1; ; m.n *= 4 {
		took, err := m.time(m.n)
		if err != nil {
			return err
		}
		if took >= *each/4 {
			m.n = max(1, int(float64(m.n)*float64(*each)/float64(took)))
			return m.count()
		}
	}
}

// count keeps the least of three countings, rounded: the verifier's own goroutines and those of clients allocate now and then.
func (m *measured) count() error {
	const times = 200
	n, least := max(1, min(m.n, times)), math.Inf(1)
	if m.exact {
		n = times
	}
	for range 3 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if err := m.run(n); err != nil {
			return err
		}
		runtime.ReadMemStats(&after)
		least = min(least, float64(after.Mallocs-before.Mallocs)/float64(n))
	}
	m.allocs = int(math.Round(least))
	return nil
}

// span returns the least, the median and the greatest of some figures.
func span(figures []float64) (least, median, most float64) {
	sorted := slices.Sorted(slices.Values(figures))
	return sorted[0], sorted[len(sorted)/2], sorted[len(sorted)-1]
}

func (m *measured) median() float64 {
	_, median, _ := span(m.nanos)
	return median
}

// of returns the contender of a name, or nil if it wasn't measured.
func (s session) of(name string) *measured {
	for _, m := range s {
		if m.name == name {
			return m
		}
	}
	return nil
}

// times makes a contender of what does it once.
func times(one func() error) func(n int) error {
	return func(n int) error {
		for range n {
			if err := one(); err != nil {
				return err
			}
		}
		return nil
	}
}

// inFlight keeps so many going at once.
func inFlight(width int, one func() error) func(n int) error {
	return func(n int) error {
		var group sync.WaitGroup
		errs := make(chan error, width)
		for i := range width {
			share := (n + i) / width
			group.Go(func() {
				if err := times(one)(share); err != nil {
					errs <- err
				}
			})
		}
		group.Wait()
		close(errs)
		return <-errs
	}
}
