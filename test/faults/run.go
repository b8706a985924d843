package faults

import (
	"context"
	"fmt"
	"math/rand/v2"
	"regexp"
	"sync"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/test/machine"
)

// Options are what a run is made of; together with scheduling they decide what happens.
type Options struct {
	SetUp    string
	Seed     uint64
	Duration time.Duration
	// Bound is B of every verifier, at least 3 s.
	Bound time.Duration
	// Faults, if given, matches the names of those that are injected.
	Faults *regexp.Regexp
	// Pause is the longest time between two faults.
	Pause time.Duration
}

// String is the command that does it again.
func (o Options) String() string {
	again := fmt.Sprintf("make faults DURATION=%v SEED=%d SETUP=%s BOUND=%v PAUSE=%v", o.Duration, o.Seed, o.SetUp, o.Bound, o.Pause)
	if o.Faults != nil {
		again += fmt.Sprintf(" FAULTS='%v'", o.Faults)
	}
	return again
}

// Run starts a set-up, lets traffic and faults loose on it for a while, heals it, tries every credential everywhere, and
// returns the history.
func Run(t testing.TB, o Options) *History {
	r := NewRecorder(o.Bound)
	s := &System{Name: o.SetUp, Recorder: r, bound: o.Bound, points: points(t.TempDir()), clocks: newClocks(t.TempDir()), memory: &Memory{seed: o.Seed},
		beat: machine.Listen()}
	defer s.beat.Stop()
	SetUps[o.SetUp](s, t)
	f := NewTraffic(s, o.Seed)
	calling, hangUp := context.WithCancel(t.Context())
	defer hangUp()
	var traffic sync.WaitGroup
	traffic.Go(func() { f.Run(calling) })
	faulty, calm := context.WithTimeout(t.Context(), o.Duration)
	defer calm()
	j := &Injector{System: s, Options: o, t: t, ctx: faulty, rng: rand.New(rand.NewPCG(o.Seed, 0)), changed: f.changed, traffic: f}
	j.Run()
	f.enough(t)
	pause(t.Context(), o.Bound)
	hangUp()
	traffic.Wait()
	f.sweep(t.Context())
	s.standstills()
	return r.History()
}

// enough lets the traffic go on until there was some of everything: a slow machine may need longer than the faults last.
func (f *Traffic) enough(t testing.TB) {
	for began := time.Now(); len(f.Recorder.missing()) > 0 && time.Since(began) < patience; {
		pause(t.Context(), time.Second)
	}
}

// sweep tries every credential of the run at every instance, on both kinds of route.
func (f *Traffic) sweep(ctx context.Context) {
	pause(ctx, f.bound) // what changed last has to be known everywhere
	began := f.Recorder.Now()
	var running sync.WaitGroup
	everything := f.pool.everything()
	for _, r := range f.Resources {
		for n := range callers {
			running.Go(func() {
				for i := n; i < len(everything); i += callers {
					f.decided(ctx, r, everything[i], false)
					f.decided(ctx, r, everything[i], true)
				}
			})
		}
	}
	running.Wait()
	f.Recorder.Add(Sweep{Span{began, f.Recorder.Now()}})
}
