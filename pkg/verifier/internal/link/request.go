package link

import (
	"context"
	"fmt"

	"github.com/tocsin-auth/tocsin/pkg/events"
)

// Request asks a question of one kind and returns the answer's bytes, the signature verified.
// The caller MUST check nonce and request hash. All errors wrap [ErrUnavailable].
func (l *Link) Request(ctx context.Context, kind events.Kind, subject string, body []byte) ([]byte, error) {
	b := l.connection()
	if b == nil || !b.Connected() {
		return nil, fmt.Errorf("%w: not connected to NATS", ErrUnavailable)
	}
	m, err := b.Request(ctx, subject, body)
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
