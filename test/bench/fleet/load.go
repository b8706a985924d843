package fleet

import (
	"context"
	"fmt"
	"maps"
	"math/bits"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/pkg/verifier"
)

// Load has the first verifier checked all the time: a burst of warm tokens, a pause, and so on, each check measured on its own.
// Beside it an elite route is asked again and again, if Elite is set.
type Load struct {
	Tokens []string
	Burst  int
	Pause  time.Duration
	// Elite is the pause between two elite checks; 0: none.
	Elite time.Duration
}

// sliceEvery is the grain in which checks are told apart by time.
const sliceEvery = 5 * time.Millisecond

// Slice is what checks took that ended in one stretch of time.
type Slice struct {
	At    time.Time
	Nanos Histogram
}

// Call is one call of something else than a check.
type Call struct {
	At   time.Time
	Took time.Duration
}

// Histogram counts durations in nanoseconds by classes that are a 32nd of a power of two wide, so that its percentiles are exact
// to 3 %.
type Histogram map[int]int

const classesPerPower = 32

func class(nanos int64) int {
	n := uint64(max(nanos, 0))
	if n < 2*classesPerPower {
		return int(n)
	}
	shift := bits.Len64(n) - bits.Len(classesPerPower)
	return shift*classesPerPower + int(n>>shift)
}

// top is the longest duration of a class.
func top(class int) time.Duration {
	if class < 2*classesPerPower {
		return time.Duration(class)
	}
	shift := class/classesPerPower - 1
	return time.Duration((class-shift*classesPerPower+1)<<shift - 1)
}

// Add takes one duration in, and Merge all of another histogram.
func (h Histogram) Add(d time.Duration) { h[class(int64(d))]++ }

// Merge takes all of another histogram in.
func (h Histogram) Merge(other Histogram) {
	for class, n := range other {
		h[class] += n
	}
}

// Len returns how many durations there are.
func (h Histogram) Len() (n int) {
	for _, in := range h {
		n += in
	}
	return n
}

// At returns what at least the share p of all don't exceed, as [figure.Distribution.At] does.
func (h Histogram) At(p float64) time.Duration {
	rank := max(1, int(p*float64(h.Len())+1-1e-9))
	for _, class := range slices.Sorted(maps.Keys(h)) {
		if rank -= h[class]; rank <= 0 {
			return top(class)
		}
	}
	if len(h) == 0 {
		return 0
	}
	return top(slices.Max(slices.Collect(maps.Keys(h))))
}

// load is a running Load.
type load struct {
	cancel  context.CancelFunc
	checked chan error
	elite   chan error
	slices  []Slice
	calls   []Call
}

func (c *child) load(o Load) error {
	v := c.members[0].verifier
	credentials := make([]verifier.Credential, len(o.Tokens))
	for i, token := range o.Tokens {
		credentials[i] = verifier.Bearer(token)
		if _, err := v.Verify(context.Background(), credentials[i], nil); err != nil {
			return fmt.Errorf("token %d: %w", i, err)
		}
	}
	route, err := v.Route(verifier.Elite())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{cancel: cancel, checked: make(chan error, 1), elite: make(chan error, 1)}
	c.loaded = l
	go func() { l.checked <- l.check(ctx, v, credentials, o) }()
	if o.Elite == 0 {
		l.elite <- nil
		return nil
	}
	go func() { l.elite <- l.ask(ctx, v, route, credentials[0], o.Elite) }()
	return nil
}

// check measures each check from the end of the one before, so that one reading of the clock is in it.
func (l *load) check(ctx context.Context, v *verifier.Verifier, credentials []verifier.Credential, o Load) error {
	counts := make([]int, class(int64(time.Hour))+1)
	var touched []int
	pause := time.NewTicker(o.Pause)
	defer pause.Stop()
	for began := time.Now(); ctx.Err() == nil; <-pause.C {
		last := time.Now()
		for range o.Burst {
			if _, err := v.Verify(ctx, credentials[rand.IntN(len(credentials))], nil); err != nil {
				return fmt.Errorf("a token that nobody revoked: %w", err)
			}
			now := time.Now()
			in := class(int64(now.Sub(last)))
			if counts[in]++; counts[in] == 1 {
				touched = append(touched, in)
			}
			last = now
		}
		if last.Sub(began) >= sliceEvery {
			s := Slice{At: last, Nanos: make(Histogram, len(touched))}
			for _, in := range touched {
				s.Nanos[in], counts[in] = counts[in], 0
			}
			l.slices, touched, began = append(l.slices, s), touched[:0], last
		}
	}
	return nil
}

func (l *load) ask(ctx context.Context, v *verifier.Verifier, route *verifier.Route, c verifier.Credential, every time.Duration) error {
	pause := time.NewTicker(every)
	defer pause.Stop()
	for ctx.Err() == nil {
		began := time.Now()
		if _, err := v.Verify(context.Background(), c, route); err != nil {
			return fmt.Errorf("elite: %w", err)
		}
		l.calls = append(l.calls, Call{At: began, Took: time.Since(began)})
		<-pause.C
	}
	return nil
}

func (c *child) unload() (answer, error) {
	l := c.loaded
	l.cancel()
	for _, done := range []chan error{l.checked, l.elite} {
		if err := <-done; err != nil {
			return answer{}, err
		}
	}
	return answer{Slices: l.slices, Elite: l.calls}, nil
}

// Load starts a load, which ends with Unload: that returns what every check took, by time, and each elite check.
func (f *Fleet) Load(t testing.TB, l Load) {
	t.Helper()
	f.tell(t, order{Load: &l})
}

// Unload ends the load.
func (f *Fleet) Unload(t testing.TB) ([]Slice, []Call) {
	t.Helper()
	a := f.tell(t, order{Unload: true})
	return a.Slices, a.Elite
}
