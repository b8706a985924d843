// Package seam hands the inside of package verifier to the packages verifiermodel and verifiertest, which could not have it
// otherwise without making it part of what users see. Nothing else may use it.
package seam

import (
	"context"
	"time"

	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/clock"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/follower"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/link"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/revset"
)

// Config is what an idle verifier needs.
type Config struct {
	Issuer, Audience, Service, Instance string
	Bound                               time.Duration
	Clock                               clock.Clock
	FeedKeys                            []byte // a JWK set
	Bus                                 link.Bus
}

// Idle is a verifier without goroutines of its own.
type Idle struct {
	Verifier any // *verifier.Verifier, which this package can't import
	Link     *link.Idle
	TendKeys func(context.Context)
}

// NewIdle is set by package verifier when it is initialised.
var NewIdle func(context.Context, Config) (Idle, error)

// Changed is set by package verifier when it is initialised: a channel that is closed when what a *verifier.Verifier knows
// changes the next time.
var Changed func(verifier any) <-chan struct{}

// Link is what a verifier knows of the world, where a test has taken the place of the link.
type Link interface {
	Fresh() *follower.Freshness
	Keys() *link.TokenKeys
	RefreshKeys(ctx context.Context, kid string) error
	Request(ctx context.Context, kind events.Kind, subject string, body []byte) ([]byte, error)
	SetBounds(smallest, largest time.Duration)
	Ready(bound time.Duration) error
	Tell(subject string, body []byte) error
	Stats() link.Stats
	Close() error
}

// FedConfig is what a fed verifier needs.
type FedConfig struct {
	Issuer, Audience, Service string
	Options                   any // []verifier.Option, which this package can't import
	Clock                     clock.Clock
	Set                       *revset.Set
	Link                      Link
}

// Fed is a verifier with its own goroutines, whose link is a test's.
type Fed struct {
	Verifier any // *verifier.Verifier
	Mode     events.Mode
	Bound    time.Duration
	// Look is to be called after each change of what the link or the clock says. When it returns, the contexts of long
	// answers that are refused by now have ended.
	Look func()
	// Recall is to be called after a change of what users may spend: what the verifier was allowed is asked for again.
	Recall func()
}

// NewFed is set by package verifier when it is initialised.
var NewFed func(context.Context, FedConfig) (Fed, error)
