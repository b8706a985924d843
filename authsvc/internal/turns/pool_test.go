package turns

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newTasks is a pool of functions.
func newTasks(s Shares) *Pool[func()] {
	return New(s, func(batch []func()) {
		for _, task := range batch {
			task()
		}
	})
}

func TestPoolTakesServicesInTurns(t *testing.T) {
	p := newTasks(Shares{Workers: 1, Running: 1, Queued: 10, Total: 100, Batch: 1})
	var mu sync.Mutex
	var ran []string
	hold, held := make(chan struct{}), make(chan struct{})
	p.Submit("x", func() { close(held); <-hold })
	<-held
	for _, service := range []string{"a", "a", "a", "b", "c", "b"} {
		p.Submit(service, func() { mu.Lock(); defer mu.Unlock(); ran = append(ran, service) })
	}
	close(hold)
	p.Close()
	if want := []string{"a", "b", "c", "a", "b", "a"}; !slices.Equal(ran, want) {
		t.Errorf("ran %v, want %v", ran, want)
	}
	if len(p.queues) != 0 || p.queued != 0 {
		t.Errorf("left over: %d queues, %d tasks", len(p.queues), p.queued)
	}
}

// TestPoolHasRoomForWhoAsksLittleWhenOthersHaveFilledIt, and no more than twice as much in all.
func TestPoolHasRoomForWhoAsksLittleWhenOthersHaveFilledIt(t *testing.T) {
	const total = 20
	p := newTasks(Shares{Workers: 1, Running: 1, Queued: 10, Total: total, Batch: 1})
	hold, held := make(chan struct{}), make(chan struct{})
	p.Submit("x", func() { close(held); <-hold })
	<-held
	submit := func(asker string, n int) (queued int) {
		for range n {
			if p.Submit(asker, func() {}) {
				queued++
			}
		}
		return queued
	}
	if n := submit("a", 20) + submit("b", 20); n != total {
		t.Fatalf("%d queued", n)
	}
	if n := submit("c", 20); n != 4 { // of x, a, b and c
		t.Errorf("%d of one who asks little", n)
	}
	all := total + 4
	for i := range 10 * total {
		all += submit(fmt.Sprint(i), 1)
	}
	if all > 2*total || all <= total+4 {
		t.Errorf("%d queued in all", all)
	}
	close(hold)
	p.Close()
}

func TestPoolKeepsWorkersOutOfOneServicesReach(t *testing.T) {
	p := newTasks(Shares{Workers: 4, Running: 3, Queued: 5, Total: 100, Batch: 1})
	release := make(chan struct{})
	started := make(chan struct{}, 100)
	accepted := 0
	for range 20 {
		if p.Submit("greedy", func() { started <- struct{}{}; <-release }) {
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
	if !p.Submit("modest", func() { close(done) }) {
		t.Fatal("another service was refused")
	}
	<-done
	close(release)
	p.Close()
	if len(started) != 5 {
		t.Errorf("%d of the queued tasks ran before close returned, want 5", len(started))
	}
	if p.Submit("late", func() {}) {
		t.Error("a closed pool took a task")
	}
}

func TestPoolRunsEveryAcceptedTaskOnceWithinItsShares(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := Shares{Workers: rapid.IntRange(1, 4).Draw(t, "workers"), Queued: rapid.IntRange(1, 8).Draw(t, "queued"),
			Running: rapid.IntRange(1, 4).Draw(t, "running"), Total: rapid.IntRange(1, 16).Draw(t, "total"), Batch: 1}
		services := rapid.SliceOfN(rapid.IntRange(0, 3), 0, 60).Draw(t, "services")
		p := newTasks(s)
		var ran, accepted atomic.Int64
		var running [4]atomic.Int64
		for _, service := range services {
			if p.Submit(fmt.Sprint(service), func() {
				if n := running[service].Add(1); n > int64(s.Running) {
					t.Errorf("%d of one service at once, want at most %d", n, s.Running)
				}
				ran.Add(1)
				running[service].Add(-1)
			}) {
				accepted.Add(1)
			}
		}
		p.Close()
		if ran.Load() != accepted.Load() {
			t.Fatalf("%d of %d tasks ran", ran.Load(), accepted.Load())
		}
		if len(p.queues) != 0 || p.queued != 0 || len(p.turns) != 0 {
			t.Fatalf("left over: %d queues, %d tasks, %d turns", len(p.queues), p.queued, len(p.turns))
		}
	})
}

func TestPoolHandsOverTogetherWhatQueuedMeanwhile(t *testing.T) {
	started, release := make(chan []string), make(chan struct{})
	p := New(Shares{Workers: 1, Running: 1, Queued: 10, Total: 100, Batch: 4}, func(batch []string) {
		started <- batch
		<-release
	})
	p.Submit("x", "x1")
	if got := <-started; !slices.Equal(got, []string{"x1"}) {
		t.Errorf("first: %v", got)
	}
	for _, item := range []string{"a1", "a2", "a3", "a4", "b1", "b2"} {
		p.Submit(item[:1], item)
	}
	for _, want := range [][]string{{"a1", "b1", "a2", "b2"}, {"a3", "a4"}} {
		release <- struct{}{}
		if got := <-started; !slices.Equal(got, want) {
			t.Errorf("%v, want %v", got, want)
		}
	}
	close(release)
	p.Close()
}

func TestPoolKeepsAWorkerForOthersWhateverQueues(t *testing.T) {
	started, release := make(chan []string, 100), make(chan struct{})
	p := New(Shares{Workers: 3, Running: 2, Queued: 100, Total: 100, Batch: 2}, func(batch []string) {
		started <- batch
		<-release
	})
	for range 2 {
		p.Submit("greedy", "g")
		<-started // so that both of the share run
	}
	for range 20 {
		p.Submit("greedy", "g")
	}
	p.Submit("modest", "m")
	if got := <-started; !slices.Equal(got, []string{"m"}) {
		t.Errorf("the kept worker runs %v", got)
	}
	close(release)
	p.Close()
}
