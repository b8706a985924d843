package feed

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"testing"

	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/pkg/events"
)

// readCompact reads pages from a seq on, as a verifier does, and checks that they join up.
func readCompact(t testing.TB, p *Pages, from, head uint64) (pages int) {
	t.Helper()
	var chain events.Hash
	for next := from; next <= head; pages++ {
		m, err := p.Compact(t.Context(), pageEpoch, next)
		if err != nil {
			t.Fatalf("page with %d: %v", next, err)
		}
		b, err := events.DecodePage(m.Body)
		if err != nil || m.Form != events.FormCompact {
			t.Fatalf("page with %d: form %q, %v", next, m.Form, err)
		}
		if b.FirstSeq() > next || b.LastSeq() < next || (pages > 0 && b.FirstSeq() == next && b.Prev != chain) {
			t.Fatalf("page with %d holds %d to %d", next, b.FirstSeq(), b.LastSeq())
		}
		next, chain = b.LastSeq()+1, b.Chain
	}
	return pages
}

func TestCompactPagesCoverTheFeed(t *testing.T) {
	s := &scriptedPages{head: 2*events.PageEvents + 10, size: 1}
	p := testPages(s)
	if pages := readCompact(t, p, 1, s.head); pages < 3 {
		t.Errorf("%d pages", pages)
	}
	readCompact(t, p, events.PageEvents+77, s.head)
	for _, from := range []uint64{0, s.head + 1, 4 * events.PageEvents} {
		if _, err := p.Compact(t.Context(), pageEpoch, from); !errors.Is(err, ErrGone) {
			t.Errorf("%d: %v", from, err)
		}
	}
	if _, err := p.Compact(t.Context(), "01920000-0000-7000-8000-00000000000f", 1); !errors.Is(err, ErrGone) {
		t.Errorf("another epoch: %v", err)
	}
}

func TestCompactPagesOfLargeEventsAreSeveralWithinTheirLimits(t *testing.T) {
	s := &scriptedPages{head: 100, size: 60_000}
	p := testPages(s)
	if pages := readCompact(t, p, 1, s.head); pages != 25 { // of four events each
		t.Errorf("%d pages", pages)
	}
	for _, pg := range p.byKey {
		if pg := pg.Value.(*page); len(pg.parts) > compactParts || pg.size > compactParts*(events.MaxPageBytes+200) {
			t.Errorf("from %d: %d parts, %d bytes", pg.key.first, len(pg.parts), pg.size)
		}
	}
}

func TestACompactPageOfAWholeRangeIsMadeOnce(t *testing.T) {
	s := &scriptedPages{head: events.PageEvents, size: 1}
	p := testPages(s)
	readCompact(t, p, 1, s.head)
	s.reads.Store(0)
	readCompact(t, p, 1, s.head)
	if n := s.reads.Load(); n != 0 {
		t.Errorf("%d reads", n)
	}
}

func TestACompactPageThatEndsWithTheFeedGoesOnWithIt(t *testing.T) {
	s := &scriptedPages{size: 20_000}
	p := testPages(s)
	for s.head = 3; s.head < 70; s.head += 9 {
		readCompact(t, p, 1, s.head)
	}
}

// The first events of the floor's range may have been pruned by a release that kept less.
func TestCompactPagesBeginWhereTheFeedStillIs(t *testing.T) {
	p := testPages(&scriptedPages{head: 5000, size: 1, pruned: 1499})
	if pages := readCompact(t, p, 1501, 5000); pages < 2 {
		t.Errorf("%d pages", pages)
	}
	if _, err := p.Compact(t.Context(), pageEpoch, 1499); !errors.Is(err, ErrGone) {
		t.Errorf("what is pruned: %v", err)
	}
}

// branch is a feed whose database is set back and goes on otherwise.
type branch struct {
	head  uint64
	since uint64 // events after it are told otherwise
	chain []events.Hash
	raws  [][]byte
}

func (b *branch) write(to uint64, jti string) {
	if b.chain == nil {
		b.chain = []events.Hash{events.ChainStart("i", pageEpoch)}
	}
	b.chain, b.raws = b.chain[:b.since+1], b.raws[:b.since]
	for seq := b.since + 1; seq <= to; seq++ {
		raw := fmt.Appendf(nil, `{"seq":%d,"type":"token.revoked","at":1,"until":2,"jti":"01920000-0000-7000-8000-%s"}`, seq, jti)
		b.raws, b.chain = append(b.raws, raw), append(b.chain, b.chain[seq-1].Next(raw))
	}
	b.head, b.since = to, to
}

