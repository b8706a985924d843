package feed

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/pkg/events"
)

const (
	// compactParts bounds a compact page, and with it what one that is being made holds: a range that is larger goes on in
	// another page.
	compactParts = 4
	// readyEvery is how often is looked whether compact pages can be made ahead, and readyShare how many times longer than
	// making one is waited before the next: who reads has precedence, and so have numbering and proofs.
	readyEvery = time.Second
	readyShare = 3
)

// compactPageOf returns the first seq of the range of compact pages that holds a seq.
func compactPageOf(seq uint64) uint64 { return (max(seq, 1)-1)/events.PageEvents*events.PageEvents + 1 }

// Compact returns a compact page that holds the event with a seq and begins at or below it. The errors are those of Page.
func (p *Pages) Compact(ctx context.Context, epoch string, from uint64) (Message, error) {
	if from == 0 {
		return Message{}, ErrGone
	}
	key := pageKey{epoch: epoch, kid: p.signer().KeyID(), first: compactPageOf(from), compact: true}
	for {
		pg, err := p.get(ctx, key)
		switch {
		case errors.Is(err, ErrGone) && key.first < from:
			key.first = from // a release that kept less has pruned the range's first events
		case err != nil:
			return Message{}, err
		case pg.last() >= from || !pg.whole:
			return pg.holding(from)
		default:
			key.first = pg.last() + 1 // the range was too large for one page
		}
	}
}

// buildCompact makes a compact page of what there is of its range, or makes what is known of it longer.
func (p *Pages) buildCompact(ctx context.Context, key pageKey, known *page, now store.Lease) (*page, error) {
	b := compactBuild{page: &page{key: key}, signer: p.signer(), floor: now.Floor}
	if known != nil {
		b.goOnFrom(known)
	}
	before, err := p.journal.FeedChain(ctx, p.issuer, key.epoch, b.next()-1)
	switch {
	case known != nil && (errors.Is(err, store.ErrNotFound) || (err == nil && before != b.chain)):
		return p.buildCompact(ctx, key, nil, now) // the database was set back since
	case errors.Is(err, store.ErrNotFound):
		return nil, ErrGone
	case err != nil:
		return nil, err
	}
	b.chain = before
	end := compactPageOf(key.first) + events.PageEvents - 1
	if err := p.journal.FeedBodies(ctx, key.epoch, b.next(), min(end, now.Head), b.take); err != nil {
		return nil, err
	}
	b.finish(end)
	return b.page, p.compare(ctx, b)
}

// compare checks the chain, so that a damaged database is noticed here and not by every verifier.
func (p *Pages) compare(ctx context.Context, b compactBuild) error {
	last := b.page.last()
	if last < b.page.key.first {
		return ErrGone
	}
	chain, err := p.journal.FeedChain(ctx, p.issuer, b.page.key.epoch, last)
	if err == nil && chain != b.chain {
		err = fmt.Errorf("%w: epoch %s, seq %d to %d", errCorrupt, b.page.key.epoch, b.page.key.first, last)
	}
	return err
}

// compactBuild is a compact page that is being made.
type compactBuild struct {
	page   *page
	signer *events.Signer
	floor  uint64
	chain  events.Hash         // after what was taken so far
	part   *events.PageEncoder // the last one, still open; nil: none
}

// goOnFrom takes over a page that ended where the feed did. Nobody else goes on from it: one makes a page at a time, and
// what comes of it takes its place.
func (b *compactBuild) goOnFrom(known *page) {
	n := len(known.parts) - 1
	b.page.parts = append(b.page.parts, known.parts[:n]...)
	b.page.size = known.size - len(known.parts[n].message.Body)
	b.part, b.chain = known.open, known.open.Chain()
}

// next returns the seq of the event that has to be taken next.
func (b *compactBuild) next() uint64 {
	if b.part != nil {
		return b.part.LastSeq() + 1
	}
	return b.page.last() + 1
}

// take takes in an event, and wants more until the page is whole.
func (b *compactBuild) take(seq uint64, body []byte) (more bool, err error) {
	switch next := b.next(); {
	case seq < next:
		return true, nil // the reading began again
	case seq > next:
		return false, ErrGone
	}
	for {
		if b.part == nil && len(b.page.parts) == compactParts {
			b.page.whole = true
			return false, nil
		}
		if b.part == nil {
			if b.part, err = events.NewPage(b.page.key.epoch, seq, b.chain, b.floor); err != nil {
				return false, err
			}
		}
		if added, err := b.part.Add(body); added || err != nil {
			b.chain = b.part.Chain()
			return err == nil, err
		}
		b.closePart()
	}
}

// finish signs what there is. A page that ends where the feed does can be made longer later.
func (b *compactBuild) finish(end uint64) {
	b.page.whole = b.page.whole || b.next() > end
	b.closePart()
	if b.page.whole {
		b.page.open = nil
	}
}

// closePart signs the last part, if there is one, and leaves it open for more.
func (b *compactBuild) closePart() {
	if b.part == nil {
		return
	}
	body, first := b.part.Encode(), b.page.last()+1
	message := sign(b.signer, events.KindPage, body)
	message.Form = events.FormCompact
	b.page.parts = append(b.page.parts, batch{first: first, last: b.part.LastSeq(), message: message})
	b.page.size += len(body)
	b.page.open, b.part = b.part, nil
}

// keepReady makes compact pages ahead of those who will ask for them, as far as there is room to keep them.
func (p *Pages) keepReady(ctx context.Context) {
	timer := time.NewTimer(readyEvery)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		began := time.Now()
		if p.readyNext(ctx) {
			timer.Reset(readyShare * time.Since(began))
		} else {
			timer.Reset(readyEvery)
		}
	}
}

// readyNext makes the first compact page of a whole range that isn't kept, and reports whether there was one to make.
func (p *Pages) readyNext(ctx context.Context) bool {
	now, err := p.journal.FeedStanding(ctx)
	if err != nil {
		return false
	}
	key := pageKey{epoch: now.Epoch, kid: p.signer().KeyID(), first: compactPageOf(now.Floor), compact: true}
	p.forget(key, now.Floor)
	for key.first+events.PageEvents-1 <= now.Head {
		switch last, room := p.kept(key); {
		case last != 0:
			key.first = last + 1
		case !room:
			return false
		default:
			_, err := p.get(ctx, key)
			return err == nil
		}
	}
	return false
}

// forget lets go of the pages that nobody can use any more: those of another epoch or feed key, and those below the floor.
// They would keep the room from pages that are needed.
func (p *Pages) forget(now pageKey, floor uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for key, e := range p.byKey {
		pg := e.Value.(*page)
		if key.epoch != now.epoch || key.kid != now.kid || pg.whole && pg.last() < floor {
			p.drop(e)
		}
	}
}

// kept returns the last seq of a page that is kept whole, or 0, and whether there is room for another one without letting one
// go.
func (p *Pages) kept(key pageKey) (last uint64, room bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e, ok := p.byKey[key]; ok && e.Value.(*page).whole {
		last = e.Value.(*page).last()
	}
	return last, p.size < pageCacheBytes-compactParts*events.MaxPageBytes
}
