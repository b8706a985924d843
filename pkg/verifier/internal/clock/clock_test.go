package clock

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestSinceIsTheLargerOfBothClocks(t *testing.T) {
	for _, c := range []struct {
		name       string
		wall, boot time.Duration
		want       time.Duration
	}{
		{"both go on", time.Second, time.Second, time.Second},
		{"wall set back", -time.Hour, time.Second, time.Second},
		{"wall set forward", time.Hour, time.Second, time.Hour},
		{"monotonic clock stood still in sleep", time.Hour, 0, time.Hour},
	} {
		t.Run(c.name, func(t *testing.T) {
			fake := NewFake(time.Unix(1_800_000_000, 0))
			before := fake.Now()
			fake.Move(c.wall, c.boot)
			if got := fake.Now().Since(before); got != c.want {
				t.Fatalf("got %v, want %v", got, c.want)
			}
		})
	}
}

func TestSystemClockGoesOn(t *testing.T) {
	clk := System()
	first := clk.Now()
	if first.IsZero() || first.Boot <= 0 {
		t.Fatalf("reading %+v", first)
	}
	for clk.Now().Since(first) <= 0 { // for ever, if the clock stands still
	}
}

// The boot-time clock isn't read while the others show that the machine hasn't slept. Whatever happens to it, a reading
// made so is the truth to within the slack: unless the wall clock is set back by just as much as it slept.
func TestASleepOrAStepOfTheWallClockIsNoticed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var wall, mono, boot int64 = 1_800_000_000e9, 5e9, 7e9
		o := &offsets{wall: wall - mono, boot: boot - mono}
		cancelled := int64(0)
		for range rapid.IntRange(1, 5).Draw(t, "steps") {
			awake := rapid.Int64Range(0, int64(time.Hour)).Draw(t, "awake")
			asleep := rapid.SampledFrom([]int64{0, 1, int64(slack), int64(time.Second), int64(time.Hour)}).Draw(t, "asleep")
			set := rapid.SampledFrom([]int64{0, -1, int64(-slack), int64(-time.Second), int64(time.Second)}).Draw(t, "set")
			wall, mono, boot = wall+awake+asleep+set, mono+awake, boot+awake+asleep
			cancelled += asleep + set
			r, ok := o.reading(wall, mono)
			switch {
			case ok && max(cancelled, -cancelled) >= int64(slack):
				t.Fatalf("a sleep or a step of %d ns was not noticed", cancelled)
			case ok && cancelled == 0 && wall != r.Wall:
				t.Fatal("another wall time")
			case !ok:
				o, cancelled = &offsets{wall: wall - mono, boot: boot - mono}, 0
			}
		}
	})
}

func TestReadingTheSystemAgreesWithTheKernel(t *testing.T) {
	for range 1000 {
		before, r, after := bootNanos(), System().Now(), bootNanos()
		if r.Boot < before-2*int64(slack) || r.Boot > after+2*int64(slack) {
			t.Fatalf("%d isn't from %d to %d", r.Boot, before, after)
		}
	}
}

func TestReadingDoesNotAllocate(t *testing.T) {
	clk := System()
	if n := testing.AllocsPerRun(100, func() { clk.Now() }); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func BenchmarkNow(b *testing.B) {
	clk := System()
	for b.Loop() {
		clk.Now()
	}
}
