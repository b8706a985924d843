package bus

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

// Silence on a connection shows within three pings: at the latest after 2.25 s, as in verifiers. A server that is away is tried
// again more than ten times a second, with jitter so that replicas don't come in step: twice as often as verifiers try, of
// which there are many, so that authsvc is there to answer when they are back. While the client waits for a server that takes
// no more bytes it doesn't ping, and everybody who publishes waits with it: writeTimeout ends that.
const (
	connectTimeout  = 2 * time.Second
	pingInterval    = 750 * time.Millisecond
	maxPingsOut     = 2
	writeTimeout    = time.Second
	reconnectWait   = 50 * time.Millisecond
	reconnectJitter = 50 * time.Millisecond
	drainTimeout    = 5 * time.Second
)

// connection is a NATS connection that knows when it has closed for good.
type connection struct {
	*nats.Conn
	closed chan struct{}
	// up is kept here because the client's own answer waits for its lock, which it holds for seconds while it shakes
	// hands with a server that has gone silent.
	up        atomic.Bool
	connected chan struct{} // closed at the first connection
	rights    *rights
	lost      atomic.Bool // as it was logged
}

// connect returns a connection that is up or goes on trying. Errors are of the configuration only.
func connect(urls, user string, creds nats.Option, log *slog.Logger) (*connection, error) {
	c := &connection{closed: make(chan struct{}), connected: make(chan struct{})}
	log = log.With("connection", user)
	c.rights = newRights(user, log)
	conn, err := nats.Connect(urls,
		nats.Name("authsvc "+user),
		nats.CustomInboxPrefix("_INBOX_"+user),
		nats.Timeout(connectTimeout),
		nats.PingInterval(pingInterval),
		nats.MaxPingsOutstanding(maxPingsOut),
		nats.FlusherTimeout(writeTimeout),
		nats.ReconnectOnFlusherError(),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(reconnectWait),
		nats.ReconnectJitter(reconnectJitter, reconnectJitter),
		nats.ReconnectBufSize(-1), // or Publish would return nil during an outage
		nats.RetryOnFailedConnect(true),
		nats.IgnoreAuthErrorAbort(), // a server that is being reconfigured may refuse for a while
		nats.DrainTimeout(drainTimeout),
		nats.ClosedHandler(func(*nats.Conn) { close(c.closed) }),
		nats.ConnectHandler(func(*nats.Conn) { c.rights.connected(); c.up.Store(true); close(c.connected) }),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			c.up.Store(false)
			if err != nil {
				c.lost.Store(true)
				log.Warn("NATS connection lost", "error", err)
			}
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) {
			c.rights.connected()
			c.up.Store(true)
			if c.lost.Swap(false) { // or it was we who ended it
				log.Info("NATS connected", "server", nc.ConnectedUrlRedacted())
			}
		}),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { c.rights.hear(err) }),
		creds,
	)
	if err != nil {
		return nil, fmt.Errorf("NATS: %w", err)
	}
	if conn.IsConnected() {
		<-c.connected // the client calls its handlers beside everything else
	} else {
		log.Warn("NATS is away; trying again until it comes")
		c.lost.Store(true)
	}
	c.Conn = conn
	go c.tellCause()
	return c, nil
}

// causeEvery is how often the client is asked why it has no connection. It tells of that by itself only once, and in nats.go 1.55
// its handler for that, ReconnectErrHandler, reads what the next try writes.
const causeEvery = time.Second

// tellCause logs why there is no connection, until this one is closed.
func (c *connection) tellCause() {
	tick := time.NewTicker(causeEvery)
	defer tick.Stop()
	for {
		select {
		case <-c.closed:
			return
		case <-tick.C:
		}
		if err := c.LastError(); err != nil && !c.up.Load() {
			c.rights.cannotConnect(err)
		}
	}
}

// granted returns nil once the server has taken all that was subscribed to, and [ErrRefused] when it refuses what the
// connection is for.
func (c *connection) granted(ctx context.Context) error {
	sent := c.Stats().OutMsgs
	if err := c.FlushWithContext(ctx); err != nil {
		return err
	}
	return c.rights.look(ctx, sent, c.LastError)
}

// drain waits until everything was delivered and the connection has closed.
func (c *connection) drain(ctx context.Context) error {
	if !c.up.Load() {
		c.Close() // there is nobody to deliver to
	} else if err := c.Drain(); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
		c.Close()
	}
	select {
	case <-c.closed:
		return nil
	case <-ctx.Done():
		c.Close()
		<-c.closed
		return ctx.Err()
	}
}

// credentials returns the option for a credentials file or an NKey seed file, whichever the file holds.
func credentials(path string) (nats.Option, error) {
	if path == "" {
		return func(*nats.Options) error { return nil }, nil
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("NATS credentials: %w", err)
	}
	if bytes.Contains(raw, []byte("BEGIN NATS USER JWT")) {
		return nats.UserCredentials(path), nil
	}
	option, err := nats.NkeyOptionFromSeed(path)
	if err != nil {
		return nil, fmt.Errorf("NATS credentials %s: neither a credentials file nor a user's NKey seed", path)
	}
	return option, nil
}
