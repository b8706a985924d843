package verifier

import (
	"context"
	"fmt"
	"sync/atomic"

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
	l := &live{v: v, route: route.begun(), ended: ended, place: -1}
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
	return &holding{isKey: true, facts: facts{key: &revset.Key{}, resolution: resolution{generation: ^uint64(0)}}, expires: never}
}

// asks reports whether authsvc is asked about the route's credentials beside the feed.
func (r *Route) asks() bool { return r.elite || r.policy == Ask }

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
