package verifier

import (
	"context"
	"time"

	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/clock"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/defect"
)

// check is decide, and ends the answer when it is refused.
func (l *live) check(ctx context.Context) error {
	if err := l.refused.Load(); err != nil {
		return *err
	}
	if defect.Pieces {
		return nil
	}
	err := l.decide(ctx)
	if err != nil {
		l.end(err)
	}
	return err
}

// decide judges now. It waits for authsvc only while an API key has no resolution that could be used.
func (l *live) decide(ctx context.Context) error {
	err := l.judge()
	if err == errOutlived {
		if err = l.resolve(ctx); err == nil {
			err = l.judge()
		}
	}
	if err == errOutlived {
		return ErrAuthUnavailable // as in verifyKey
	}
	return err
}

// judge decides from what this process knows. Its errors are refusals, or errOutlived.
func (l *live) judge() error {
	vouch := l.vouch.Load() // before the holding: a vouch must never be taken for the roles of an older answer
	h := l.newest()
	_, err := l.v.judge(h, l.route, vouch)
	if l.key != "" {
		h.note(true, err)
	}
	if err == errStaleAsk {
		return ErrStale // it was asked in good time, without success
	}
	return err
}

// newest follows the resolutions of an API key.
func (l *live) newest() *holding {
	h := l.hold.Load()
	if l.key == "" {
		return h
	}
	if cached := l.v.keys.Get(l.key); cached != nil && cached.asked.Boot > h.asked.Boot {
		l.take(cached)
		h = l.hold.Load()
	}
	return h
}

// rejudge is the watch's: it never waits. now is for what isn't exact.
func (l *live) rejudge(now clock.Reading) {
	err := l.judge()
	switch {
	case err == errOutlived:
		l.send(l.resolve)
	case err != nil:
		l.end(err)
	case l.wantsVouch(now):
		l.send(l.ask)
	}
	if l.key != "" {
		l.keep(now)
	}
}

// wantsVouch reports whether half of the time is over in which the answer can go on without another proof.
func (l *live) wantsVouch(now clock.Reading) bool {
	half := l.route.bound / 2
	return l.route.asks() && !l.v.link.Fresh().Within(now, half) && !l.vouch.Load().Within(now, half)
}

// keep puts a resolution that was pushed out of the cache back when it is time to renew it: what is in the cache is
// renewed.
func (l *live) keep(now clock.Reading) {
	h := l.hold.Load()
	if !l.v.outlived(h, now) && now.Since(h.asked) >= renewAfter && l.v.keys.Get(l.key) == nil {
		kept := h.facts.heldKey()
		kept.Value.use.Store(h.use.Load())
		l.v.keys.Put(l.key, kept, now.Boot, h.asked.Boot+int64(keyLife))
	}
}

// lasts returns for how long the answer can go on if nothing is heard. It isn't exact and may be negative.
func (l *live) lasts(now clock.Reading) time.Duration {
	proof, vouch := l.v.link.Fresh(), l.vouch.Load()
	h := l.hold.Load()
	left := time.Duration(0)
	if proof != nil {
		left = max(l.route.bound, l.route.policy.serveFor()) - now.Since(proof.Since)
	}
	if vouch != nil {
		left = max(left, l.route.bound-now.Since(vouch.Since))
	}
	end := h.expires
	if s := h.seen.Load(); s != nil {
		end = min(end, s.expires)
	}
	if rest := end - l.v.timeBy(proof, now); rest < left.Microseconds() {
		return time.Duration(rest) * time.Microsecond
	}
	return left
}
