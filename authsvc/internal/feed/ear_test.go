package feed_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/tocsin-auth/tocsin/authsvc/internal/feed"
	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/authsvc/internal/store/storetest"
	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/test/pgtest"
)

// A dispatcher whose answers the bus refuses keeps everybody from proofs for as long as it renews its lease.
func TestNoCollateralOfADispatcherWhoseAnswersAreRefused(t *testing.T) {
	s := newSite(t, pgtest.URL(t))
	var refused atomic.Bool
	db, reply := storetest.Open(s, s.url), s.connect("auth_reply")
	first, err := feed.Start(s.Context(), feed.Config{DB: db, Feed: s.connect("auth_feed"), Reply: reply, Issuer: issuer,
		Signer: theSigner, Keys: func() events.KeySet { return keySet }, Log: slog.New(slog.DiscardHandler),
		Granted: func(ctx context.Context) error {
			if refused.Load() {
				return fmt.Errorf("to answer: %w", nats.ErrPermissionViolation)
			}
			return reply.FlushWithContext(ctx)
		}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.close(first.Close) })
	s.await("dispatcher", first.Holding)
	second := s.replica()

	refused.Store(true)
	s.await("dispatcher that can answer", func() bool { return second.Holding() && !first.Holding() })
	s.close(second.Feed.Close)
	if refused.Store(false); first.Holding() {
		t.Error("who can't answer has taken the lease")
	}
	s.await("dispatcher that can answer again", first.Holding)
}

// What the bus hasn't confirmed may be refused.
func TestNoCollateralOfAReplicaWhoseSubscriptionsAreNotConfirmed(t *testing.T) {
	s := newSite(t, storetest.URL(t, store.SQLite))
	var granted atomic.Bool
	asked := make(chan struct{}, 1)
	f, err := feed.Start(s.Context(), feed.Config{DB: storetest.Open(s, s.url), Feed: s.connect("auth_feed"), Reply: s.connect("auth_reply"), Issuer: issuer,
		Signer: theSigner, Keys: func() events.KeySet { return keySet }, Log: slog.New(slog.DiscardHandler),
		Granted: func(context.Context) error {
			if !granted.Load() {
				select {
				case asked <- struct{}{}:
				default:
				}
				return errors.New("no word yet")
			}
			return nil
		}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.close(f.Close) })
	for range 5 { // in between it tries to become the dispatcher
		<-asked
	}
	if f.Holding() {
		t.Error("it is the dispatcher, and hears nothing")
	}
	granted.Store(true)
	s.await("dispatcher", f.Holding)
}
