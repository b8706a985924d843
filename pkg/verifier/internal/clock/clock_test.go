package clock

import (
	"testing"
	"time"
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
	for deadline := time.Now().Add(time.Second); clk.Now().Since(first) <= 0; {
		if time.Now().After(deadline) {
			t.Fatal("the clock stands still")
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
