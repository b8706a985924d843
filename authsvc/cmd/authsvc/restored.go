package main

import (
	"context"
	"errors"
	"time"

	"github.com/tocsin-auth/tocsin/authsvc/internal/elite"
	"github.com/tocsin-auth/tocsin/authsvc/internal/feed"
	"github.com/tocsin-auth/tocsin/pkg/events"
)

const (
	// settlePatience is how long a start waits until the stream was looked at and somebody dispatches. Without the bus
	// neither happens, and the rest must work.
	settlePatience = 3 * time.Second
	settlePoll     = 10 * time.Millisecond
)

var errImporting = errors.New("the database has lost commits, and the stream isn't imported yet")

// awaitSettled answers nobody before it is known whether the database was set back, nor before it has got back from the
// stream what it had lost, as long as the dispatcher waits for that.
func (p *program) awaitSettled(ctx context.Context) error {
	tick := time.NewTicker(settlePoll)
	defer tick.Stop()
	for start := time.Now(); !p.feed.Settled(); {
		if p.lossless() == nil && time.Since(start) > settlePatience {
			p.log.Warn("answering before the stream was looked at")
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	return nil
}

// lossless is an error while an import is waited for.
func (p *program) lossless() error {
	if p.feed.Stats().Withheld {
		return errImporting
	}
	return nil
}

// restored is called by the feed when it has imported what the database had lost.
func (p *program) restored(ctx context.Context, keys []events.Hash) error {
	admins, err := p.db.EnabledAdmins(ctx)
	if err != nil {
		return err
	}
	if admins == 0 {
		p.log.Error("no enabled admin is left: the restored ones were demoted after the backup, those who did it are lost")
	}
	if err := p.ring.Restored(ctx); err != nil {
		return err
	}
	if _, err := p.ring.RetireDue(ctx); err != nil { // what has left the set by time isn't a difference
		return err
	}
	return p.domain.AdoptKeySet(ctx, keys)
}

// settledStore answers no question of the elite responders while an import is waited for.
type settledStore struct {
	elite.Store
	feed *feed.Feed
}

// Readable implements [elite.Store].
func (s settledStore) Readable(ctx context.Context) error {
	if s.feed.Withheld() {
		return errImporting
	}
	return s.Store.Readable(ctx)
}
