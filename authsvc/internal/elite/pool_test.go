package elite

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"
)

func TestPoolTakesServicesInTurns(t *testing.T) {
	p := newPool(shares{workers: 1, running: 1, queued: 10, total: 100})
	var mu sync.Mutex
	var ran []string
	hold, held := make(chan struct{}), make(chan struct{})
	p.submit("x", func() { close(held); <-hold })
	<-held
	for _, service := range []string{"a", "a", "a", "b", "c", "b"} {
		p.submit(service, func() { mu.Lock(); defer mu.Unlock(); ran = append(ran, service) })
	}
	close(hold)
	p.close()
	if want := []string{"a", "b", "c", "a", "b", "a"}; !slices.Equal(ran, want) {
		t.Errorf("ran %v, want %v", ran, want)
	}
	if len(p.queues) != 0 || p.queued != 0 {
		t.Errorf("left over: %d queues, %d tasks", len(p.queues), p.queued)
	}
}

func TestPoolKeepsWorkersOutOfOneServicesReach(t *testing.T) {
	p := newPool(shares{workers: 4, running: 3, queued: 5, total: 100})
	release := make(chan struct{})
	started := make(chan struct{}, 100)
	accepted := 0
	for range 20 {
		if p.submit("greedy", func() { started <- struct{}{}; <-release }) {
			accepted++
		}
		if accepted <= 3 {
			<-started // so that the first ones run, and the others wait
		}
	}
	if accepted != 3+5 {
		t.Errorf("%d tasks accepted, want 3 running and 5 queued", accepted)
	}
	done := make(chan struct{})
	if !p.submit("modest", func() { close(done) }) {
		t.Fatal("another service was refused")
	}
	<-done
	close(release)
	p.close()
	if len(started) != 5 {
		t.Errorf("%d of the queued tasks ran before close returned, want 5", len(started))
	}
	if p.submit("late", func() {}) {
		t.Error("a closed pool took a task")
	}
}

func TestPoolRunsEveryAcceptedTaskOnceWithinItsShares(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := shares{workers: rapid.IntRange(1, 4).Draw(t, "workers"), queued: rapid.IntRange(1, 8).Draw(t, "queued"),
			running: rapid.IntRange(1, 4).Draw(t, "running"), total: rapid.IntRange(1, 16).Draw(t, "total")}
		services := rapid.SliceOfN(rapid.IntRange(0, 3), 0, 60).Draw(t, "services")
		p := newPool(s)
		var ran, accepted atomic.Int64
		var running [4]atomic.Int64
		for _, service := range services {
			if p.submit(fmt.Sprint(service), func() {
				if n := running[service].Add(1); n > int64(s.running) {
					t.Errorf("%d of one service at once, want at most %d", n, s.running)
				}
				ran.Add(1)
				running[service].Add(-1)
			}) {
				accepted.Add(1)
			}
		}
		p.close()
		if ran.Load() != accepted.Load() {
			t.Fatalf("%d of %d tasks ran", ran.Load(), accepted.Load())
		}
		if len(p.queues) != 0 || p.queued != 0 || len(p.turns) != 0 {
			t.Fatalf("left over: %d queues, %d tasks, %d turns", len(p.queues), p.queued, len(p.turns))
		}
	})
}
