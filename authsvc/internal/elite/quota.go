package elite

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/tocsin-auth/tocsin/authsvc/internal/feed"
	"github.com/tocsin-auth/tocsin/authsvc/internal/quota"
	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/authsvc/internal/turns"
	"github.com/tocsin-auth/tocsin/pkg/events"
)

// Quotas counts. All questions are answered, in order, or none.
type Quotas interface {
	Settle(ctx context.Context, questions []quota.Question) ([]quota.Answer, error)
}

// quotaShares bound what counting takes of the database: each worker writes one transaction at a time, of up to four questions.
// One service's questions are answered in the order of their coming.
var quotaShares = turns.Shares{Workers: 2, Running: 1, Queued: 256, Total: 1024, Batch: 4}

// quotaPatience is how long a question waits to be counted. The asker takes it for lost after 400 ms, and authsvc for away after twice that: so
// who has waited longer is told in time that there is too much to do.
const quotaPatience = 200 * time.Millisecond

// refusalShares bound what telling who is put off takes of the processors: a signature each. Who asks so much that even those wait
// too long gets an unsigned refusal, which says nothing.
var refusalShares = turns.Shares{Workers: 1, Running: 1, Queued: 256, Total: 1024, Batch: 16}

// asked is a question that waits to be counted.
type asked struct {
	arrival
	quota.Question
}

// settle answers what has arrived, together.
func (r *Responders) settle(batch []arrival) {
	var waiting []asked
	for _, a := range batch {
		if time.Since(a.at) > r.cfg.quotaPatience {
			r.putOff(a)
			continue
		}
		request, err := events.DecodeQuotaRequest(a.Data)
		if err != nil {
			r.finish(a, feed.Message{}, err)
			continue
		}
		waiting = append(waiting, asked{a, quota.Question{Service: serviceOf(a.Subject), QuotaRequest: request}})
	}
	if len(waiting) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(r.queries, r.cfg.queryTimeout())
	defer cancel()
	if err := r.settleTogether(ctx, waiting); err != nil {
		r.settleEach(ctx, waiting, err)
	}
}

// putOff has the asker told that authsvc is there, and too busy. It doesn't block.
func (r *Responders) putOff(a arrival) {
	if !r.refusals.Submit(serviceOf(a.Subject), a) {
		r.finish(a, feed.Message{}, feed.ErrBusy)
	}
}

// refuse signs that it is busy, for each question: over its bytes, the nonce among them, so that it can't be said of another.
func (r *Responders) refuse(batch []arrival) {
	for _, a := range batch {
		busy, err := r.answers.sign(events.KindQuota, events.QuotaAnswer{Request: events.HashOf(a.Data), Busy: true})
		r.finish(a, busy, errors.Join(feed.ErrBusy, err))
	}
}

func serviceOf(subject string) string { return subject[strings.LastIndexByte(subject, '.')+1:] }

// settleTogether answers all, or none.
func (r *Responders) settleTogether(ctx context.Context, batch []asked) error {
	questions := make([]quota.Question, len(batch))
	for i, a := range batch {
		questions[i] = a.Question
	}
	answers, err := r.cfg.Quotas.Settle(ctx, questions)
	if err != nil {
		return err
	}
	for i, a := range batch {
		page, err := r.answers.sign(events.KindQuota, events.QuotaAnswer{Nonce: a.Nonce, Request: events.HashOf(a.Data),
			Grants: answers[i].Grants, Now: answers[i].Now})
		r.finish(a.arrival, page, err)
	}
	return nil
}

// settleEach answers one by one what failed together, unless it is the database that fails.
func (r *Responders) settleEach(ctx context.Context, batch []asked, err error) {
	alone := len(batch) == 1 || errors.Is(err, store.ErrUnavailable)
	for _, a := range batch {
		if !alone && ctx.Err() == nil {
			err = r.settleTogether(ctx, []asked{a})
		}
		if err != nil {
			r.finish(a.arrival, feed.Message{}, err)
		}
	}
}
