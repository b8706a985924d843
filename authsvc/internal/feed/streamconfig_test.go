package feed_test

import (
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tocsin-auth/tocsin/authsvc/internal/feed"
	"github.com/tocsin-auth/tocsin/authsvc/internal/store/storetest"
	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/test/pgtest"
)

// A replica without TOCSIN_STREAM_REPLICAS changed the stream of the whole cluster as it started, and the dispatcher changed
// it back and filled it again.
func TestOnlyTheDispatcherChangesTheStream(t *testing.T) {
	s := newSite(t, pgtest.URL(t))
	first := s.replica()
	s.await("dispatcher that has looked at the stream", func() bool { return first.Holding() && first.Settled() })
	first.receipt(feed.WaitPublished, within, first.revoke())
	js, err := jetstream.New(first.feeds)
	if err != nil {
		t.Fatal(err)
	}

	second, err := feed.Start(s.Context(), feed.Config{DB: storetest.Open(s, s.url), Feed: s.connect("auth_feed"), Reply: s.connect("auth_reply"), Issuer: issuer,
		MaxAge: time.Hour, Signer: theSigner, Keys: func() events.KeySet { return keySet }, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.close(second.Close) })
	s.await("standby that has looked at the stream", second.Settled)
	stream, err := js.Stream(t.Context(), events.StreamName)
	if err != nil {
		t.Fatal(err)
	}
	if age := stream.CachedInfo().Config.MaxAge; age != feed.DefaultMaxAge {
		t.Errorf("a standby's start has given the stream its own limit, %v", age)
	}

	s.close(first.Feed.Close)
	s.await("stream as its new dispatcher wants it", func() bool {
		stream, err := js.Stream(t.Context(), events.StreamName)
		return err == nil && stream.CachedInfo().Config.MaxAge == time.Hour
	})
}
