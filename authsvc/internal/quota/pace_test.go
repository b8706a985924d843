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
		n       int
		allowed bool
	}{
		{0, "cars", 11, false}, {0, "cars", 10, true}, {0, "cars", 1, false}, {0, "cars", 0, true}, {0, "jobs", 10, true},
		{time.Second, "cars", 2, false}, {0, "cars", 1, true}, {time.Hour, "cars", 10, true}, {0, "cars", 1, false},
	} {
		now = now.Add(step.wait)
		if got := p.allow(step.service, step.n); got != step.allowed {
			t.Errorf("step %d: %v", i, got)
		}
	}
	now = now.Add(time.Hour)
	if p.allow("other", 1); len(p.paid) != 1 {
		t.Errorf("%d services are remembered that owe nothing", len(p.paid)-1)
	}
}
