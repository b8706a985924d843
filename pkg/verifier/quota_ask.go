package verifier

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/quota"
)

// settleTimeout bounds what Close waits for the last questions about quotas.
const settleTimeout = 500 * time.Millisecond

// account asks authsvc about quotas, one question at a time. It runs from the first route with a quota on.
type account struct {
	once       sync.Once
	stop, done chan struct{}
	nonce      string // of this start: who holds the allowances
	seq        uint64
}

func newAccount() *account {
	return &account{stop: make(chan struct{}), done: make(chan struct{}), nonce: events.NewNonce()}
}

func (a *account) start(v *Verifier) {
	a.once.Do(func() {
		if !v.begin() {
			close(a.done)
			return
		}
		go func() {
			defer v.end()
			defer close(a.done)
			a.run(v)
		}()
	})
}

// end gives back what is held, and returns when that was told, or it took too long.
func (a *account) end() {
	a.once.Do(func() { close(a.done) })
	close(a.stop)
	<-a.done
}

// run ends after a last round when end is called.
func (a *account) run(v *Verifier) {
	ticker := time.NewTicker(quota.Period)
	defer ticker.Stop()
	for {
		if q := v.quotas.Next(v.clock.Now()); q != nil {
			a.ask(v.life, v, q)
		} else {
			select {
			case <-v.quotas.Wake():
			case <-ticker.C:
				v.quotas.Tick(v.clock.Now())
			case <-a.stop:
			}
		}
		select {
		case <-ticker.C:
			v.quotas.Tick(v.clock.Now())
		case <-a.stop:
			a.settle(v)
			return
		default:
		}
	}
}

func (a *account) settle(v *Verifier) {
	ctx, cancel := context.WithTimeout(v.life, settleTimeout)
	defer cancel()
	v.quotas.Settle()
	for ctx.Err() == nil && !v.quotas.Stats().Away {
		q := v.quotas.Next(v.clock.Now())
		if q == nil {
			return
		}
		a.ask(ctx, v, q)
	}
}

// ask asks, and once more when the question is lost on its way; see askCheck.
func (a *account) ask(ctx context.Context, v *Verifier, q *quota.Question) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	first, end := context.WithTimeout(ctx, askAgainAfter)
	defer end()
	answer, err := a.askOnce(first, v, q.Entries)
	if err != nil && first.Err() != nil && ctx.Err() == nil {
		answer, err = a.askOnce(ctx, v, q.Entries)
	}
	if err != nil {
		q.Fail()
		return
	}
	q.Answer(answer)
}

func (a *account) askOnce(ctx context.Context, v *Verifier, entries []events.QuotaEntry) (events.QuotaAnswer, error) {
	a.seq++
	nonce := events.NewNonce()
	request, err := json.Marshal(events.QuotaRequest{Nonce: nonce, StartNonce: a.nonce, Seq: a.seq, Test: v.mode == events.ModeTest, Entries: entries})
	if err != nil {
		return events.QuotaAnswer{}, err
	}
	body, err := v.link.Request(ctx, events.KindQuota, events.QuotaSubject(v.service), request)
	if err != nil {
		return events.QuotaAnswer{}, err
	}
	answer, err := events.DecodeQuotaAnswer(body, len(entries))
	if err == nil && (answer.Nonce != nonce || answer.Request != events.HashOf(request)) {
		err = errOtherQuestion
	}
	return answer, err
}
