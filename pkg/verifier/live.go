package verifier

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/clock"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/defect"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/follower"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/revset"
)

// Live is [Verifier.Verify] for an answer that lasts: an event stream, a long poll, a gRPC stream. The context that it
// returns carries the principal, and ends as soon as a request with the same credential would be refused: it was
// revoked, it expired, the user lost a role that the route requires, or freshness ended. [context.Cause] is then the
// refusal. For net/http there is [LongAnswer], which does all of this.
//
// A context alone is no bound, because its end has to be noticed: a process that was frozen may run its streams before
// anything else. So each piece of the answer MUST be sent only after [Alive] has returned nil for it. What can still be
// sent after that is the one piece whose check had just been made when the process froze, and what the kernel
// already held.
//
// The [context.CancelFunc] MUST be called when the answer is over. The principal is that of the beginning.
//
// On every route a long answer is judged, from its beginning on, by the feed, as ordinary requests are; so it ends within
// the route's bound, normally within milliseconds. While the feed isn't fresh, authsvc's answer to a question about
// just this credential will do, for the same bound: on routes with [Elite] or [Ask] such questions are asked in good time.
// [ServeStale] has its limit. API keys are resolved again as long as it takes.
func (v *Verifier) Live(ctx context.Context, c Credential, route *Route) (context.Context, context.CancelFunc, error) {
	if route == nil {
		route = &v.base
	}
	l, err := v.beginLive(ctx, c, route, nil)
	if err != nil {
		return nil, nil, err
	}
	return l.ctx, l.release, nil
}

// Alive judges the credential behind a context of [Verifier.Live] or [LongAnswer] at this moment, by clocks read now. An
// error is the refusal, is the last word, and has ended the context. It is as cheap as a verification; only for an
// API key whose resolution has outlived its time it waits for authsvc, up to a second.
//
// For any other context it refuses, with [ErrMissingCredential].
func Alive(ctx context.Context) error {
	l, ok := ctx.Value(liveKey{}).(*live)
	if !ok {
		return fmt.Errorf("%w: not the context of a long answer", ErrMissingCredential)
	}
	return l.check(ctx)
}

type liveKey struct{}

// live is one long answer. It is safe for concurrent use.
type live struct {
	v     *Verifier
	route *Route
	key   string // the API key, or "" for a token
	// hold is what it is judged by: of an API key always the newest resolution. vouch is authsvc's last answer about it,
	// see [Verifier.judge], or nil.
	hold  atomic.Pointer[holding]
	vouch atomic.Pointer[follower.Freshness]

	ctx     context.Context
	cancel  context.CancelCauseFunc
	refused atomic.Pointer[error] // set once: why it ended
	// ended, if given, is called after ctx has ended by a refusal.
	ended func()

	errand atomic.Bool // somebody asks authsvc for it
	place  int         // in lives.all, or -1; guarded by lives.mu
}

// beginLive verifies a credential and registers its answer. It judges twice, before and after: an event between the first time
// and the registration is seen by the second, a later one by the watch.
func (v *Verifier) beginLive(ctx context.Context, c Credential, route *Route, ended func()) (*live, error) {
	p, err := v.Verify(ctx, c, route)
	if err != nil {
		return nil, err
	}
	l := &live{v: v, route: route, ended: ended, place: -1}
	if err := l.found(ctx, c); err != nil {
		v.counters.refused(tally{}, err)
		return nil, err
	}
	ctx, l.cancel = context.WithCancelCause(context.WithValue(NewContext(ctx, p), liveKey{}, l))
	l.ctx = ctx
	if err = ErrStale; v.lives.add(l) {
		err = l.decide(ctx)
	}
	if err != nil {
		l.release()
		v.counters.refused(tally{}, err)
		return nil, err
	}
	return l, nil
}

// found lays the ground on which the answer will be judged.
func (l *live) found(ctx context.Context, c Credential) error {
	if c.method == MethodAPIKey {
		l.key = c.value
		l.hold.Store(unresolved())
	} else {
		h, err := l.v.token(ctx, c.value, l.route)
		if err != nil {
			return err
		}
		l.hold.Store(h)
	}
	err := l.decide(ctx)
	// Authsvc may know more than the feed, about an elite call's roles too.
	if l.route.asks() && err == ErrStale || l.route.elite && err == ErrForbidden {
		if err = l.askBounded(ctx); err == nil {
			err = l.decide(ctx)
		}
	}
	return err
}

// unresolved is the holding of an API key that has yet to be resolved: it has outlived its time.
func unresolved() *holding {
	return &holding{isKey: true, facts: &facts{key: &revset.Key{}, resolution: resolution{generation: ^uint64(0)}}, expires: never}
}

// asks reports whether authsvc is asked about the route's credentials beside the feed.
func (r *Route) asks() bool { return r.elite || r.policy == Ask }

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
	_, err := l.v.judge(l.newest(), l.route, vouch)
	if err == errStaleAsk {
		return ErrStale // it was asked in good time, without success
	}
	return err
}

// newest follows the resolutions of an API key, and marks the last as used, so that it is renewed.
func (l *live) newest() *holding {
	h := l.hold.Load()
	if l.key == "" {
		return h
	}
	if cached := l.v.keys.Get(l.key); cached != nil && cached.asked.Boot > h.asked.Boot {
		l.hold.Store(cached) // of two at once either will do: what it says is checked with the set
		h = cached
	}
	if !h.used.Load() {
		h.used.Store(true)
	}
	return h
}

func (l *live) resolve(ctx context.Context) error {
	h, err := l.v.resolve(ctx, l.key)
	if err == nil {
		l.hold.Store(h)
	}
	return err
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
	l.hold.Store(h) // first: the vouch is for it
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
	return h.told(answer.User), answer, nil
}

// told returns the same token with the authorization state that authsvc told.
func (h *holding) told(user *events.UserInfo) *holding {
	f := *h.facts
	f.principal, f.rv = *h.as(user.Roles, user.Plan), user.RV
	return &holding{facts: &f, notBefore: h.notBefore, expires: h.expires, stripe: h.stripe}
}

// end ends the answer by a refusal, once.
func (l *live) end(refused error) {
	if !l.refused.CompareAndSwap(nil, &refused) {
		return
	}
	l.v.counters.ended(refused)
	l.v.lives.remove(l)
	l.cancel(refused)
	if l.ended != nil {
		l.ended()
	}
}

// release lets go of an answer that is over.
func (l *live) release() {
	l.v.lives.remove(l)
	l.cancel(nil)
}

// final reports whether an error of a question about a credential is the last word on it, rather than no answer.
func final(err error) bool { return err != nil && !errors.Is(err, ErrAuthUnavailable) }

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
		kept.Value.used.Store(h.used.Load())
		l.v.keys.Put(l.key, kept, now.Boot, h.asked.Boot+int64(keyLife))
	}
}

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
