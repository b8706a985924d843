package verifier

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/quota"
)

const (
	// settleTimeout bounds what Close waits for the last questions about quotas.
	settleTimeout = 500 * time.Millisecond
	// quotaTimeout bounds each question about quotas. It is shorter than the patience of requests, which learn by it that
	// authsvc can't be asked.
	quotaTimeout = 2 * askAgainAfter
	// busyPause is about how long authsvc, which was busy, isn't asked at first.
	busyPause = 50 * time.Millisecond
	// quotaQuestions is how many questions about quotas are on their way at once, when there is so much to ask: at the
	// end of a window that many users share. They are about different users, so it doesn't matter which comes first.
	quotaQuestions = 3
)

// account asks authsvc about quotas. It runs from the first route with a quota on.
type account struct {
	once       sync.Once
	stop, done chan struct{}
	nonce      string        // of this start: who holds the allowances
	seq        atomic.Uint64 // of the last question
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
	var asking sync.WaitGroup
	for range quotaQuestions {
		asking.Go(func() { a.askOn(v) })
	}
	ticker := time.NewTicker(quota.Period)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			v.quotas.Tick(v.clock.Now())
		case <-a.stop:
			asking.Wait()
			a.settle(v)
			return
		}
	}
}

// askOn asks one question after the other.
func (a *account) askOn(v *Verifier) {
	for {
		if q := v.quotas.Next(v.clock.Now()); q != nil {
			a.ask(v.life, v, q)
		} else {
			select {
			case <-v.quotas.Wake():
			case <-a.stop:
			}
		}
		select {
		case <-a.stop:
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

// ask asks until it is answered, or the time of a question is over.
func (a *account) ask(ctx context.Context, v *Verifier, q *quota.Question) {
	ctx, cancel := context.WithTimeout(ctx, quotaTimeout)
	defer cancel()
	switch answer, err := a.askPatiently(ctx, v, q.Entries); {
	case errors.Is(err, errQuotaBusy):
		q.PutOff()
	case err != nil:
		q.Fail()
	default:
		q.Answer(answer)
	}
}

// errQuotaBusy is about authsvc answering that it has too much to do.
var errQuotaBusy = errors.New("authsvc is busy")

// askPatiently asks again, at growing intervals, while authsvc says that it is busy. That is more than silence says: who is silent
// thereafter until the end isn't away.
func (a *account) askPatiently(ctx context.Context, v *Verifier, entries []events.QuotaEntry) (events.QuotaAnswer, error) {
	for wait := time.Duration(0); ; {
		answer, err := a.askTwice(ctx, v, entries)
		switch {
		case err == nil && answer.Busy:
		case err != nil && wait > 0 && ctx.Err() != nil:
			return answer, errQuotaBusy
		default:
			return answer, err
		}
		wait = max(2*wait, busyPause)
		select {
		case <-time.After(wait/2 + rand.N(wait)): // so that a fleet doesn't come again at once
		case <-ctx.Done():
			return answer, errQuotaBusy
		}
	}
}

// askTwice asks, and once more when the question is lost on its way; see askCheck.
func (a *account) askTwice(ctx context.Context, v *Verifier, entries []events.QuotaEntry) (events.QuotaAnswer, error) {
	first, end := context.WithTimeout(ctx, askAgainAfter)
	defer end()
	answer, err := a.askOnce(first, v, entries)
	if err == nil || first.Err() == nil || ctx.Err() != nil {
		return answer, err
	}
	return a.askOnce(ctx, v, entries)
}

func (a *account) askOnce(ctx context.Context, v *Verifier, entries []events.QuotaEntry) (events.QuotaAnswer, error) {
	nonce := events.NewNonce()
	request, err := json.Marshal(events.QuotaRequest{Nonce: nonce, StartNonce: a.nonce, Seq: a.seq.Add(1), Test: v.mode == events.ModeTest, Entries: entries})
	if err != nil {
		return events.QuotaAnswer{}, err
	}
	body, err := v.link.Request(ctx, events.KindQuota, events.QuotaSubject(v.service), request)
	if err != nil {
		return events.QuotaAnswer{}, err
	}
	answer, err := events.DecodeQuotaAnswer(body, len(entries))
	if err == nil && (answer.Nonce != nonce && !answer.Busy || answer.Request != events.HashOf(request)) { // the hash is of the nonce, too
		err = errOtherQuestion
	}
	return answer, err
}
