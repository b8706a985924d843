package link

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/tocsin-auth/tocsin/pkg/events"
)

// bus is what the link needs of NATS. Tests put a scripted one in its place.
type bus interface {
	// Publish sends at once or fails; nothing is kept for later.
	Publish(subject, reply string, body []byte) error
	Subscribe(subject string) (subscription, error)
	// Request waits for one reply.
	Request(ctx context.Context, subject string, body []byte) (*nats.Msg, error)
	// Flush returns when the server has taken all that was sent, subscriptions included.
	Flush(ctx context.Context) error
	// Inbox returns a new subject for replies.
	Inbox() string
	Connected() bool
	// Fault returns why there is no connection, nil while nobody listens. It may wait for a try that is under way.
	Fault() error
	Close()
}

type subscription interface {
	// Next waits for a message. After errClosed nothing more comes; after any other error the caller goes on, unless it
	// is the context's.
	Next(ctx context.Context) (*nats.Msg, error)
	Unsubscribe()
}

var (
	// errDropped means that messages were dropped because they weren't taken fast enough.
	errDropped = errors.New("messages were dropped")
	// errClosed means that the subscription or the connection is gone for good.
	errClosed = errors.New("subscription closed")
)

// notice is something that happened to the connection.
type notice int

const (
	noticeConnected notice = iota // for the first time
	noticeReconnected
	noticeDisconnected
	noticeDropped
	noticeError
)

// Limits of one subscription: what may wait to be verified. Beyond it NATS drops, which shows as a gap.
const (
	pendingMessages = 32 << 10
	pendingBytes    = 64 << 20
)

// The client gives a silent connection up when it would send a ping and pingsUnanswered are out: after two to three intervals,
// 1.5 to 2.25 s. That leaves a verifier with B = 3 s the time to be proven through another node.
const (
	pingInterval    = 750 * time.Millisecond
	pingsUnanswered = 2
	// writeTimeout bounds how long the client waits for a server that takes no more bytes: it doesn't ping meanwhile, and whoever
	// asks waits with it.
	writeTimeout = time.Second
)

// natsOptions turns the configuration into options and refuses what can't work.
func natsOptions(cfg Config) ([]nats.Option, error) {
	if cfg.URL == "" {
		return nil, errors.New("NATS URL is missing")
	}
	options := []nats.Option{
		nats.Name("tocsin " + cfg.Service + " " + cfg.Instance),
		nats.CustomInboxPrefix("_INBOX_" + cfg.Service),
		nats.Timeout(2 * time.Second),
		nats.PingInterval(pingInterval),
		nats.MaxPingsOutstanding(pingsUnanswered),
		nats.FlusherTimeout(writeTimeout),
		nats.ReconnectOnFlusherError(),
		nats.RetryOnFailedConnect(true),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(100 * time.Millisecond),
		nats.ReconnectJitter(150*time.Millisecond, 300*time.Millisecond),
		nats.ReconnectBufSize(-1),   // the default would hide an outage
		nats.IgnoreAuthErrorAbort(), // credentials may come to the server later
	}
	switch {
	case cfg.Credentials == "":
	case strings.HasSuffix(cfg.Credentials, ".creds"):
		if _, err := os.Stat(cfg.Credentials); err != nil {
			return nil, fmt.Errorf("NATS credentials: %w", err)
		}
		options = append(options, nats.UserCredentials(cfg.Credentials))
	default:
		nkey, err := nats.NkeyOptionFromSeed(cfg.Credentials)
		if err != nil {
			return nil, fmt.Errorf("NATS credentials: %w", err)
		}
		options = append(options, nkey)
	}
	options = append(options, cfg.NATSOptions...)
	return options, checkOptions(options)
}

// checkOptions tries the caller's options on a copy, so that a bad one is an error at the start.
func checkOptions(options []nats.Option) error {
	all := nats.GetDefaultOptions()
	for _, option := range options {
		if option == nil {
			continue
		}
		if err := option(&all); err != nil {
			return fmt.Errorf("NATS options: %w", err)
		}
	}
	return nil
}

