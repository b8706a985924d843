package keyring

import (
	"context"
	"sync"
	"time"
)

// shared lets those who want the same reading at the same time have one: a reading serves everybody who asked before it began.
// So a flood of tokens that name keys which don't exist costs one reading after the other, however many come.
type shared struct {
	once  sync.Once
	turn  chan struct{} // held by who reads
	began time.Time     // of the last reading that succeeded; owned by who holds the turn
}

func (s *shared) do(ctx context.Context, read func(context.Context) error) error {
	s.once.Do(func() { s.turn = make(chan struct{}, 1) })
	asked := time.Now()
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if s.began.After(asked) {
		return nil
	}
	began := time.Now()
	if err := read(ctx); err != nil {
		return err // the next one tries by itself: this may be of the caller's context only
	}
	s.began = began
	return nil
}
