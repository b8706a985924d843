package main

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tocsin-auth/tocsin/resourcesvc/internal/exchange"
	"github.com/tocsin-auth/tocsin/resourcesvc/internal/seal"
)

const (
	// grantLife is more than the longest life of a grant. What is older is dead without being spent.
	grantLife    = 25 * time.Hour
	spendAtOnce  = exchange.MaxSpent
	spendTimeout = 5 * time.Second
)

// spender ends the grants of jobs that are over, at the issuer, and then forgets them: one that was copied meanwhile, from a worker's memory
// or wherever, is of no use to whoever has it. The rows are its list, so that it may be killed, and the issuer be away. No job waits for it. Each replica has one;
// a grant that two of them spend is spent.
type spender struct {
	*sweeper
	store  *store
	issuer *exchange.Client
	late   prometheus.Gauge
}

func newSpender(s *store, issuer *exchange.Client, metrics prometheus.Registerer, log *slog.Logger) *spender {
	p := &spender{store: s, issuer: issuer, late: prometheus.NewGauge(prometheus.GaugeOpts{Name: "resourcesvc_job_grants_late_seconds",
		Help: "How long ago the first of those jobs ended whose grants can't be spent; 0 when there is none."})}
	p.sweeper = newSweeper(p.spendAll, "grants of jobs that are over wait for the issuer", "the issuer takes grants of jobs that are over again", log)
	metrics.MustRegister(p.late)
	return p
}

// spendAll spends what there is, so many at a time.
func (p *spender) spendAll(ctx context.Context) error {
	if err := p.store.forgetOldGrants(ctx, p.store.now().Add(-grantLife)); err != nil {
		return err
	}
	for {
		left, err := p.store.leftGrants(ctx, spendAtOnce)
		if err != nil || len(left) == 0 {
			p.late.Set(0)
			return err
		}
		if err := p.spend(ctx, left); err != nil {
			p.late.Set(p.store.now().Sub(left[0].endedAt).Seconds())
			return err
		}
		if len(left) < spendAtOnce { // what has come meanwhile isn't late
			p.late.Set(0)
			return nil
		}
	}
}

// spend forgets what is damaged, too: it is good for nothing.
func (p *spender) spend(ctx context.Context, left []leftGrant) error {
	ctx, cancel := context.WithTimeout(ctx, spendTimeout)
	defer cancel()
	var grants []string
	for _, g := range left {
		grant, err := p.store.keys.Open(g.job.UserID, g.job.JobID, g.sealed)
		switch {
		case errors.Is(err, seal.ErrKey):
			return errGrantsKey
		case err == nil:
			grants = append(grants, grant)
		}
	}
	if err := p.issuer.Spend(ctx, grants); err != nil {
		return err
	}
	return p.store.forgetGrants(ctx, left)
}
