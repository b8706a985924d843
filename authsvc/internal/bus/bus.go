package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/tocsin-auth/tocsin/pkg/events"
)

// The users of authsvc's two connections; their inbox prefixes are _INBOX_ and the name.
const (
	userFeed  = "auth_feed"
	userReply = "auth_reply"
)

// Their seeds lie under names that no service can have.
const (
	seedFeed  = "authsvc.feed"
	seedReply = "authsvc.reply"
)

// Config says which NATS to use.
type Config struct {
	// DataDir is authsvc's data directory, which this process holds the lock of. Only the embedded server uses it.
	DataDir string
	// URL is a list of NATS URLs, separated by commas. Empty: the embedded server.
	URL string
	// Listen is where the embedded server listens: host:port, port 0 for a free one.
	Listen string
	// Creds is the credentials file (.creds) or NKey seed (.nk) of the external NATS; empty: none.
	Creds string
	// ReplyCreds is that of the answering connection. Empty: the same as Creds, which then needs both sets of rights.
	ReplyCreds string
	Log        *slog.Logger
	// Patience makes the bus wait for no less than that before it gives a connection or an answer up, for tests whose machine
	// stands still at times. Zero: what ships.
	Patience time.Duration
}

// options are for both connections.
func (c Config) options(creds nats.Option) nats.Option {
	return func(o *nats.Options) error {
		o.Timeout, o.PingInterval = max(o.Timeout, c.Patience), max(o.PingInterval, c.Patience)
		o.FlusherTimeout = max(o.FlusherTimeout, c.Patience)
		return creds(o)
	}
}

// Bus is authsvc's NATS. It is safe for concurrent use.
type Bus struct {
	feed, reply *connection
	embedded    *embedded // nil: external
	log         *slog.Logger
	newcomers   newcomers

	syncing sync.Mutex // one Sync at a time
	asked   time.Time  // when the server was last asked again for what it had refused; of Granted
}

// askAgain is how often.
const askAgain = 10 * time.Second

// Start starts the embedded server for these services, or begins to connect to the external NATS. It doesn't wait for an
// external NATS that is away: the connections come up by themselves, and publishing fails until then. Errors are one line.
// ctx bounds the start only.
func Start(ctx context.Context, cfg Config, services []Service) (*Bus, error) {
	if cfg.URL != "" {
		return startExternal(cfg)
	}
	return startEmbedded(ctx, cfg, services)
}

func startExternal(cfg Config) (*Bus, error) {
	b := &Bus{log: cfg.Log, asked: time.Now()}
	creds, err := credentials(cfg.Creds)
	if err != nil {
		return nil, err
	}
	replyCreds := creds
	if cfg.ReplyCreds != "" {
		if replyCreds, err = credentials(cfg.ReplyCreds); err != nil {
			return nil, err
		}
	}
	if err := b.connect(cfg.URL, cfg.options(creds), cfg.options(replyCreds)); err != nil {
		return nil, err
	}
	return b, nil
}

func startEmbedded(ctx context.Context, cfg Config, services []Service) (*Bus, error) {
	server, err := newEmbedded(ctx, cfg, services)
	if err != nil {
		return nil, err
	}
	b := &Bus{embedded: server, log: cfg.Log, asked: time.Now()}
	feed, err := credentials(seedPath(server.dir, seedFeed))
	if err != nil {
		server.stop()
		return nil, err
	}
	reply, err := credentials(seedPath(server.dir, seedReply))
	if err != nil {
		server.stop()
		return nil, err
	}
	if err := b.connect(server.url(), cfg.options(feed), cfg.options(reply)); err != nil {
		server.stop()
		return nil, err
	}
	return b, nil
}

func (b *Bus) connect(urls string, feed, reply nats.Option) (err error) {
	if b.feed, err = connect(urls, userFeed, feed, b.log); err != nil {
		return err
	}
	if b.reply, err = connect(urls, userReply, reply, b.log); err != nil {
		b.feed.Close()
		return err
	}
	return nil
}

// Feed returns the connection that publishes the feed. Publishing on it fails at once while NATS is away.
func (b *Bus) Feed() *nats.Conn { return b.feed.Conn }

// Reply returns the connection that takes questions and answers them.
func (b *Bus) Reply() *nats.Conn { return b.reply.Conn }

// FeedUp and ReplyUp report whether the connections stand. Unlike the connections' own methods they never wait.
func (b *Bus) FeedUp() bool  { return b.feed.up.Load() }
func (b *Bus) ReplyUp() bool { return b.reply.up.Load() }

// Granted returns nil once the server has taken all that Reply is subscribed to, and an error wrapping [ErrRefused] when proof
// requests don't arrive there or answers don't come through. One calls it at a time.
func (b *Bus) Granted(ctx context.Context) error {
	if err := b.reply.granted(ctx); err != nil && !errors.Is(err, ErrRefused) {
		return err
	}
	if b.FeedUp() && b.feed.rights.verdict() != nil {
		_ = b.feed.granted(ctx) // it may have been granted meanwhile
	}
	err := b.reply.rights.silenced(events.ProofSubject("*"))
	if err != nil && time.Since(b.asked) > askAgain {
		b.asked = time.Now()
		err = errors.Join(err, b.reply.ForceReconnect()) // a server that was reloaded doesn't grant by itself what it has refused
	}
	return err
}

// Refused returns an error wrapping [ErrRefused] when either connection lacks rights that it needs, as far as is known. It
// never waits.
func (b *Bus) Refused() error { return errors.Join(b.feed.rights.verdict(), b.reply.rights.verdict()) }

// Embedded reports whether the server runs in this process.
func (b *Bus) Embedded() bool { return b.embedded != nil }

// URL returns where services connect, without secrets: the embedded server's bound address, or the external server that
// is in use (empty while there is none).
func (b *Bus) URL() string {
	if b.embedded != nil {
		return b.embedded.url()
	}
	return b.feed.ConnectedUrlRedacted()
}

// Close delivers what was published, ends both connections and stops the embedded server. Subscriptions should have been
// drained by their owners before. When ctx ends first, it closes hard.
func (b *Bus) Close(ctx context.Context) error {
	err := errors.Join(b.reply.drain(ctx), b.feed.drain(ctx))
	if b.embedded != nil {
		b.embedded.stop()
	}
	if err != nil {
		return fmt.Errorf("close bus: %w", err)
	}
	return nil
}

// SeedFile returns where the embedded server's data directory holds a service's seed.
func SeedFile(dataDir, service string) string {
	return seedPath(filepath.Join(dataDir, "nats"), service)
}
