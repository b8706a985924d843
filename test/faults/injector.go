package faults

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// Injector draws faults and does them one after the other. Its methods run in the test's own goroutine.
type Injector struct {
	*System
	Options
	t       testing.TB
	ctx     context.Context
	rng     *rand.Rand
	changed <-chan struct{}
	traffic *Traffic
	// old is the folder of stores that were copied earlier, empty when there is none.
	old string
	// streamEpoch and streamHead are how far the stream went when it was last seen to be complete.
	streamEpoch string
	streamHead  uint64
}

// kind is a fault that can be drawn, weight times as often as one of weight 1.
type kind struct {
	name   string
	weight int
	do     func(*Injector) Fault
	// alone: no other fault beside it, since one would end it early.
	alone bool
}

// Run injects faults until the context ends, and leaves the system whole, the stream included. A fault that has begun is finished.
func (j *Injector) Run() {
	var drawn []kind
	for _, k := range j.kinds() {
		for range k.weight {
			if j.Faults == nil || j.Faults.MatchString(k.name) {
				drawn = append(drawn, k)
			}
		}
	}
	if len(drawn) == 0 {
		j.t.Fatalf("no fault of the set-up %s matches %v", j.Name, j.Faults)
	}
	for pause(j.ctx, j.between(j.Pause/20, j.Pause)) {
		k := drawn[j.rng.IntN(len(drawn))]
		clearUp := j.weather(k)
		began := j.Recorder.Now()
		f := k.do(j)
		if f.Begin == 0 {
			f.Begin = began
		}
		f.Kind, f.Name, f.End = k.name, k.name+f.Name, j.Recorder.Now()
		j.Recorder.Add(f)
		j.t.Logf("%v %s", f.Span, f.Name)
		clearUp()
	}
	j.awaitStream()
}

func (j *Injector) between(low, high time.Duration) time.Duration {
	return low + time.Duration(j.rng.Int64N(int64(high-low)))
}

// hold is how long something lasts: shorter than the bound as often as longer.
func (j *Injector) hold() time.Duration {
	if j.rng.IntN(2) == 0 {
		return j.between(200*time.Millisecond, j.Bound-2*time.Second)
	}
	return j.between(j.Bound-2*time.Second, 2*j.Bound)
}

// wait is the time that a fault lasts. It isn't cut short, so that a fault always ends as it was drawn.
func (j *Injector) wait(d time.Duration) { time.Sleep(d) }

// onChange waits until a change has just returned, so that what follows hits its publication.
func (j *Injector) onChange() { j.changeWithin(3 * time.Second) }

func (j *Injector) changeWithin(d time.Duration) {
	select {
	case <-j.changed:
	default:
	}
	select {
	case <-j.changed:
	case <-time.After(d):
	}
}

func (j *Injector) resource() *Resource { return j.Resources[j.rng.IntN(len(j.Resources))] }

func (j *Injector) kinds() []kind {
	if j.Name == "single" {
		return slices.Concat(processKinds, clockKinds, pointKinds, singleKinds, singleStreamKinds, wireKinds)
	}
	return slices.Concat(processKinds, clockKinds, pointKinds, clusterKinds, databaseKinds, leaderKinds, routeKinds, clusterStreamKinds, wireKinds, wireClusterKinds)
}

func lasting(d time.Duration) string { return fmt.Sprintf(" for %v", d.Round(time.Millisecond)) }
