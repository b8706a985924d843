package events

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
)

// A compact page is a stretch of the feed for who has much to read: the same events as in batches, in a seventh of the
// bytes and a fiftieth of the time, because many share one signature and none is JSON.
//
// It is another spelling and nothing else. An event goes in by its fields only where the bytes that the chain hashes can be
// made of them again, exactly; otherwise its bytes go in as they are. The decoder makes those bytes, and accepts a page
// only if their chain leads from prev to the chain that the page names. So who makes pages is trusted with no more than
// who makes batches: an event that were left out, or told otherwise, would give another chain.
const (
	// PageEvents is the length of the ranges that pages are made of; they begin at 1, PageEvents + 1, and so on.
	PageEvents = 4000
	// MaxPageBytes bounds a page's records; a range that is larger comes in several pages.
	MaxPageBytes = 256 << 10
)

// pageVersion is the first byte of every page.
const pageVersion = 1

// pageHead is the length of what comes before the records: version, epoch, first seq, count, floor, prev, chain.
const pageHead = 1 + len(ID{}) + 8 + 4 + 8 + 2*sha256.Size

// maxPage bounds what DecodePage looks at: one event more than the limit, if that is large.
const maxPage = pageHead + MaxPageBytes + MaxEventSize + 16

// PageEncoder makes one page. The zero value isn't usable: call [NewPage].
type PageEncoder struct {
	epoch       ID
	first       uint64
	floor       uint64
	prev        Hash
	count       int
	records     []byte
	links       linker
	times       times
	regenerated []byte
}

// NewPage begins a page at a seq, after the events whose chain is prev.
func NewPage(epoch string, first uint64, prev Hash, floor uint64) (*PageEncoder, error) {
	id, err := ParseID(epoch)
	if err != nil {
		return nil, fmt.Errorf("epoch: %w", err)
	}
	if first == 0 {
		return nil, fmt.Errorf("%w: page from 0", ErrInvalid)
	}
	return &PageEncoder{epoch: id, first: first, floor: floor, prev: prev, links: linker{chain: prev}}, nil
}

// Add appends the next event's final bytes. It returns false, and changes nothing, when the page is full.
func (p *PageEncoder) Add(raw []byte) (bool, error) {
	if len(raw) == 0 || len(raw) > MaxEventSize {
		return false, fmt.Errorf("%w: event of %d bytes", ErrInvalid, len(raw))
	}
	if p.count == PageEvents || (p.count > 0 && len(p.records)+len(raw) > MaxPageBytes) {
		return false, nil
	}
	p.records = p.appendRecord(p.records, p.first+uint64(p.count), raw)
	p.links.next(raw)
	p.count++
	return true, nil
}

// Chain returns the chain after the last event that was added.
func (p *PageEncoder) Chain() Hash { return p.links.chain }

// LastSeq returns the seq of the last event that was added; first − 1 before any was.
func (p *PageEncoder) LastSeq() uint64 { return p.first + uint64(p.count) - 1 }

// Encode returns the page. At least one event MUST have been added.
func (p *PageEncoder) Encode() []byte {
	b := make([]byte, 0, pageHead+len(p.records))
	b = append(b, pageVersion)
	b = append(b, p.epoch[:]...)
	b = binary.BigEndian.AppendUint64(b, p.first)
	b = binary.BigEndian.AppendUint32(b, uint32(p.count))
	b = binary.BigEndian.AppendUint64(b, p.floor)
	b = append(b, p.prev[:]...)
	b = append(b, p.links.chain[:]...)
	return append(b, p.records...)
}

// DecodePage reads a compact page and checks that its chain is that of its events. The events have no Raw. It does not
// verify the signature: that comes first.
func DecodePage(body []byte) (Batch, error) {
	if len(body) > maxPage || len(body) < pageHead {
		return Batch{}, fmt.Errorf("%w: page of %d bytes", ErrInvalid, len(body))
	}
	if body[0] != pageVersion {
		return Batch{}, fmt.Errorf("%w: page of version %d", ErrInvalid, body[0])
	}
	d := pageDecoder{rest: body[1:]}
	b := Batch{Epoch: d.id().String(), Compact: true}
	first, count := binary.BigEndian.Uint64(d.take(8)), int(binary.BigEndian.Uint32(d.take(4)))
	b.Floor = binary.BigEndian.Uint64(d.take(8))
	copy(b.Prev[:], d.take(len(b.Prev)))
	copy(b.Chain[:], d.take(len(b.Chain)))
	if first == 0 || count == 0 || count > PageEvents || first+uint64(count) < first {
		return Batch{}, fmt.Errorf("%w: page of %d events from %d", ErrInvalid, count, first)
	}
	if err := d.readEvents(&b, first, count); err != nil {
		return Batch{}, err
	}
	if len(d.rest) != 0 {
		return Batch{}, fmt.Errorf("%w: %d bytes after a page", ErrInvalid, len(d.rest))
	}
	if b.Links[count-1] != b.Chain {
		return Batch{}, fmt.Errorf("%w: chain doesn't match the events", ErrInvalid)
	}
	return b, nil
}

func (d *pageDecoder) readEvents(b *Batch, first uint64, count int) error {
	b.Events, b.Links = make([]Event, 0, count), make([]Hash, 0, count)
	links := linker{chain: b.Prev}
	for i := range count {
		e, raw, err := d.event(first + uint64(i))
		if err != nil {
			return fmt.Errorf("event %d of a page: %w", first+uint64(i), err)
		}
		b.Events, b.Links = append(b.Events, e), append(b.Links, links.next(raw))
	}
	return nil
}

// linker computes a chain without an allocation for each event.
type linker struct {
	chain Hash
	input []byte
}

func (l *linker) next(raw []byte) Hash {
	l.input = append(append(l.input[:0], l.chain[:]...), raw...)
	l.chain = sha256.Sum256(l.input)
	return l.chain
}
