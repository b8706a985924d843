package main

import (
	"context"
	"log/slog"
	"sync"
)

// startLog holds back what a start reports about its progress until the start has succeeded, so that one that fails says
// its one line and nothing else. Warnings and errors pass at once.
type startLog struct {
	slog.Handler
	held *heldRecords
}

// heldRecords is shared by the handlers that derive from one startLog.
type heldRecords struct {
	mu       sync.Mutex
	released bool
	records  []func()
}

func newStartLog(h slog.Handler) startLog { return startLog{h, &heldRecords{}} }

// release writes what was held back; from then on everything passes.
func (l startLog) release() {
	l.held.mu.Lock()
	defer l.held.mu.Unlock()
	l.held.released = true
	for _, write := range l.held.records {
		write()
	}
	l.held.records = nil
}

// Handle implements [slog.Handler].
func (l startLog) Handle(ctx context.Context, r slog.Record) error {
	l.held.mu.Lock()
	defer l.held.mu.Unlock()
	if l.held.released || r.Level >= slog.LevelWarn {
		return l.Handler.Handle(ctx, r)
	}
	ctx, r = context.WithoutCancel(ctx), r.Clone()
	l.held.records = append(l.held.records, func() { l.Handler.Handle(ctx, r) })
	return nil
}

// WithAttrs implements [slog.Handler].
func (l startLog) WithAttrs(attrs []slog.Attr) slog.Handler {
	return startLog{l.Handler.WithAttrs(attrs), l.held}
}

// WithGroup implements [slog.Handler].
func (l startLog) WithGroup(name string) slog.Handler {
	return startLog{l.Handler.WithGroup(name), l.held}
}
