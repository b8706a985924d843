package link

import (
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/clock"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/follower"
)

// skew is how far the database's clock is ahead of this machine's wall clock.
const skew = -3 * time.Hour

// sent returns what a proof says whose question took so long to the database.
func sent(c *clock.Fake, way time.Duration) *follower.Freshness {
	since := c.Now()
	c.Advance(way)
	return &follower.Freshness{Since: since, Now: database(c)}
}

func database(c *clock.Fake) int64 { return c.Now().Micros() + skew.Microseconds() }

func newPropagation(bound time.Duration) *propagation {
	p := &propagation{}
	p.init(bound)
	return p
}

// bucket returns the upper bound of the only bucket that isn't empty; 0 for none, -1 for beyond all.
func bucket(h Histogram) time.Duration {
	for i, n := range h.Counts {
		if n > 0 && i == len(h.Bounds) {
			return -1
		}
		if n > 0 {
			return h.Bounds[i]
		}
	}
	return 0
}

func TestPropagationIsMeasuredAcrossClocksThatDiffer(t *testing.T) {
	c := clock.NewFake(time.Unix(1e9, 0))
	p := newPropagation(30 * time.Second)
	p.proven(sent(c, 400*time.Microsecond))
	p.proven(sent(c, 80*time.Millisecond)) // a slow one makes nothing worse
	at := database(c)
	c.Advance(1500 * time.Microsecond)
	p.arrived(at, c.Now())
	h := p.snapshot()
	if bucket(h) != 2*time.Millisecond || h.Sum != 1900*time.Microsecond {
		t.Errorf("an event that took 1.5 ms, with 0.4 ms of doubt, counts as %v: %+v", bucket(h), h)
	}
}

func TestPropagationFollowsAClockThatIsSet(t *testing.T) {
	c := clock.NewFake(time.Unix(1e9, 0))
	p := newPropagation(30 * time.Second)
	p.proven(sent(c, time.Millisecond))
	c.Move(-time.Hour, 0) // here: the database's clock is derived from it, so it is set back by as much
	for range 5 {
		c.Advance(offsetLife)
		p.proven(sent(c, time.Millisecond))
	}
	at := database(c)
	c.Advance(time.Millisecond)
	p.arrived(at, c.Now())
	if got := bucket(p.snapshot()); got != 2*time.Millisecond {
		t.Errorf("%v", got)
	}
}

func TestPropagationBeyondTheBoundIsABucketOfItsOwn(t *testing.T) {
	for took, want := range map[time.Duration]time.Duration{1999 * time.Millisecond: 2 * time.Second, 2001 * time.Millisecond: -1} {
		c := clock.NewFake(time.Unix(1e9, 0))
		p := newPropagation(2 * time.Second)
		p.proven(sent(c, 0))
		at := database(c)
		c.Advance(took)
		p.arrived(at, c.Now())
		if got := bucket(p.snapshot()); got != want {
			t.Errorf("%v: bucket %v, want %v", took, got, want)
		}
	}
}

func TestPropagationBeforeAnyProofIsUnknown(t *testing.T) {
	p := newPropagation(time.Second)
	p.arrived(1, clock.NewFake(time.Unix(1e9, 0)).Now())
	if h := p.snapshot(); bucket(h) != 0 || h.Sum != 0 {
		t.Errorf("%+v", h)
	}
}