func (b *branch) FeedStanding(context.Context) (store.Lease, error) {
	return store.Lease{FeedPosition: store.FeedPosition{Epoch: pageEpoch, Head: b.head, Chain: b.chain[b.head]}, Floor: 1}, nil
}

func (b *branch) FeedRange(context.Context, string, string, uint64, uint64) (events.Hash, []store.FeedRow, error) {
	return events.Hash{}, nil, store.ErrNotFound
}

func (b *branch) FeedChain(_ context.Context, _, _ string, seq uint64) (events.Hash, error) {
	if seq > b.head {
		return events.Hash{}, store.ErrNotFound
	}
	return b.chain[seq], nil
}

func (b *branch) FeedBodies(_ context.Context, _ string, from, to uint64, each func(uint64, []byte) (bool, error)) error {
	for range 2 { // as if the database had been away
		for seq := from; seq <= min(to, b.head); seq++ {
			if more, err := each(seq, b.raws[seq-1]); err != nil || !more {
				return err
			}
		}
	}
	return nil
}

func branchPages(b *branch) *Pages {
	signer := events.NewSigner("i", ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)))
	return NewPages(b, func() *events.Signer { return signer }, "i")
}

func TestACompactPageOfALostBranchIsMadeAnew(t *testing.T) {
	b := &branch{}
	b.write(50, "000000000001")
	p := branchPages(b)
	for _, to := range []uint64{30, 40, 70} { // fewer events, as many as before and more
		readCompact(t, p, 1, b.head)
		b.since = 20
		b.write(to, fmt.Sprintf("%012d", to))
		m, err := p.Compact(t.Context(), pageEpoch, 1)
		if err != nil {
			t.Fatal(err)
		}
		if page, err := events.DecodePage(m.Body); err != nil || page.Chain != b.chain[to] || page.LastSeq() != to {
			t.Errorf("set back to 20 and gone on to %d: %d, %v", to, page.LastSeq(), err)
		}
	}
}

func TestACompactPageOfADamagedDatabaseIsNotGiven(t *testing.T) {
	b := &branch{}
	b.write(50, "000000000001")
	b.raws[30] = []byte(`{"seq":31,"type":"token.revoked","at":1,"until":2,"jti":"01920000-0000-7000-8000-000000000002"}`)
	if _, err := branchPages(b).Compact(t.Context(), pageEpoch, 1); !errors.Is(err, errCorrupt) {
		t.Errorf("%v", err)
	}
}

func TestCompactPagesAreMadeAheadWhileThereIsRoom(t *testing.T) {
	s := &scriptedPages{head: 3*events.PageEvents + 5, size: 1}
	p := testPages(s)
	for range 3 {
		if !p.readyNext(t.Context()) {
			t.Fatal("nothing was made")
		}
	}
	if p.readyNext(t.Context()) || len(p.byKey) != 3 {
		t.Errorf("%d pages of 3 whole ranges", len(p.byKey))
	}
	s.reads.Store(0)
	readCompact(t, p, 1, 3*events.PageEvents)
	if s.reads.Load() != 0 {
		t.Error("they weren't ready")
	}
	present := pageKey{epoch: pageEpoch, kid: p.signer().KeyID(), first: s.head + 2*events.PageEvents}
	p.keep(&page{key: present, size: pageCacheBytes - p.size})
	s.head += events.PageEvents
	if p.readyNext(t.Context()) {
		t.Error("there was no room")
	}
}

func TestPagesThatNobodyCanUseMakeRoom(t *testing.T) {
	s := &scriptedPages{head: 2*events.PageEvents + 5, size: 1}
	p := testPages(s)
	present := pageKey{epoch: pageEpoch, kid: p.signer().KeyID(), first: 1}
	otherEpoch, otherKey := present, present
	otherEpoch.epoch, otherKey.kid = "01920000-0000-7000-8000-00000000000f", "former"
	for _, key := range []pageKey{otherEpoch, otherKey} {
		p.keep(&page{key: key, size: pageCacheBytes/2 - 1})
	}
	for range 2 {
		if !p.readyNext(t.Context()) {
			t.Fatal("nothing was made")
		}
	}
	p.forget(present, events.PageEvents+1)
	if len(p.byKey) != 1 {
		t.Errorf("%d pages are kept; the first range is below the floor", len(p.byKey))
	}
}
