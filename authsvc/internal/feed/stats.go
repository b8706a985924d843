package feed

import (
	"slices"
	"sync"

	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/pkg/events"
)

// Stats is a look at the dispatcher of this process.
type Stats struct {
	Holding bool // it is the dispatcher
	Term    int64
	Epoch   string
	// Head, Floor and Published are seqs of Epoch: the last one, the lowest that is still needed, and the last one up to
	// which all went out on core and are stored in the stream. They go on being told while another process holds the lease.
	Head, Floor, Published uint64
	// Marked is the last seq up to which the database knows all as published; a new term begins after it.
	Marked uint64

	// Counters since the start.
	Takeovers      uint64 // terms begun
	Numbered       uint64 // events
	Answers        uint64 // proofs sent
	LateRequests   uint64 // proof requests dropped because they were too old
	Displaced      uint64 // proof requests given up unread, because their service had sent too many
	AnswerErrors   uint64
	StreamFailures uint64 // messages that the stream didn't take at once
	Repairs        uint64 // republications of floor…head
	StepErrors     uint64

	// StreamAway says that the last look at the stream, or the last message to it, failed; only the dispatcher knows.
	StreamAway bool
	// Waiting are the calls of this process that wait for events to travel.
	Waiting int
	// Importing says that commits were lost and the stream is yet to be read for them; Withheld, that proofs wait for that.
	Importing, Withheld bool
	// Incomplete says that an import of this process couldn't read or verify all that the stream may have held since the backup.
	Incomplete bool
	// Imported are the events that were announced again, Redone those whose effect the tables had forgotten.
	Imported, Redone uint64
	// Verifiers are the instances that were heard of lately, by service and state.
	Verifiers map[string]map[events.State]int
}

// counters collects Stats.
type counters struct {
	mu   sync.Mutex
	s    Stats
	away [streamUses]bool // the stream, to each of its uses
}

// streamUse is a way in which the stream may be away. It is there again when it is so for all.
type streamUse int

const (
	looking streamUse = iota
	publishing
	streamUses
)

func (c *counters) change(f func(s *Stats)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(&c.s)
}

func (c *counters) snapshot() (s Stats) {
	c.change(func(now *Stats) { s = *now })
	return s
}

func (s *Stats) see(l store.Lease) {
	s.Term, s.Epoch, s.Head, s.Floor = l.Term, l.Epoch, l.Head, l.Floor
}

func (c *counters) standby(l store.Lease) { c.change(func(s *Stats) { s.see(l) }) }

func (c *counters) began(l store.Lease) {
	c.change(func(s *Stats) {
		s.see(l)
		s.Holding, s.Published, s.Marked = true, l.Unpublished-1, l.Unpublished-1
		s.Takeovers++
	})
}

func (c *counters) numbered(n store.Numbered, marked uint64) {
	c.change(func(s *Stats) {
		s.Head, s.Floor, s.Marked = n.Head, n.Floor, marked
		s.Numbered += uint64(len(n.Rows))
	})
}

func (c *counters) published(seq uint64) { c.change(func(s *Stats) { s.Published = seq }) }
func (c *counters) lost()                { c.change(func(s *Stats) { s.Holding = false }) }
func (c *counters) late(n int)           { c.change(func(s *Stats) { s.LateRequests += uint64(n) }) }
func (c *counters) displaced(n int)      { c.change(func(s *Stats) { s.Displaced += uint64(n) }) }
func (c *counters) streamFailed()        { c.change(func(s *Stats) { s.StreamFailures++ }) }
func (c *counters) repaired()            { c.change(func(s *Stats) { s.Repairs++ }) }

// streamAway notes whether the stream is away for one of its uses, and reports whether that changes what there is to say.
func (c *counters) streamAway(use streamUse, away bool) (changed bool) {
	c.change(func(s *Stats) {
		before := s.StreamAway
		c.away[use] = away
		s.StreamAway = slices.Contains(c.away[:], true)
		changed = s.StreamAway != before
	})
	return changed
}
func (c *counters) importing(due, withheld bool) {
	c.change(func(s *Stats) { s.Importing, s.Withheld = due, withheld })
}

func (c *counters) imported(i store.Imported) {
	c.change(func(s *Stats) {
		s.Imported += uint64(i.Events)
		s.Redone += uint64(i.Effects)
	})
}

func (c *counters) incomplete() { c.change(func(s *Stats) { s.Incomplete = true }) }
func (c *counters) stepFailed() { c.change(func(s *Stats) { s.StepErrors++ }) }

func (c *counters) answered(err error) {
	c.change(func(s *Stats) {
		if err != nil {
			s.AnswerErrors++
		} else {
			s.Answers++
		}
	})
}
