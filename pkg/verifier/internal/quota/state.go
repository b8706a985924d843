package quota

import (
	"sync/atomic"
	"time"

	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/clock"
)

const (
	// Period is how often [Meter.Tick] is to be called.
	Period = time.Second
	// askAgain is how often it is asked about what is used up: others may give back what they hold.
	askAgain = time.Second
	// forgetAfter is how long something has to be idle to be forgotten.
	forgetAfter = 10 * time.Second
	// mostWanted bounds what one process asks for.
	mostWanted = 1 << 30
)

// state is what is known of a user and a resource. All but the first group is guarded by Meter.mu.
type state struct {
	user     events.ID
	resource *Resource
	next     atomic.Pointer[state] // in the bucket
	grant    atomic.Pointer[grant] // nil before the first
	used     atomic.Bool           // without a limit there is nothing else to see it by

	removed bool
	queued  bool // it will be in the next questions,
	urgent  bool // before others
	asking  bool // it is in the question in flight

	waiters chan struct{} // closed by the next answer, or by its failure; nil if nobody waits
	takers  []*Taking

	told      bool          // that nothing is left of the quota,
	toldAt    clock.Reading // or asked again
	acked     int64         // what authsvc knows was spent in the term
	loose     int64         // let through before there was a first grant,
	looseFrom clock.Reading // beginning then

	// What the demand is guessed by.
	want     int64
	hurried  bool  // more is needed before the next tick
	tried    int64 // requests that have waited since the last question
	counted  int64 // spent by the last tick
	lastUsed clock.Reading
}

// take spends one of what is allowed. It also tells the spender by whom more than half is spent.
func (s *state) take(now clock.Reading) (taken, half bool) {
	g := s.grant.Load()
	switch {
	case g == nil || g.over(now):
		return false, false
	case g.purse == nil:
		if !s.used.Load() {
			s.used.Store(true)
		}
		return true, false
	}
	left := g.take()
	return left >= 0, left >= 0 && left == g.low
}

// entry makes the state's part of a question; see point 2 of the package's comment.
func (s *state) entry(now clock.Reading) events.QuotaEntry {
	if s.hurried {
		s.want = min(2*s.want+s.tried, mostWanted)
	}
	s.hurried, s.tried = false, 0
	e := events.QuotaEntry{Subject: s.user.String(), Resource: s.resource.Name, Want: s.want, Take: len(s.takers) > 0}
	g := s.grant.Load()
	if g == nil || g.purse == nil {
		return e
	}
	keep := s.want
	if g.over(now) {
		keep = 0
	}
	e.Term, e.Spent = g.term, g.lower(keep)
	return e
}

// apply takes the answer to an entry.
func (s *state) apply(e events.QuotaEntry, given events.QuotaGrant, asked clock.Reading) {
	g := &grant{term: given.Term, asked: asked, endsIn: micros(given.EndsIn), limits: given.Limits}
	old := s.grant.Load()
	if given.Term == 0 {
		s.told = false
		s.grant.Store(g)
		return
	}
	told := e.Want > 0
	if old != nil && old.purse != nil && old.term == given.Term {
		g.purse, g.known, s.acked = old.purse, e.Spent, e.Spent
		told = told || s.told
	} else {
		carried := s.carry(old, e, g)
		g.purse = &purse{allowed: carried}
		g.known, s.acked, s.counted = 0, 0, 0
	}
	g.set(given.Allowed)
	if given.Taken {
		g.left.Add(-1)
		g.known++
		s.acked++
	}
	left := g.left.Load()
	g.low = (left - 1) / 2
	s.told, s.toldAt = told && left <= 0, asked
	s.grant.Store(g)
}

// carry returns what was spent and not yet told when a term begins that wasn't expected: in the old one since the question was
// made, or, before the first, all that was let through, if none of it can have been in an earlier window.
func (s *state) carry(old *grant, e events.QuotaEntry, g *grant) int64 {
	if old != nil && old.purse != nil {
		return old.lower(0) - e.Spent
	}
	loose := s.loose
	s.loose = 0
	for _, l := range g.limits {
		began := time.Duration(l.Window)*time.Second - micros(l.EndsIn) // before the question, at the latest
		if g.asked.Since(s.looseFrom) > began {
			return 0
		}
	}
	return loose
}

// tick looks at the demand of the last period, and reports whether there is something to tell or to ask.
func (s *state) tick(now clock.Reading) bool {
	used := s.tried
	g := s.grant.Load()
	limited := g != nil && g.purse != nil
	if limited {
		spent := g.spent()
		used += spent - s.counted
		s.counted = spent
	} else if s.used.Swap(false) {
		used++
	}
	if used > 0 {
		s.want, s.lastUsed = min(2*used, mostWanted), now
	} else {
		s.want /= 4
	}
	switch {
	case limited && s.told && !g.over(now):
		return s.counted != s.acked // asked again when somebody wants more
	case limited:
		return s.counted != s.acked || g.left.Load() > s.want
	case g != nil:
		return used > 0 && now.Since(g.asked) >= g.endsIn/2
	}
	return used > 0
}

// idle reports whether the state can be forgotten: nobody needs it, authsvc knows what was spent, and nothing is held. Should the
// user come back, authsvc counts anew beside what it knows.
func (s *state) idle(now clock.Reading) bool {
	if s.queued || s.asking || s.waiters != nil || len(s.takers) > 0 || now.Since(s.lastUsed) < forgetAfter {
		return false
	}
	g := s.grant.Load()
	if g == nil || g.purse == nil {
		return true
	}
	return g.left.Load() <= 0 && g.spent() == s.acked
}

// wait returns what the next answer closes.
func (s *state) wait() <-chan struct{} {
	if s.waiters == nil {
		s.waiters = make(chan struct{})
	}
	return s.waiters
}

func (s *state) wake() {
	if s.waiters != nil {
		close(s.waiters)
		s.waiters = nil
	}
}

func micros(n int64) time.Duration {
	const most = int64(1<<63-1) / 1000
	return time.Duration(min(n, most)) * time.Microsecond
}
