package machine

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestABeatTellsHowLongTheMachineStoodStill(t *testing.T) {
	start := time.Now()
	at := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
	b := &Beat{last: start}
	for _, ms := range []int{5, 10, 310, 315, 330, 335, 435} {
		b.beat(at(ms))
	}
	for _, c := range []struct{ from, to, want int }{
		{0, 435, 400}, {0, 10, 0}, {10, 310, 300}, {100, 200, 100}, {310, 335, 0}, {300, 400, 75},
		{0, 460, 400}, {0, 500, 465}, // the next beat is late, or not yet
	} {
		if got := b.StoodStill(at(c.from), at(c.to)); got != time.Duration(c.want)*time.Millisecond {
			t.Errorf("between %d and %d ms: %v, want %d ms", c.from, c.to, got, c.want)
		}
	}
}

func TestStandstillsAreLongOnesAndManyShortOnes(t *testing.T) {
	start := time.Now()
	b := &Beat{last: start}
	at := 0
	pass := func(ms ...int) {
		for _, ms := range ms {
			at += ms
			b.beat(start.Add(time.Duration(at) * time.Millisecond))
		}
	}
	run := func(ms int) {
		for range ms / 5 {
			pass(5)
		}
	}
	run(1000)
	pass(300) // from 1 s to 1.3 s
	run(1000)
	pass(150) // not long enough
	run(1000)
	for range 3 { // from 3.45 s to 4.22 s
		pass(90)
		run(250)
	}
	var got []string
	for _, s := range b.Standstills() {
		got = append(got, s.From.Sub(start).String()+" "+s.To.Sub(start).String())
	}
	if want := []string{"1s 1.3s", "3.45s 4.22s"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestAMachineThatRunsDoesNotStandStill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := Listen()
		time.Sleep(time.Hour)
		if stood := b.Stop(); stood != 0 || b.Stop() != 0 {
			t.Errorf("stood still for %v", stood)
		}
	})
}

func TestAwaitWaitsForWhatComesLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		Await(t, "a minute", func() bool { return time.Since(start) >= time.Minute })
		if took := time.Since(start); took > Patience {
			t.Errorf("it took %v", took)
		}
	})
}

func TestWhatFailsOnAMachineThatRanIsNotTriedAgain(t *testing.T) {
	tried := 0
	synctest.Test(t, func(t *testing.T) {
		f := &failing{TB: t}
		func() {
			defer func() { recover() }()
			Steadily(f, func() error { tried++; return errors.New("it is broken") })
		}()
		if tried != 1 || !f.failed {
			t.Errorf("tried %d times, failed: %v", tried, f.failed)
		}
	})
}

// failing notes that a test would have failed, and ends it by a panic.
type failing struct {
	testing.TB
	failed bool
}

func (f *failing) Helper() {}

func (f *failing) Fatal(...any) { f.failed = true; panic("fatal") }
