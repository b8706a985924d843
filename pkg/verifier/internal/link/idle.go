package link

import (
	"context"
	"log/slog"

	"github.com/nats-io/nats.go"
)

// Bus and Subscription are for whoever makes an [Idle] link.
type (
	Bus          = bus
	Subscription = subscription
)

// Idle is a link without goroutines: nothing happens but what its methods are called for. It exists for the model run of
// package verifiermodel, so that the code between the bus and the follower is in it.
type Idle struct {
	*Link
	bus   Bus
	inbox string
}

// NewIdle returns a link over a bus whose calls MUST NOT wait. The feed keys are a JWK set.
func NewIdle(cfg Config, feedKeys []byte, b Bus) (*Idle, error) {
	cfg.Log = slog.New(slog.DiscardHandler)
	l := newLink(cfg, fixedSource(feedKeys))
	l.bus.Store(&b)
	l.catchUps.manyFrom = 1 // whoever answers decides whether compact pages are read
	return &Idle{Link: l, bus: b, inbox: b.Inbox()}, l.feedKeys.load(l.ctx)
}

// fixedSource is a set that stays.
type fixedSource []byte

func (s fixedSource) load(context.Context) ([]byte, error) { return s, nil }

// Ask publishes a question.
func (l *Idle) Ask() { l.ask(l.bus, l.inbox) }

// Live takes a message of the feed, as it comes from the live subjects.
func (l *Idle) Live(m *nats.Msg) { l.live(m) }

// Answer takes what is said to be an answer, and returns why it was dropped.
func (l *Idle) Answer(m *nats.Msg) error { return l.takeAnswer(m) }

// CatchUp reads what an answer has waited for long enough.
func (l *Idle) CatchUp() error {
	need, due := l.follower.CatchUp(l.cfg.Clock.Now())
	if !due {
		return nil
	}
	return l.catchUp(l.ctx, l.bus, need)
}

// FetchKeys asks for the token keys if that was demanded.
func (l *Idle) FetchKeys() error {
	if demanded := l.follower.TakeKeyDemand(); !l.tokens.wanted.Swap(false) && !demanded {
		return nil
	}
	return l.fetchTokenKeys(l.ctx)
}

// Forget lets the set drop what is past until.
func (l *Idle) Forget() {
	if fresh := l.Fresh(); fresh != nil {
		l.cfg.Set.Forget(fresh.Past(l.cfg.Clock.Now()), fresh.Now)
	}
}
