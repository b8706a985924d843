package feed

import (
	"container/list"
	"context"
	"errors"
	"sync"

	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/pkg/events"
)

var (
	// ErrBusy means that too many pages are being made; ask again soon.
	ErrBusy = errors.New("too many pages are being made")
	// ErrGone means that the feed has no such epoch, or no such seq any more or yet.
	ErrGone = errors.New("no such page")
)

const (
	// pageSize is the length of a page's range of seqs; the ranges begin at 1.
	pageSize = events.MaxBatchEvents
	// pageBuilds bounds how many pages are made at once.
	pageBuilds = 2
	// pageCacheBytes bounds the pages that are kept: compact ones of ten million revocations.
	pageCacheBytes = 256 << 20
)

// Pages gives the feed to verifiers that the stream can't help: ordinary signed messages for fixed ranges of seqs, made
// from the database. A page of a full range never changes, so it is made once and kept. It is safe for concurrent use.
type Pages struct {
	journal PageSource
	signer  func() *events.Signer
	issuer  string
	builds  chan struct{}

	mu     sync.Mutex
	byKey  map[pageKey]*list.Element
	recent *list.List // of *page, latest use first
	size   int
	flight map[pageKey]*flight
}

// PageSource is what pages are made from; [store.DB] is one.
type PageSource interface {
	FeedStanding(ctx context.Context) (store.Lease, error)
	FeedRange(ctx context.Context, issuer, epoch string, from, to uint64) (prev events.Hash, rows []store.FeedRow, err error)
	FeedChain(ctx context.Context, issuer, epoch string, seq uint64) (events.Hash, error)
	FeedBodies(ctx context.Context, epoch string, from, to uint64, each func(seq uint64, body []byte) (more bool, err error)) error
}

// pageKey names a range. A new feed key makes new pages.
type pageKey struct {
	epoch, kid string
	first      uint64
	compact    bool
}

// page is a range in as many messages as the limits of a batch, or of a compact page, demand.
type page struct {
	key   pageKey
	parts []batch
	size  int
	// whole says that it never changes: it doesn't end where the feed does.
	whole bool
	open  *events.PageEncoder // of a compact page that isn't whole: its last part goes on from here
}

func (pg *page) last() uint64 {
	if len(pg.parts) == 0 {
		return pg.key.first - 1
	}
	return pg.parts[len(pg.parts)-1].last
}

// flight is a page that is being made; done is closed then.
type flight struct {
	done chan struct{}
	page *page
	err  error
}

// NewPages returns pages that are signed as signer says when they are made.
func NewPages(journal PageSource, signer func() *events.Signer, issuer string) *Pages {
	return &Pages{journal: journal, signer: signer, issuer: issuer, builds: make(chan struct{}, pageBuilds),
		byKey: map[pageKey]*list.Element{}, recent: list.New(), flight: map[pageKey]*flight{}}
}

// Page returns a message that holds the event with a seq and begins at or below it. The errors are [ErrBusy], [ErrGone]
// and those of the database.
func (p *Pages) Page(ctx context.Context, epoch string, from uint64) (Message, error) {
	if from == 0 {
		return Message{}, ErrGone
	}
	key := pageKey{epoch: epoch, kid: p.signer().KeyID(), first: pageOf(from)}
	pg, err := p.get(ctx, key)
	if err != nil {
		return Message{}, err
	}
	return pg.holding(from)
}

// holding returns the message with an event.
func (pg *page) holding(seq uint64) (Message, error) {
	for _, part := range pg.parts {
		if seq <= part.last {
			return part.message, nil
		}
	}
	return Message{}, ErrGone
}

// pageOf returns the first seq of the page that holds a seq.
func pageOf(seq uint64) uint64 { return (max(seq, 1)-1)/pageSize*pageSize + 1 }

// get takes a page from the cache, waits for whoever makes it, or makes it.
func (p *Pages) get(ctx context.Context, key pageKey) (*page, error) {
	p.mu.Lock()
	known := p.lookUp(key)
	if known != nil && known.whole {
		p.mu.Unlock()
		return known, nil
	}
	if f, ok := p.flight[key]; ok {
		p.mu.Unlock()
		select {
		case <-f.done:
			return f.page, f.err
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	select {
	case p.builds <- struct{}{}:
	default:
		p.mu.Unlock()
		return nil, ErrBusy
	}
	f := &flight{done: make(chan struct{})}
	p.flight[key] = f
	p.mu.Unlock()

	f.page, f.err = p.build(ctx, key, known)
	<-p.builds
	p.land(key, f)
	return f.page, f.err
}

// lookUp returns what is kept of a page. The caller holds the lock.
func (p *Pages) lookUp(key pageKey) *page {
	e, ok := p.byKey[key]
	if !ok {
		return nil
	}
	p.recent.MoveToFront(e)
	return e.Value.(*page)
}

func (p *Pages) land(key pageKey, f *flight) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.flight, key)
	if f.err == nil && (f.page.whole || key.compact) {
		p.keep(f.page)
	}
	close(f.done)
}

// keep replaces what is kept of a page, and lets go of those that nobody has asked for the longest.
func (p *Pages) keep(pg *page) {
	if e, ok := p.byKey[pg.key]; ok {
		p.drop(e)
	}
	p.byKey[pg.key] = p.recent.PushFront(pg)
	p.size += pg.size
	for p.size > pageCacheBytes && p.recent.Len() > 1 {
		p.drop(p.recent.Back())
	}
}

func (p *Pages) drop(e *list.Element) {
	old := p.recent.Remove(e).(*page)
	delete(p.byKey, old.key)
	p.size -= old.size
}

// build makes a page, or makes what is known of a compact one longer.
func (p *Pages) build(ctx context.Context, key pageKey, known *page) (*page, error) {
	now, err := p.journal.FeedStanding(ctx)
	if errors.Is(err, store.ErrNotFound) || (err == nil && now.Epoch != key.epoch) {
		return nil, ErrGone
	}
	if err != nil {
		return nil, err
	}
	if key.compact {
		return p.buildCompact(ctx, key, known, now)
	}
	prev, rows, err := p.journal.FeedRange(ctx, p.issuer, key.epoch, key.first, key.first+pageSize-1)
	if errors.Is(err, store.ErrNotFound) {
		return nil, ErrGone
	}
	if err != nil {
		return nil, err
	}
	return p.cut(key, prev, rows, now.Floor)
}

func (p *Pages) cut(key pageKey, prev events.Hash, rows []store.FeedRow, floor uint64) (*page, error) {
	pg, signer := &page{key: key}, p.signer()
	for len(rows) > 0 {
		n := neighbours(rows, func(store.FeedRow) bool { return true })
		body, err := encode(key.epoch, prev, rows[:n], floor, false)
		if err != nil {
			return nil, err
		}
		last := rows[n-1]
		pg.parts = append(pg.parts, batch{first: rows[0].Seq, last: last.Seq, message: sign(signer, events.KindFeed, body)})
		pg.size += len(body)
		prev, rows = last.Chain, rows[n:]
	}
	pg.whole = pg.last() == key.first+pageSize-1
	return pg, nil
}
