package store

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

func TestALaneLetsFewInAndForgetsWhoHasLeft(t *testing.T) {
	var l lanes
	var inside, most atomic.Int32
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			leave, err := l.enter(t.Context(), "busy")
			if err != nil {
				t.Error(err)
				return
			}
			for n := inside.Add(1); n > most.Load(); {
				most.Store(n)
			}
			inside.Add(-1)
			leave()
		})
	}
	all.Wait()
	if most.Load() > laneWidth || len(l.named) > 0 {
		t.Errorf("%d at once, %d lanes are left", most.Load(), len(l.named))
	}
}

func TestAFullLaneKeepsNobodyElseAndEndsWithTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l lanes
		for range laneWidth {
			if _, err := l.enter(t.Context(), "busy"); err != nil {
				t.Fatal(err)
			}
		}
		leave, err := l.enter(t.Context(), "other")
		if err != nil {
			t.Fatal(err)
		}
		leave()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			_, err := l.enter(ctx, "busy")
			done <- err
		}()
		synctest.Wait()
		if len(done) > 0 {
			t.Fatal("the lane was wider")
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) || l.named["busy"].here != laneWidth {
			t.Errorf("%v, %d are here", err, l.named["busy"].here)
		}
	})
}
