package feed

import (
	"context"
	"math"
	"sync/atomic"
	"time"

	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
)

// Wait says how far events must have travelled before a call returns.
type Wait string

// The waits of the contract.
const (
	WaitNone      Wait = "none"
	WaitPublished Wait = "published"
	WaitFleet     Wait = "fleet"
)

// receiptPoll is how often a waiting call asks the database when nobody tells it anything.
const receiptPoll = 100 * time.Millisecond

// Receipt tells how far events have travelled.
type Receipt struct {
	EventID   *string // nil: there is no event
	Epoch     *string
	Seq       *uint64 // the greatest; nil: not all are numbered
	Published bool    // all went to the live feed and are stored in the stream
	Fleet     *Applied
	Elapsed   time.Duration
}

// EventStates is how a receipt learns what became of events; [store.DB] is one.
type EventStates interface {
	EventStates(ctx context.Context, ids []string) ([]store.EventState, error)
}

// Receipts waits for events to travel. It is safe for concurrent use.
type Receipts struct {
	events   EventStates
	fleet    *Fleet
	progress *progress
	roll     *rollCall    // nil: there are no other replicas
	waiting  atomic.Int64 // calls of Wait
}

// Expect announces, before the change is made, how its receipt will wait: with [WaitFleet] its events ask the verifiers
// to prove at once. The returned function ends that; it may be called again.
func (r *Receipts) Expect(wait Wait) (done func()) {
	if wait != WaitFleet {
		return func() {}
	}
	return r.progress.awaitFleet()
}

// Wait returns when the events have travelled as far as asked, or the timeout or ctx has ended: then it tells how far
// they have come. The events MUST be committed. An event that doesn't exist any more has lapsed and counts as published
// and applied. Errors are those of the database, and of nothing else: one that can't be asked for a moment is asked again while
// there is time.
func (r *Receipts) Wait(ctx context.Context, eventIDs []string, wait Wait, timeout time.Duration) (Receipt, error) {
	start := time.Now()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	defer r.Expect(wait)()
	r.waiting.Add(1)
	defer r.waiting.Add(-1)
	w := waiting{Receipts: r, ids: eventIDs, wait: wait}
	defer w.end()
	receipt, err := w.run(ctx)
	receipt.Elapsed = time.Since(start)
	return receipt, err
}

// waiting is one call of Wait.
type waiting struct {
	*Receipts
	ids    []string
	wait   Wait
	states []store.EventState // nil: to be asked for
	roll   question
}

func (w *waiting) run(ctx context.Context) (Receipt, error) {
	poll, roll := time.NewTicker(receiptPoll), time.NewTicker(rollEvery)
	defer poll.Stop()
	defer roll.Stop()
	if w.wait != WaitFleet {
		roll.Stop()
	}
	for {
		s := w.progress.standing() // before the database is asked, so that no change is missed
		changed, rolled := s.changed, roll.C
		err := w.look(ctx, s)
		if receipt := w.receipt(s); w.wait == WaitNone || err == nil && w.satisfied(receipt) {
			return receipt, err
		}
		if err != nil {
			changed, rolled = nil, nil // a database that fails isn't asked more often for them
		}
		select {
		case <-ctx.Done():
			return w.receipt(w.progress.standing()), err
		case <-changed:
		case <-rolled:
		case <-poll.C:
			w.states = nil // the marks on the rows
		}
	}
}

// look asks the database, unless it is known already where the events stand in the present epoch. It asks even when ctx
// has ended: a call that didn't want to wait still wants to know.
func (w *waiting) look(ctx context.Context, s standing) error {
	if len(w.ids) == 0 || w.placed(s) {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	states, err := w.events.EventStates(ctx, w.ids)
	if err == nil {
		w.states = append([]store.EventState{}, states...) // not nil: asked
	}
	return err
}

func (w *waiting) placed(s standing) bool {
	for _, e := range w.states {
		if e.Epoch != s.epoch {
			return false
		}
	}
	return w.states != nil
}

func (w *waiting) receipt(s standing) Receipt {
	r := Receipt{Published: true}
	if len(w.ids) > 0 {
		r.EventID = &w.ids[len(w.ids)-1]
	}
	var last store.EventState
	numbered := w.states != nil || len(w.ids) == 0
	for _, e := range w.states {
		numbered = numbered && e.Seq > 0
		r.Published = r.Published && (e.Published || (e.Epoch != "" && e.Epoch == s.epoch && e.Seq <= s.published))
		if e.Seq > last.Seq {
			last = e
		}
	}
	r.Published = r.Published && numbered
	if numbered && last.Seq > 0 {
		r.EventID, r.Epoch, r.Seq = &last.ID, &last.Epoch, &last.Seq
	}
	if w.wait == WaitFleet {
		if !numbered {
			last.Seq = math.MaxUint64 // which nobody has applied
		}
		var agreed roster
		if numbered {
			agreed = w.agreed(s, last)
		}
		applied := w.fleet.Applied(last.Epoch, last.Seq, agreed)
		r.Fleet = &applied
	}
	return r
}

// agreed asks the dispatcher, unless this process is that.
func (w *waiting) agreed(s standing, last store.EventState) roster {
	if w.Receipts.roll == nil || s.tenure.holding {
		return nil
	}
	return w.Receipts.roll.agreed(&w.roll, last.Epoch, last.Seq)
}

func (w *waiting) end() {
	if w.Receipts.roll != nil {
		w.Receipts.roll.over(&w.roll)
	}
}

func (w *waiting) satisfied(r Receipt) bool {
	switch w.wait {
	case WaitNone:
		return true
	case WaitFleet:
		return r.Published && r.Fleet.Known && r.Fleet.Applied == r.Fleet.Total
	default:
		return r.Published
	}
}
