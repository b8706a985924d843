package events

import "bytes"

// scanBatch reads a batch in the one form that [EncodeBatch] gives it, of events that scanEvent reads. It is only to be fast,
// as one message can have thousands of users: what it reads, it reads as decodeBatch does; what it doesn't read is for that,
// whatever is the matter with it.
func scanBatch(body []byte) (Batch, bool) {
	s := scanner{rest: bytes.Clone(body)} // events keep their bytes, and the body is the caller's
	b, first := s.envelope()
	links := linker{chain: b.Prev}
	for open := ``; !s.bad && !s.hasPassed(`]}`); open = `,` {
		s.pass(open)
		from := s.rest
		e := s.event()
		e.Raw = from[:len(from)-len(s.rest)]
		if s.bad || e.Seq != first+uint64(len(b.Events)) || !e.sound() || len(e.Raw) > MaxEventSize {
			return Batch{}, false
		}
		b.Events, b.Links = append(b.Events, e), append(b.Links, links.next(e.Raw))
	}
	count := len(b.Events)
	return b, !s.bad && len(s.rest) == 0 && count > 0 && count <= MaxBatchEvents && links.chain == b.Chain
}

// envelope passes over what comes before the events.
func (s *scanner) envelope() (b Batch, first uint64) {
	b.Epoch = s.id(`{"epoch":`)
	s.pass(`,"first_seq":`)
	first = s.count()
	b.Prev = s.hash(`,"prev":"`)
	b.Chain = s.hash(`,"chain":"`)
	s.pass(`,"floor":`)
	b.Floor = s.count()
	b.Ack = s.hasPassed(`,"ack":true`)
	s.pass(`,"events":[`)
	return b, first
}

// count passes over a number that isn't negative.
func (s *scanner) count() uint64 {
	n := s.number()
	if n < 0 {
		s.bad, s.rest = true, nil
		return 0
	}
	return uint64(n)
}

// hash passes over what opens it, and a hash with the quote that closes it.
func (s *scanner) hash(open string) (h Hash) {
	s.pass(open)
	if h.UnmarshalText(s.until('"')) != nil {
		s.bad, s.rest = true, nil
	}
	return h
}