// natsBus is the bus over a NATS connection.
type natsBus struct {
	nc     *nats.Conn
	closed chan struct{}
	// up is kept here because the client's own answer waits for its lock, which it holds for seconds while it shakes
	// hands with a server that has gone silent.
	up atomic.Bool
}

// dialNATS tries to connect; if no server answers it returns a bus that goes on trying. The callbacks of the client
// only pass notices on, as they may hold its locks.
func dialNATS(ctx context.Context, url string, options []nats.Option, noticed func(notice, error)) (bus, error) {
	b := &natsBus{closed: make(chan struct{})}
	own := []nats.Option{
		nats.SetCustomDialer(dialer{ctx}),
		nats.ConnectHandler(func(*nats.Conn) { b.up.Store(true); noticed(noticeConnected, nil) }),
		nats.ReconnectHandler(func(*nats.Conn) { b.up.Store(true); noticed(noticeReconnected, nil) }),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) { b.up.Store(false); noticed(noticeDisconnected, err) }),
		nats.ClosedHandler(func(*nats.Conn) { close(b.closed) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			if errors.Is(err, nats.ErrSlowConsumer) {
				noticed(noticeDropped, err)
				return
			}
			noticed(noticeError, err)
		}),
	}
	nc, err := nats.Connect(url, append(own, options...)...)
	if err != nil {
		return nil, fmt.Errorf("connect to NATS: %w", err)
	}
	b.nc = nc
	return b, nil
}

// dialer gives up when the link is closed.
type dialer struct{ ctx context.Context }

func (d dialer) Dial(network, address string) (net.Conn, error) {
	return (&net.Dialer{Timeout: 2 * time.Second}).DialContext(d.ctx, network, address)
}

func (b *natsBus) Publish(subject, reply string, body []byte) error {
	return b.nc.PublishMsg(&nats.Msg{Subject: subject, Reply: reply, Data: body})
}

func (b *natsBus) Request(ctx context.Context, subject string, body []byte) (*nats.Msg, error) {
	return b.nc.RequestWithContext(ctx, subject, body)
}

func (b *natsBus) Flush(ctx context.Context) error { return b.nc.FlushWithContext(ctx) }
func (b *natsBus) Inbox() string                   { return b.nc.NewInbox() }
func (b *natsBus) Connected() bool                 { return b.up.Load() }

// Fault asks for it, as the client tells by itself only once, and not of the first connection.
func (b *natsBus) Fault() error { return b.nc.LastError() }

// Close waits a moment for the client's goroutines.
func (b *natsBus) Close() {
	b.nc.Close()
	select {
	case <-b.closed:
	case <-time.After(time.Second):
	}
}

func (b *natsBus) Subscribe(subject string) (subscription, error) {
	sub, err := b.nc.SubscribeSync(subject)
	if err != nil {
		return nil, fmt.Errorf("subscribe to %s: %w", subject, err)
	}
	if err := sub.SetPendingLimits(pendingMessages, pendingBytes); err != nil {
		return nil, fmt.Errorf("limit %s: %w", subject, err)
	}
	return natsSubscription{sub}, nil
}

type natsSubscription struct{ sub *nats.Subscription }

// Next gives the server's "no responders" back as the message it is: the client makes an error of it.
func (s natsSubscription) Next(ctx context.Context) (*nats.Msg, error) {
	m, err := s.sub.NextMsgWithContext(ctx)
	switch {
	case err == nil:
		return m, nil
	case errors.Is(err, nats.ErrNoResponders):
		return &nats.Msg{Header: nats.Header{events.HeaderStatus: {events.StatusNoResponders}}}, nil
	case errors.Is(err, nats.ErrSlowConsumer):
		return nil, errDropped
	case errors.Is(err, nats.ErrConnectionClosed), errors.Is(err, nats.ErrBadSubscription):
		return nil, fmt.Errorf("%w: %w", errClosed, err)
	}
	return nil, err
}

func (s natsSubscription) Unsubscribe() {
	_ = s.sub.Unsubscribe() // fails only when the connection is gone, and the subscription with it
}
