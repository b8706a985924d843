// Package verifiermodel drives the real verifier without a network and without time: its owner says when a message comes,
// when a question is sent and what the clocks show. It exists for Tocsin's own model run, which sets it against the real
// dispatcher; it lies beside the library and not in an internal folder because the dispatcher is in another module.
// Services have no use for it, and nothing about it is stable.
//
// What is driven is all of the verifier but the goroutines and the NATS client: the link's handling of messages, the
// follower, the set, the caches and the order of loads in which a credential is judged.
package verifiermodel

import (
	"context"
	"time"

	"github.com/tocsin-auth/tocsin/pkg/verifier"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/clock"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/follower"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/link"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/seam"
)

type (
	// Clock is a clock that moves only when told.
	Clock = clock.Fake
	// Reading is one moment of a clock.
	Reading = clock.Reading
	// Bus is what a process needs of NATS; no call may wait.
	Bus = link.Bus
	// Subscription is where the messages of a subject come.
	Subscription = link.Subscription
	// Freshness is one accepted proof.
	Freshness = follower.Freshness
)

// NewClock returns a clock that stands at a wall time.
func NewClock(wall time.Time) *Clock { return clock.NewFake(wall) }

// Clocks reads a clock. Anything but a [Clock] itself is a defect: a verifier's readings MUST NOT be cached.
type Clocks = clock.Clock

// Config is what a process needs; all fields are required.
type Config struct {
	Issuer, Audience, Service, Instance string
	Bound                               time.Duration
	Clock                               Clocks
	FeedKeys                            []byte // a JWK set
	Bus                                 Bus
}

// Process is one start of a verifier. Its methods are not for concurrent use.
type Process struct {
	*link.Idle
	Verifier *verifier.Verifier
	tend     func(context.Context)
}

// Start returns a verifier that knows nothing yet. Close it.
func Start(ctx context.Context, cfg Config) (*Process, error) {
	idle, err := seam.NewIdle(ctx, seam.Config(cfg))
	if err != nil {
		return nil, err
	}
	return &Process{Idle: idle.Link, Verifier: idle.Verifier.(*verifier.Verifier), tend: idle.TendKeys}, nil
}

// Changed returns a channel that is closed after the next change of what a verifier knows: its set, its keys, its freshness.
// Measurements wait for it, so that looking costs nothing between changes.
func Changed(v *verifier.Verifier) <-chan struct{} { return seam.Changed(v) }

// TendKeys does a round of what keeps resolutions of API keys alive.
func (p *Process) TendKeys(ctx context.Context) { p.tend(ctx) }

// Close ends it.
func (p *Process) Close() error { return p.Verifier.Close() }
