package faults

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

// settle is how long the system is left alone after the last fault, before everything must be right.
const settle = Bound

// Run starts a set-up, lets traffic and faults loose on it for a while, heals it, tries every credential everywhere, and
// returns the history and how often each fault was injected.
func Run(t testing.TB, setUp string, seed uint64, duration time.Duration) (*History, map[string]int) {
	r := NewRecorder(Bound)
	s := SetUps[setUp](t, r)
	f := NewTraffic(s, seed)
	calling, hangUp := context.WithCancel(t.Context())
	defer hangUp()
	var traffic sync.WaitGroup
	traffic.Go(func() { f.Run(calling) })
	faulty, calm := context.WithTimeout(t.Context(), duration)
	defer calm()
	j := &Injector{System: s, t: t, ctx: faulty, rng: rand.New(rand.NewPCG(seed, 0)), changed: f.changed, counts: map[string]int{}}
	j.Run()
	pause(t.Context(), settle)
	hangUp()
	traffic.Wait()
	f.sweep(t.Context())
	return r.History(), j.counts
}

// sweep tries every credential of the run at every instance, on both kinds of route.
func (f *Traffic) sweep(ctx context.Context) {
	pause(ctx, Bound) // what changed last has to be known everywhere
	began := f.Recorder.Now()
	var running sync.WaitGroup
	for _, r := range f.Resources {
		running.Go(func() {
			for _, c := range f.pool.everything() {
				f.call(ctx, r, c, false)
				f.call(ctx, r, c, true)
			}
		})
	}
	running.Wait()
	f.Recorder.Add(Sweep{Span{began, f.Recorder.Now()}})
}
