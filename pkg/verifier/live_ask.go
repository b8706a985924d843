package verifier

import (
	"context"
	"errors"

	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/follower"
)

func (l *live) resolve(ctx context.Context) error {
	h, err := l.v.resolve(ctx, l.key)
	if err == nil {
		l.take(h)
	}
	return err
}

// take puts a holding in the place of one that isn't newer. Of two resolutions at once the later question knows more.
func (l *live) take(h *holding) {
	for {
		old := l.hold.Load()
		if old.asked.Boot > h.asked.Boot || l.hold.CompareAndSwap(old, h) {
			return
		}
	}
}

// askBounded is ask for a request that waits; how many elite calls do is authsvc's to bound.
func (l *live) askBounded(ctx context.Context) error {
	if l.route.elite {
		return l.ask(ctx)
	}
	_, err := l.v.askBounded(func() (*Principal, error) { return nil, l.ask(ctx) })
	return err
}

// ask has authsvc vouch for the credential. The clock is read before the question is sent.
func (l *live) ask(ctx context.Context) error {
	asked := l.v.clock.Now()
	h, answer, err := l.askNow(ctx)
	if err != nil {
		return err
	}
	l.take(h) // first: the vouch is for it
	l.vouch.Store(&follower.Freshness{Since: asked, Now: answer.Now})
	return nil
}

func (l *live) askNow(ctx context.Context) (*holding, events.CheckAnswer, error) {
	if l.key != "" {
		return l.v.askAboutKey(ctx, l.key, l.route)
	}
	h := l.hold.Load()
	_, answer, err := l.v.askAboutToken(ctx, h, l.route)
	if err != nil {
		return nil, answer, err
	}
	return h.told(answer), answer, nil
}

// told returns the same token with what authsvc told: the user's authorization, and the end of what the token rests on, of which
// a feed that isn't fresh may know nothing.
func (h *holding) told(answer events.CheckAnswer) *holding {
	f := h.facts
	f.principal, f.rv = *h.as(answer.User.Roles, answer.User.Plan), answer.User.RV
	return &holding{facts: f, notBefore: h.notBefore, expires: min(h.expires, endOf(answer)), stripe: h.stripe}
}

// endOf is when the first of the keys ends on which a token rests. An authsvc of before tells it of the token's own key only.
func endOf(answer events.CheckAnswer) int64 {
	ends := int64(never)
	if answer.NotAfter != nil {
		ends = *answer.NotAfter
	}
	if answer.Key != nil && answer.Key.NotAfter != nil {
		ends = min(ends, *answer.Key.NotAfter)
	}
	return ends
}

// final reports whether an error of a question about a credential is the last word on it, rather than no answer.
func final(err error) bool { return err != nil && !errors.Is(err, ErrAuthUnavailable) }

// send has one question asked in the background, if there is a place. A refusal ends the answer; what got no answer is
// asked again by a later look.
func (l *live) send(question func(context.Context) error) {
	v := l.v
	if l.errand.Load() || !v.lives.errands.enter() {
		return
	}
	if !v.begin() {
		v.lives.errands.leave()
		return
	}
	l.errand.Store(true)
	go func() {
		defer v.end()
		defer v.lives.errands.leave()
		defer l.errand.Store(false)
		ctx, cancel := context.WithTimeout(v.life, askTimeout)
		defer cancel()
		if err := question(ctx); final(err) {
			l.end(err)
		}
	}()
}
