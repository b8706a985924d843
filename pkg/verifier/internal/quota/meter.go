package quota

import (
	"hash/maphash"
	"sync"
	"time"

	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/clock"
)

// Meter counts for one process. It is safe for concurrent use. Its owner calls Tick once a [Period], and has Next called, whenever
// Wake tells, until there is nothing to ask: by one goroutine or by several, whose questions are about different states.
type Meter struct {
	table table
	wake  chan struct{}

	mu        sync.Mutex // guards all below, and what states say it does
	resources map[string]*Resource
	states    []*state
	urgent    []*state // to be asked about next,
	routine   []*state // and after those
	away      bool     // the last question that ended got no answer
	resting   bool     // until the next tick, since it is away, unless there are takers
	busy      bool     // until the next tick or answer: it answers, and has too much to do
	putOffs   uint64   // answers that said so
	ending    bool     // the process ends: what is told is told to the last
	takers    int      // who haven't been asked for
	recalls   int
	answer    chan struct{} // closed by the next answer; nil if nobody waits for it

	stats Stats
}

// Stats counts since the start, but for States and Away.
type Stats struct {
	States    int
	Away      bool   // the last question got no answer
	Questions uint64 // asked
	Failures  uint64 // of them, those without an answer,
	Busy      uint64 // and those that were put off, all or in part
	Uncounted uint64 // requests that were let through beyond what was allowed
}

// NewMeter returns a meter that counts nothing yet.
func NewMeter() *Meter {
	return &Meter{wake: make(chan struct{}, 1), resources: map[string]*Resource{}}
}

// Resource returns the one of this name.
func (m *Meter) Resource(name string) *Resource {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.table.buckets == nil {
		m.table.make()
	}
	r := m.resources[name]
	if r == nil {
		r = &Resource{Name: name, salt: maphash.String(seed, name)}
		m.resources[name] = r
	}
	return r
}

var seed = maphash.MakeSeed()

// Wake is where it is told that there is something to ask.
func (m *Meter) Wake() <-chan struct{} { return m.wake }

// Spend spends one of what a user is allowed, and reports whether there was one. It takes no lock.
func (m *Meter) Spend(user events.ID, r *Resource, now clock.Reading) bool {
	s := m.table.find(user, r)
	if s == nil {
		return false
	}
	taken, half := s.take(now)
	if half {
		m.mu.Lock()
		m.refill(s)
		m.mu.Unlock()
	}
	return taken
}

// Verdict says what becomes of a request for which Spend found nothing.
type Verdict int

// The verdicts.
const (
	// Spent: there was one after all.
	Spent Verdict = iota
	// Wait for the answer, and have the request judged again.
	Wait
	// Exceeded: the quota is used up, as far as it may be known.
	Exceeded
	// Away: authsvc can't be asked, or there is no room to count.
	Away
	// Uncounted: as Away, and the request was let through.
	Uncounted
	// Busy: authsvc answers, and has too much to do.
	Busy
)

// SpendOrAsk is for a request for which Spend found nothing. The ticket is for Wait, which MUST be followed by the answer or
// by Leave, and for Spent, which PutBack may undo. A strict request isn't let through uncounted.
func (m *Meter) SpendOrAsk(user events.ID, r *Resource, now clock.Reading, strict bool) (Verdict, Ticket) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.state(user, r, now)
	if s == nil {
		return Away, Ticket{} // nobody knows that authsvc couldn't be asked: so nothing is let through
	}
	taken, half := s.take(now) // an answer may have come meanwhile
	if half {
		m.refill(s)
	}
	switch {
	case taken:
		return Spent, Ticket{state: s, purse: s.grant.Load().purse}
	case s.told && !s.grant.Load().over(now) && (m.away || m.busy || s.busy || now.Since(s.toldAt) < askAgain):
		return Exceeded, Ticket{}
	case m.away:
		s.tried++
		return m.letThrough(s, now, strict), Ticket{}
	case m.busy || s.busy:
		s.tried++
		return Busy, Ticket{}
	}
	s.toldAt = now // whoever comes next needn't wait as well
	s.tried, s.hurried = s.tried+1, true
	t := s.wait()
	m.ask(s)
	return Wait, t
}

