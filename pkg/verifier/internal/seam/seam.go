// Package seam hands the inside of package verifier to package verifiermodel, which could not have it otherwise without
// making it part of what users see. Nothing else may use it.
package seam

import (
	"context"
	"time"

	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/clock"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/link"
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
