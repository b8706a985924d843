package verifier

import (
	"context"

	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/link"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/revset"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/seam"
)

func init() {
	seam.NewIdle = newIdle
	seam.NewFed = newFed
	seam.Changed = func(v any) <-chan struct{} { return v.(*Verifier).news.wait() }
}

// newIdle makes a verifier that nothing drives: no connection, no goroutine, the clock of the caller. It is for package
// verifiermodel.
func newIdle(ctx context.Context, cfg seam.Config) (seam.Idle, error) {
	s, err := newSettings(
		Config{Issuer: cfg.Issuer, Audience: cfg.Audience, Service: cfg.Service, NATSURL: "none"},
		[]Option{WithInstance(cfg.Instance), WithMaxStaleness(cfg.Bound), WithTokenCacheSize(idleCache), WithKeyCacheSize(idleCache)},
	)
	if err != nil {
		return seam.Idle{}, err
	}
	v := newVerifier(ctx, s, cfg.Clock, revset.New())
	l, err := link.NewIdle(link.Config{
		Issuer: s.Issuer, Service: s.Service, Instance: s.instance, Smallest: s.bound, Largest: s.bound,
		Clock: v.clock, Set: v.set, Skipped: v.forgetKeys,
	}, cfg.FeedKeys, cfg.Bus)
	if err != nil {
		v.cancel()
		return seam.Idle{}, err
	}
	v.link = l
	return seam.Idle{Verifier: v, Link: l, TendKeys: v.tendKeys}, nil
}

// idleCache is small because the model run makes thousands of verifiers.
const idleCache = 64

// newFed makes a verifier that runs as any does, but for its link and its clock. It is for package verifiertest.
func newFed(ctx context.Context, cfg seam.FedConfig) (seam.Fed, error) {
	s, err := newSettings(Config{Issuer: cfg.Issuer, Audience: cfg.Audience, Service: cfg.Service, NATSURL: "none"}, cfg.Options.([]Option))
	if err != nil {
		return seam.Fed{}, err
	}
	v := newVerifier(ctx, s, cfg.Clock, cfg.Set)
	v.run(cfg.Link)
	return seam.Fed{Verifier: v, Mode: s.mode, Bound: s.bound, Look: v.lookNow, Recall: v.quotas.Recall}, nil
}

// lookNow judges all long answers, and returns when those that are refused have ended, by whomever.
func (v *Verifier) lookNow() {
	v.news.ring()
	round := v.lives.appendTo(nil)
	v.lookAt(round)
	for _, l := range round {
		if l.refused.Load() != nil {
			<-l.ctx.Done()
		}
	}
}
