package quota

import (
	"testing"
	"time"
)

func TestEachServiceHasItsOwnPace(t *testing.T) {
	now := time.Now()
	p := pace{every: time.Second, burst: 10, now: func() time.Time { return now }}
	for i, step := range []struct {
		wait    time.Duration
		service string
		tries   int
		allowed int
	}{
		{0, "cars", 11, 10}, {0, "cars", 1, 0}, {0, "jobs", 10, 10}, {time.Second, "cars", 2, 1}, {time.Hour, "cars", 11, 10},
	} {
		now = now.Add(step.wait)
		allowed := 0
		for range step.tries {
			if p.allow(step.service) {
				allowed++
			}
		}
		if allowed != step.allowed {
			t.Errorf("step %d: %d", i, allowed)
		}
	}
	now = now.Add(time.Hour)
	if p.allow("other"); len(p.paid) != 1 {
		t.Errorf("%d services are remembered that owe nothing", len(p.paid)-1)
	}
}
