package main

import (
	"context"
	"log/slog"
	"time"
)

const (
	// sweepEvery is how late something may be noticed that nobody was woken for.
	sweepEvery = time.Second
	awayEvery  = 3 * time.Second
)

// sweeper does what the rows of the database say is to be done, and tells when it can't, and can again.
type sweeper struct {
	sweep func(ctx context.Context) error
	woken chan struct{}
	log   *slog.Logger
	// gone and back are what the log says.
	gone, back string

	away bool
}

func newSweeper(sweep func(context.Context) error, gone, back string, log *slog.Logger) *sweeper {
	return &sweeper{sweep: sweep, woken: make(chan struct{}, 1), log: log, gone: gone, back: back}
}

// wake makes it look at once.
func (s *sweeper) wake() {
	select {
	case s.woken <- struct{}{}:
	default:
	}
}

// run sweeps until ctx ends. While it can't do anything it isn't woken: each time would find the same.
func (s *sweeper) run(ctx context.Context) {
	for {
		err := s.sweep(ctx)
		if ctx.Err() != nil {
			return
		}
		s.note(ctx, err)
		woken, pause := s.woken, sweepEvery
		if s.away {
			woken, pause = nil, awayEvery
		}
		timer := time.NewTimer(pause)
		select {
		case <-woken:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// note logs changes only.
func (s *sweeper) note(ctx context.Context, err error) {
	switch {
	case err != nil && !s.away:
		s.log.WarnContext(ctx, s.gone, "err", err)
	case err == nil && s.away:
		s.log.InfoContext(ctx, s.back)
	}
	s.away = err != nil
}
