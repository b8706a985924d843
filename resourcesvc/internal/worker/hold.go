package worker

import (
	"context"
	"errors"
	"sync"
	"time"
)

var errLost = errors.New("the claim is lost")

// held is a claim that is renewed while its job is done.
type held struct {
	ctx    context.Context // ends when the claim is lost
	cancel context.CancelCauseFunc
	done   sync.WaitGroup
}

// hold renews a claim three times in each lease, until it is released. When the service says that the job is another
// worker's, or says nothing for a whole lease, the work on it ends.
func (w *worker) hold(ctx context.Context, a *assignment) *held {
	h := &held{}
	h.ctx, h.cancel = context.WithCancelCause(ctx)
	h.done.Go(func() {
		ticker := time.NewTicker(a.lease() / 3)
		defer ticker.Stop()
		for renewed := time.Now(); ; {
			select {
			case <-ticker.C:
			case <-h.ctx.Done():
				return
			}
			asked := time.Now()
			err := w.renew(h.ctx, a)
			switch {
			case err == nil:
				renewed = asked
			case errors.Is(err, errGone), time.Since(renewed) > a.lease():
				h.cancel(errLost)
			}
		}
	})
	return h
}

func (w *worker) renew(ctx context.Context, a *assignment) error {
	ctx, cancel := context.WithTimeout(ctx, a.lease()/3)
	defer cancel()
	return w.service.renew(ctx, w.own(), a)
}

func (h *held) lost() bool { return errors.Is(context.Cause(h.ctx), errLost) }

// release ends the renewing. A cause that came first stays.
func (h *held) release() {
	h.cancel(nil)
	h.done.Wait()
}
