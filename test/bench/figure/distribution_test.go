package figure

import (
	"testing"
	"time"
)

func TestPercentilesAreThoseOfTheNearestRank(t *testing.T) {
	var d Distribution
	if d.At(0.5) != 0 {
		t.Error("nothing has no median")
	}
	for i := 1000; i > 0; i-- {
		d.Add(time.Duration(i))
	}
	for p, want := range map[float64]time.Duration{0: 1, 0.5: 500, 0.99: 990, 0.999: 999, 0.9991: 1000, 1: 1000} {
		if got := d.At(p); got != want {
			t.Errorf("At(%v) = %d, want %d", p, got, want)
		}
	}
	d.Add(-5)
	if d.At(0) != 0 {
		t.Error("what came before its beginning counts as 0")
	}
}

func TestMillisecondsHaveThreeDigits(t *testing.T) {
	for d, want := range map[time.Duration]string{
		1234 * time.Microsecond: "1.23", 12345 * time.Microsecond: "12.3", 1234 * time.Millisecond: "1234", 0: "0.00",
	} {
		if got := Millis(d); got != want {
			t.Errorf("%v is %s, want %s", d, got, want)
		}
	}
}
