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
	urgent  bool // it is in Meter.urgent
	routine bool // it is in Meter.routine
	asking  bool // it is in a question in flight
	early   bool // to be asked about though nobody waits
	news    bool // to be told
	busy    bool // it was put off, until the next tick

	waiting *waiting // for the next answer, or its failure; nil if nobody waits
	takers  []*Taking

	told      bool          // that nothing is left of the quota but what is allowed,
	toldAt    clock.Reading // or asked again
	acked     int64         // what authsvc knows was spent in the term
	loose     int64         // let through while there was no grant that held,
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
	s.hurried, s.tried, s.early, s.news = false, 0, false, false
	e := events.QuotaEntry{Subject: s.user.String(), Resource: s.resource.Name, Want: s.want, Take: len(s.takers) > 0}
	g := s.grant.Load()
	if g == nil || g.purse == nil {
		return e
	}
	keep := s.want
	if g.over(now) {
		keep = 0
	}
	e.Term, e.Spent = g.term, g.tell(keep)
	return e
}

// apply takes the answer to an entry.
func (s *state) apply(e events.QuotaEntry, given events.QuotaGrant, asked clock.Reading) {
	g := &grant{term: given.Term, asked: asked, endsIn: micros(given.EndsIn), limits: given.Limits}
	old := s.grant.Load()
	if given.Term == 0 {
		s.told, s.loose = false, 0
		s.grant.Store(g)
		return
	}
	told := e.Want > 0
	if old != nil && old.purse != nil && old.term == given.Term {
		g.purse, g.known, s.acked = old.purse, e.Spent, e.Spent
		g.allowed += s.takeLoose(g)
		told = told || s.told
	} else {
		carried := s.takeLoose(g)
		if old != nil && old.purse != nil {
			carried += old.end() // since the question was made, in a term that ended without notice
		}
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
	s.told, s.toldAt = told && left <= 0 || g.isLast(), asked
	if g.low = (left - 1) / 2; s.told {
		g.low = -1 // there is no more to ask for
	}
	s.grant.Store(g)
}

// takeLoose returns all that was let through while there was no grant that held, if none of it can have been in an earlier window than
// the grant's.
func (s *state) takeLoose(g *grant) int64 {
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
	s.busy = false
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
	case s.loose > 0:
		return true
	case limited:
		return s.counted > s.acked || g.left.Load() > s.want
	case g != nil:
		return used > 0 && now.Since(g.asked) >= g.endsIn/2
	}
	return used > 0
}

// idle reports whether the state can be forgotten: nobody needs it, authsvc knows what was spent, and nothing is held. Should the
// user come back, authsvc counts anew beside what it knows.
func (s *state) idle(now clock.Reading) bool {
	if s.urgent || s.routine || s.asking || s.pressing() || now.Since(s.lastUsed) < forgetAfter {
		return false
	}
	return !s.holds() && !s.untold()
}

// holds reports whether something is allowed that wasn't spent.
func (s *state) holds() bool {
	g := s.grant.Load()
	return g != nil && g.purse != nil && g.left.Load() > 0
}

// untold reports whether something was spent or let through that authsvc doesn't know of.
func (s *state) untold() bool {
	g := s.grant.Load()
	return s.loose > 0 || g != nil && g.purse != nil && g.spent() > s.acked
}

// pressing reports whether it shouldn't wait for its turn.
func (s *state) pressing() bool { return s.early || s.waiting != nil || len(s.takers) > 0 }

func micros(n int64) time.Duration {
	const most = int64(1<<63-1) / 1000
	return time.Duration(min(n, most)) * time.Microsecond
}
