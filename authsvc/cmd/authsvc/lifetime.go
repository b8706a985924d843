package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// stopTimeout is how long a stop may take before what is left is cut off.
const stopTimeout = 15 * time.Second

// lifetime is what runs, in the order in which it was started. It is stopped in reverse: nothing loses what it rests on
// before it has ended itself.
type lifetime struct {
	log   *slog.Logger
	parts []part
}

type part struct {
	name string
	stop func(context.Context) error
}

// started adds a part that runs now.
func (l *lifetime) started(name string, stop func(context.Context) error) {
	l.parts = append(l.parts, part{name, stop})
}

// closes adds a part whose end can't take long.
func (l *lifetime) closes(name string, stop func() error) {
	l.started(name, func(context.Context) error { return stop() })
}

// stop ends everything and returns what went wrong.
func (l *lifetime) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	var errs []error
	for i := len(l.parts) - 1; i >= 0; i-- {
		begun := time.Now()
		if err := l.parts[i].stop(ctx); err != nil {
			errs = append(errs, fmt.Errorf("stop %s: %w", l.parts[i].name, err))
		}
		l.log.Debug("stopped", "part", l.parts[i].name, "took", time.Since(begun))
	}
	l.parts = nil
	return errors.Join(errs...)
}
