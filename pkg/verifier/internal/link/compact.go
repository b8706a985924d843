package link

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/nats-io/nats.go"

	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/follower"
)

const (
	// manyFrom is from how many events on those that are missing are read as compact pages. Of the stream each may be a
	// message of its own, with a signature of its own: these take 50 ms to verify, a page a few.
	manyFrom = 1000
	// rangesAtOnce bounds the pages that one verifier is sent at once, and with it what lies in the bus for a fleet that starts.
	rangesAtOnce = 4
)

var (
	// errNotCompact means that authsvc is of a release that makes no compact pages.
	errNotCompact = errors.New("authsvc doesn't make compact pages")
	errNotThePage = errors.New("the page isn't the one that was asked for")
)

// readCompact reads the ranges of compact pages that hold what is missing, some at a time. The first one alone: it shows
// whether authsvc makes any.
func (l *Link) readCompact(ctx context.Context, b bus, need follower.CatchUp) error {
	first := rangeFrom(need.From, need.To)
	if err := l.readRange(ctx, b, need.Epoch, first); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Uint64
	next.Store(first.to + 1)
	readers := func() {
		for ctx.Err() == nil {
			from := next.Add(events.PageEvents) - events.PageEvents
			if from > need.To {
				return
			}
			if err := l.readRange(ctx, b, need.Epoch, rangeFrom(from, need.To)); err != nil {
				cancel(err)
			}
		}
	}
	left := (need.To - first.to + events.PageEvents - 1) / events.PageEvents
	var reading sync.WaitGroup
	for range min(left, rangesAtOnce) {
		reading.Go(readers)
	}
	reading.Wait()
	return context.Cause(ctx)
}

// seqs are from one to another, both included.
type seqs struct{ from, to uint64 }

// rangeFrom returns what follows a seq in its range of compact pages, up to an end.
func rangeFrom(seq, end uint64) seqs {
	return seqs{from: seq, to: min(end, (seq-1)/events.PageEvents*events.PageEvents+events.PageEvents)}
}

// readRange reads the pages of a range; most often it is one.
func (l *Link) readRange(ctx context.Context, b bus, epoch string, r seqs) error {
	for r.from <= r.to {
		m, err := l.fetchPage(ctx, b, events.SnapshotRequest{Epoch: epoch, From: r.from, Compact: events.CompactForm})
		if err != nil {
			return err
		}
		page, err := l.takeCompact(m)
		if err != nil {
			return err
		}
		if page.Epoch != epoch || page.LastSeq() < r.from {
			return errNotThePage
		}
		r.from = page.LastSeq() + 1
	}
	return nil
}

// takeCompact applies a compact page. What came instead is applied, too.
func (l *Link) takeCompact(m *nats.Msg) (events.Batch, error) {
	if m.Header.Get(events.HeaderForm) != events.FormCompact {
		if _, _, err := l.take(m); err != nil {
			return events.Batch{}, err
		}
		return events.Batch{}, errNotCompact
	}
	if err := l.verify(events.KindPage, m); err != nil {
		return events.Batch{}, err
	}
	page, err := events.DecodePage(m.Data)
	if err != nil {
		l.counts.bad.Add(1)
		return events.Batch{}, err
	}
	l.apply(page)
	return page, nil
}
