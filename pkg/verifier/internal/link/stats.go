package link

import (
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/follower"
)

// Stats is a snapshot for people and metrics.
type Stats struct {
	follower.Stats
	Connected     bool
	FeedKeys      int
	TokenKeys     int
	Reconnects    uint64
	BadMessages   uint64            // undecodable, or not signed by a feed key
	SlowConsumer  uint64            // times that NATS dropped messages for us
	CatchUps      map[string]uint64 // by source: compact, stream, snapshot
	CatchUpCauses map[string]uint64 // start, reconnect, gap, mismatch, epoch
	CatchUpErrors uint64
	Propagation   Histogram
	ProofAge      time.Duration // since the last accepted question was asked; 0 before the first
}

// Stats returns a snapshot.
func (l *Link) Stats() Stats {
	s := Stats{
		Stats:        l.follower.Stats(),
		Connected:    l.connected(),
		FeedKeys:     l.feedKeys.size(),
		TokenKeys:    len(l.Keys().ByKID),
		Reconnects:   l.counts.reconnects.Load(),
		BadMessages:  l.counts.bad.Load(),
		SlowConsumer: l.counts.slow.Load(),
	}
	l.catchUps.mu.Lock()
	s.CatchUps, s.CatchUpErrors = maps.Clone(l.catchUps.bySource), l.catchUps.errors
	s.CatchUpCauses = maps.Clone(l.catchUps.byCause)
	l.catchUps.mu.Unlock()
	s.Propagation = l.propagated.snapshot()
	if fresh := l.Fresh(); fresh != nil {
		s.ProofAge = l.cfg.Clock.Now().Since(fresh.Since)
	}
	return s
}

func (l *Link) connected() bool {
	b := l.connection()
	return b != nil && b.Connected()
}

// Ready returns nil when a proof not older than bound is held, else what is missing.
func (l *Link) Ready(bound time.Duration) error {
	fresh := l.Fresh()
	if fresh.Within(l.cfg.Clock.Now(), bound) {
		return nil
	}
	switch {
	case l.feedKeys.size() == 0:
		if err := l.feedKeys.err.Load(); err != nil {
			return fmt.Errorf("no feed keys: %w", *err)
		}
		return errors.New("no feed keys yet")
	case !l.connected():
		return errors.New("not connected to NATS")
	case len(l.Keys().ByKID) == 0:
		return errors.New("no token keys yet")
	case fresh == nil:
		return errors.New("the feed isn't proven yet")
	}
	age := l.cfg.Clock.Now().Since(fresh.Since)
	return fmt.Errorf("the last proof is %v old, more than %v", age.Round(time.Millisecond), bound)
}
