package verifier

import (
	"context"
	"fmt"
	"time"

	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/quota"
)

// quotaPatience is how long a request waits for a question to be asked for it.
const quotaPatience = time.Second

// verifyAnswered waits for what authsvc says of the quota, and has the request judged again from the start: what becomes of its credential
// meanwhile counts. It is judged once, when it has spent, so that an elite check isn't repeated each time that others were quicker.
func (v *Verifier) verifyAnswered(ctx context.Context, c Credential, route *Route, ask *quotaAsk) (*Principal, tally, error) {
	patience, cancel := context.WithTimeout(ctx, quotaPatience)
	defer cancel()
	if route.metered.exact {
		if err := v.take(patience, route.metered, ask.user); err != nil {
			return nil, tally{}, err
		}
		return v.verify(ctx, c, route.begun())
	}
	spent, err := v.spendAnswered(ctx, patience, route.metered, ask)
	if err != nil {
		return nil, tally{}, err
	}
	p, t, err := v.verify(ctx, c, route.begun())
	if err != nil {
		v.quotas.PutBack(spent)
	}
	return p, t, err
}

// spendAnswered waits until one is spent, or there is none.
func (v *Verifier) spendAnswered(ctx, patience context.Context, m *metering, ask *quotaAsk) (quota.Ticket, error) {
	for {
		if err := v.await(ctx, patience, ask.ticket); err != nil {
			return quota.Ticket{}, err
		}
		spent, err := v.spendOrAsk(m, ask.user, v.clock.Now())
		again, ok := err.(*quotaAsk)
		if !ok {
			return spent, err
		}
		if patience.Err() != nil {
			v.quotas.Leave(again.ticket)
			return quota.Ticket{}, errQuotaOverload
		}
		ask = again
	}
}

// errQuotaOverload is about authsvc answering, but not in time.
var errQuotaOverload = fmt.Errorf("%w: too many quotas are asked for", ErrAuthUnavailable)

// await waits for the end of a question. Who has run out of patience waits on as long as it isn't known whether authsvc can be asked:
// until its question ends, or, if its turn hasn't come, somebody else's. If that is answered, there is too much to ask.
func (v *Verifier) await(ctx, patience context.Context, t quota.Ticket) error {
	select {
	case <-t.Answered:
		return nil
	case <-patience.Done():
	}
	ctx, cancel := context.WithTimeout(ctx, quotaTimeout+settleTimeout) // longer than a question
	defer cancel()
	select {
	case <-t.Answered:
		return nil
	case <-v.quotas.Others(t):
		v.quotas.Leave(t)
		return errQuotaOverload
	case <-ctx.Done():
		v.quotas.Leave(t)
		return fmt.Errorf("%w: %w", ErrAuthUnavailable, ctx.Err())
	}
}

// take has authsvc decide.
func (v *Verifier) take(ctx context.Context, m *metering, user events.ID) error {
	taking := v.quotas.Take(user, m.resource, v.clock.Now())
	select {
	case <-taking.Done():
	case <-ctx.Done():
		v.quotas.Withdraw(taking)
		return fmt.Errorf("%w: %w", ErrAuthUnavailable, ctx.Err())
	}
	switch taken, answered := taking.Taken(); {
	case !answered:
		return errQuotaUnknown
	case !taken:
		return v.exceeded(m, user, v.clock.Now())
	}
	return nil
}
