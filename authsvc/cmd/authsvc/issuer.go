package main

import (
	"context"
	"fmt"
	"time"

	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
)

const (
	// issuerPatience is longer than the lease of a dispatcher that has died goes on.
	issuerPatience = 3 * time.Second
	issuerLook     = 100 * time.Millisecond
)

// agreeOnIssuer refuses to start beside a replica that has another issuer: each one's tokens would be refused wherever the other's
// are accepted, and the next dispatcher would take the feed over under its own. An issuer is changed while no replica runs.
func (p *program) agreeOnIssuer(ctx context.Context) error {
	if p.db.Engine() != store.Postgres {
		return nil // there are no replicas
	}
	for began := time.Now(); ; {
		other, err := p.db.DispatchedIssuer(ctx)
		if err != nil {
			return fmt.Errorf("database: %w", err)
		}
		if other == "" || other == p.issuer {
			return nil
		}
		if time.Since(began) > issuerPatience {
			return fmt.Errorf("%w: TOCSIN_ISSUER is %s here, and %s for a replica that runs on this database: stop every replica before it is changed", errUsage, p.issuer, other)
		}
		select {
		case <-time.After(issuerLook):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
