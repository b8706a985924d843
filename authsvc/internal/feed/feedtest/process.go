package feedtest

import (
	"context"

	"github.com/tocsin-auth/tocsin/authsvc/internal/feed"
	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/pkg/events"
)

// crashing runs a call between two steps of the fuse.
func crashing[T any](p *Process, call func() (T, error)) (T, error) {
	var none T
	if !p.burn() {
		return none, ErrCrashed
	}
	p.freeze()
	result, err := call()
	p.freeze()
	if !p.burn() {
		return none, ErrCrashed
	}
	return result, err
}

func (p *Process) freeze() {
	if p.Between != nil {
		p.Between()
	}
}

type nothing = struct{}

// journalOf is a process's feed.Journal.
type journalOf struct{ p *Process }

func (j journalOf) AcquireFeed(ctx context.Context, r store.LeaseRequest) (store.Lease, error) {
	return crashing(j.p, func() (store.Lease, error) { return j.p.Journal.AcquireFeed(ctx, r) })
}

func (j journalOf) NumberEvents(ctx context.Context, r store.NumberRequest) (store.Numbered, error) {
	return crashing(j.p, func() (store.Numbered, error) { return j.p.Journal.NumberEvents(ctx, r) })
}

func (j journalOf) ReleaseFeed(ctx context.Context, term int64) error {
	_, err := crashing(j.p, func() (nothing, error) { return nothing{}, j.p.Journal.ReleaseFeed(ctx, term) })
	return err
}

func (j journalOf) FinishImport(ctx context.Context, term int64) error {
	_, err := crashing(j.p, func() (nothing, error) { return nothing{}, j.p.Journal.FinishImport(ctx, term) })
	return err
}

func (j journalOf) FeedRange(ctx context.Context, issuer, epoch string, from, to uint64) (prev events.Hash, rows []store.FeedRow, err error) {
	rows, err = crashing(j.p, func() ([]store.FeedRow, error) {
		prev, rows, err = j.p.Journal.FeedRange(ctx, issuer, epoch, from, to)
		return rows, err
	})
	return prev, rows, err
}

// busOf is a process's feed.Bus.
type busOf struct{ p *Process }

func (b busOf) Live(_ events.Type, m feed.Message) error {
	_, err := crashing(b.p, func() (nothing, error) { return nothing{}, b.p.bus.publish(m) })
	return err
}

func (b busOf) Flush(context.Context) error {
	_, err := crashing(b.p, func() (nothing, error) { return nothing{}, b.p.bus.flush() })
	return err
}

func (b busOf) Answer(r feed.Request, m feed.Message) error {
	_, err := crashing(b.p, func() (nothing, error) {
		if b.p.bus.Away {
			return nothing{}, ErrAway
		}
		b.p.bus.OnAnswer(r, m)
		return nothing{}, nil
	})
	return err
}

func (b busOf) Store(_ events.Type, m feed.Message, done func(uint64, error)) {
	if !b.p.burn() {
		return
	}
	if b.p.bus.Away {
		done(0, ErrAway)
		return
	}
	b.p.bus.unacked = append(b.p.bus.unacked, unacked{message: m, done: func(seq uint64, err error) {
		if b.p.burn() {
			done(seq, err)
		}
	}})
}