func (m *Meter) letThrough(s *state, now clock.Reading, strict bool) Verdict {
	if strict {
		return Away
	}
	m.stats.Uncounted++
	if g := s.grant.Load(); g != nil && g.purse != nil && !g.over(now) {
		g.beyond.Add(1)
		return Uncounted
	}
	if s.loose++; s.loose == 1 {
		s.looseFrom = now
	}
	return Uncounted
}

// state finds or makes one. It returns nil if there are too many.
func (m *Meter) state(user events.ID, r *Resource, now clock.Reading) *state {
	if s := m.table.find(user, r); s != nil {
		return s
	}
	if len(m.states) >= MaxStates {
		return nil
	}
	s := &state{user: user, resource: r, lastUsed: now}
	m.table.insert(s)
	m.states = append(m.states, s)
	return s
}

// refill has a state asked about at once, for more than before, though nobody waits. Callers hold mu.
func (m *Meter) refill(s *state) {
	s.hurried, s.early = true, true
	m.ask(s)
}

// ask has a state asked about at once, or after the answer that it waits for, if it is pressing by then. Callers hold mu.
func (m *Meter) ask(s *state) {
	if s.urgent || s.asking || s.removed {
		return
	}
	s.urgent = true
	m.urgent = append(m.urgent, s)
	m.ring()
}

// report has a state asked about when nothing is urgent. Callers hold mu.
func (m *Meter) report(s *state) {
	s.news = true
	if s.routine {
		return
	}
	s.routine = true
	m.routine = append(m.routine, s)
	m.ring()
}

func (m *Meter) ring() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// Tick looks at the demand of the last [Period], and at what is due.
func (m *Meter) Tick(now clock.Reading) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.resting, m.busy = false, false
	kept := m.states[:0]
	for _, s := range m.states {
		if s.tick(now) {
			m.report(s)
		}
		if s.idle(now) && (len(kept) > 0 || !m.away) {
			s.removed = true
			m.table.remove(s)
			continue
		}
		kept = append(kept, s)
	}
	clear(m.states[len(kept):])
	m.states = kept
	if m.away && len(m.urgent)+len(m.routine) == 0 && len(m.states) > 0 {
		m.report(m.states[0]) // somebody has to find out that authsvc is back
	}
	if len(m.urgent)+len(m.routine) > 0 {
		m.ring()
	}
}

// Settle has everything told and given back that is there, for a process that ends.
func (m *Meter) Settle() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.resting, m.busy, m.ending = false, false, true
	for _, s := range m.states {
		s.want, s.hurried = 0, false
		if s.holds() || s.untold() {
			s.early = true
			m.ask(s)
		}
	}
}

// Recall has everything that is allowed asked for again before it is spent, and forgets what was told to be used up. An answer
// that is on its way counts as lost.
func (m *Meter) Recall() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.recalls++
	m.busy = false
	for _, s := range m.states {
		s.told, s.busy = false, false
		if g := s.grant.Load(); g != nil && g.purse != nil {
			g.lower(0)
		} else {
			s.grant.Store(nil)
		}
	}
}

// Stats returns a snapshot.
func (m *Meter) Stats() Stats {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.stats
	s.States, s.Away = len(m.states), m.away
	return s
}

// Limit is one limit of a user's plan, as far as it is known.
type Limit struct {
	Limit, Left int64
	Window      time.Duration
	EndsIn      time.Duration // of the window
}

// Limits returns those of a user, nil if there are none or they aren't known, and in how long it is worth trying
// again.
func (m *Meter) Limits(user events.ID, r *Resource, now clock.Reading) (limits []Limit, retry time.Duration) {
	s := m.table.find(user, r)
	if s == nil {
		return nil, askAgain
	}
	g := s.grant.Load()
	if g == nil || g.purse == nil {
		return nil, askAgain
	}
	m.mu.Lock()
	since := g.spent() - g.known
	m.mu.Unlock()
	passed := now.Since(g.asked)
	for _, l := range g.limits {
		limit := Limit{
			Limit: l.Limit, Left: max(l.Left-since, 0), Window: time.Duration(l.Window) * time.Second, EndsIn: max(micros(l.EndsIn)-passed, 0),
		}
		if limit.Left == 0 {
			retry = max(retry, limit.EndsIn)
		}
		limits = append(limits, limit)
	}
	if retry == 0 {
		retry = askAgain
	}
	return limits, retry
}
