package keyring

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestAReadingServesEverybodyWhoAskedBeforeItBegan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s shared
		var reads atomic.Int64
		read := func(context.Context) error { reads.Add(1); time.Sleep(time.Millisecond); return nil }
		var all sync.WaitGroup
		for range 1000 {
			all.Go(func() {
				if err := s.do(t.Context(), read); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		// The first one, and one for all who came while it ran: that one may have begun before a key was added.
		if n := reads.Load(); n != 2 {
			t.Errorf("%d readings for 1000 askers", n)
		}
	})
}

func TestNobodyIsServedByAReadingThatBeganBeforeTheyAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s shared
		version, seen := 1, 0
		read := func(context.Context) error { seen = version; time.Sleep(time.Millisecond); return nil }
		go s.do(t.Context(), read)
		synctest.Wait()
		version = 2 // a key is added while the first reads
		if err := s.do(t.Context(), read); err != nil || seen != 2 {
			t.Errorf("%v; read version %d", err, seen)
		}
	})
}

func TestAReadingThatFailsIsNobodyElsesAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s shared
		fault := errors.New("fault")
		go s.do(t.Context(), func(context.Context) error { time.Sleep(time.Millisecond); return fault })
		synctest.Wait()
		reads := 0
		if err := s.do(t.Context(), func(context.Context) error { reads++; return nil }); err != nil || reads != 1 {
			t.Errorf("%v after %d readings", err, reads)
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		var first sync.WaitGroup
		defer first.Wait()
		first.Go(func() { s.do(t.Context(), func(context.Context) error { time.Sleep(time.Millisecond); return nil }) })
		synctest.Wait()
		if err := s.do(ended, func(context.Context) error { return nil }); !errors.Is(err, context.Canceled) {
			t.Errorf("%v for an asker who has gone", err)
		}
	})
}
