package link

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/tocsin-auth/tocsin/pkg/events"
)

// Request asks a question of one kind and returns the answer's bytes, the signature verified. It waits for a connection
// that has just broken. The caller MUST check nonce and request hash. All errors wrap [ErrUnavailable].
func (l *Link) Request(ctx context.Context, kind events.Kind, subject string, body []byte) ([]byte, error) {
	m, err := l.request(ctx, subject, body)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrUnavailable, kind, err)
	}
	if refusal := m.Header.Get(events.HeaderError); refusal != "" {
		return nil, fmt.Errorf("%w: %s: refused: %q", ErrUnavailable, kind, refusal)
	}
	if err := l.verify(kind, m); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrUnavailable, kind, err)
	}
	return m.Data, nil
}

var errNotConnected = errors.New("not connected to NATS")

// request asks again on the next connection if this one turns out to be broken before the question was on its way.
func (l *Link) request(ctx context.Context, subject string, body []byte) (*nats.Msg, error) {
	for {
		next, patience := l.session.next() // before looking: a connection that comes in between isn't missed
		err := errNotConnected
		if b := l.connection(); b != nil && b.Connected() {
			var m *nats.Msg
			if m, err = b.Request(ctx, subject, body); err == nil || !unsent(err) {
				return m, err
			}
			patience = max(patience, reconnectPatience) // that it is broken isn't known yet
		}
		if !l.await(ctx, next, patience) {
			return nil, err
		}
	}
}

// unsent reports whether a question failed because the client has no connection at the moment.
func unsent(err error) bool {
	return errors.Is(err, nats.ErrReconnectBufExceeded) || errors.Is(err, nats.ErrDisconnected)
}

// await reports whether a channel was closed in time.
func (l *Link) await(ctx context.Context, next <-chan struct{}, patience time.Duration) bool {
	if patience <= 0 {
		return false
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-next:
		return true
	case <-timer.C:
	case <-ctx.Done():
	case <-l.ctx.Done():
	}
	return false
}

// Tell sends a message that nobody answers. It is lost if there is no connection, and never waits for one.
func (l *Link) Tell(subject string, body []byte) error {
	b := l.connection()
	if b == nil || !b.Connected() {
		return errNotConnected
	}
	return b.Publish(subject, "", body)
}
