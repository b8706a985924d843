package faults

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/tocsin-auth/tocsin/test/system"
)

const (
	// robbed are how many persons there are whose refresh tokens somebody else uses, too.
	robbed = 2
	// grace is a little more than the time in which a refresh token may be used again.
	grace = 10*time.Second + 500*time.Millisecond
)

// beRobbed registers a person with one session, whose first refresh token is used again when its grace is over: that
// ends the session.
func (f *Traffic) beRobbed(ctx context.Context, rng *rand.Rand) {
	p := &person{Traffic: f, rng: rng}
	defer func() { f.pool.retire(p.all) }()
	for len(p.sessions) == 0 || p.sessions[0].spent == "" {
		if !pause(ctx, time.Duration(200+rng.IntN(800))*time.Millisecond) || !p.stepToRefresh(ctx) {
			return
		}
	}
	s := p.sessions[0]
	if pause(ctx, s.spentAt+grace-f.Recorder.Now()) {
		p.reuse(ctx, s)
	}
}

// stepToRefresh does what comes next until a refresh token is spent; false when there is nothing more to do.
func (p *person) stepToRefresh(ctx context.Context) bool {
	p.everybody.RLock()
	defer p.everybody.RUnlock()
	switch {
	case p.id == "":
		return p.register(ctx)
	case p.generation != p.Traffic.generation:
		return false
	case len(p.sessions) == 0:
		p.login(ctx)
	default:
		p.refresh(ctx, p.sessions[0])
		return len(p.sessions) > 0
	}
	return true
}

// reuse shows the spent refresh token. The refusal is the answer of a call that has ended the session.
func (p *person) reuse(ctx context.Context, s *session) {
	p.everybody.RLock()
	defer p.everybody.RUnlock()
	if p.generation != p.Traffic.generation {
		return
	}
	path, body := p.refreshCall(s.spent)
	p.do(ctx, request{name: "refresh token reuse", method: "POST", path: path, anonymous: true, body: body, kills: s.tokens, outcome: outcomeOfReuse}, p.drop(s))
}

// outcomeOfReuse: a 2xx means that by authsvc's clock the grace wasn't over, so that nothing was ended.
func outcomeOfReuse(a system.Answer, err error) Outcome {
	switch outcome := outcomeOf(a, err); {
	case outcome == Done:
		return Failed
	case err == nil && isRefused(a):
		return Done
	default:
		return outcome
	}
}
