package quota

import (
	"hash/maphash"
	"sync"
	"time"

	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/clock"
)

// Meter counts for one process. It is safe for concurrent use. Questions are made by one goroutine, which calls Tick once
// a [Period] and, then and whenever Wake tells, Next until there is nothing to ask.
type Meter struct {
	table table
	wake  chan struct{}

	mu        sync.Mutex // guards all below, and what states say it does
	resources map[string]*Resource
	states    []*state
	urgent    []*state // to be asked about next,
	routine   []*state // and after those
	away      bool     // the last question got no answer
	resting   bool     // until the next tick, since it is away, unless there are takers
	takers    int      // who haven't been asked for
	recalls   int

	stats Stats
}

// Stats counts since the start, but for States and Away.
type Stats struct {
	States    int
	Away      bool   // the last question got no answer
	Questions uint64 // asked
	Failures  uint64 // of them, those without an answer
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
		m.hurry(s)
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
)

// SpendOrAsk is for a request for which Spend found nothing. With Wait comes a channel that the answer closes. A strict
// request isn't let through uncounted.
func (m *Meter) SpendOrAsk(user events.ID, r *Resource, now clock.Reading, strict bool) (Verdict, <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.state(user, r, now)
	if s == nil {
		return Away, nil // nobody knows that authsvc couldn't be asked: so nothing is let through
	}
	taken, half := s.take(now) // an answer may have come meanwhile
	if half {
		m.hurry(s)
	}
	switch {
	case taken:
		return Spent, nil
	case s.told && !s.grant.Load().over(now) && (m.away || now.Since(s.toldAt) < askAgain):
		return Exceeded, nil
	case m.away:
		s.tried++
		return m.letThrough(s, now, strict), nil
	}
	s.toldAt = now // whoever comes next needn't wait as well
	s.tried++
	m.hurry(s)
	return Wait, s.wait()
}

func (m *Meter) letThrough(s *state, now clock.Reading, strict bool) Verdict {
	if strict {
		return Away
	}
	m.stats.Uncounted++
	if g := s.grant.Load(); g != nil && g.purse != nil {
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

// hurry has a state asked about at once, for more than before. Callers hold mu.
func (m *Meter) hurry(s *state) {
	s.hurried = true
	m.ask(s)
}

// ask has a state asked about at once. Callers hold mu.
func (m *Meter) ask(s *state) {
	if s.urgent || s.removed {
		return
	}
	s.queued, s.urgent = true, true
	m.urgent = append(m.urgent, s)
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
	m.resting = false
	kept := m.states[:0]
	for _, s := range m.states {
		if s.tick(now) && !s.queued {
			s.queued = true
			m.routine = append(m.routine, s)
		}
		if s.idle(now) {
			s.removed = true
			m.table.remove(s)
			continue
		}
		kept = append(kept, s)
	}
	clear(m.states[len(kept):])
	m.states = kept
	if len(m.urgent)+len(m.routine) == 0 {
		m.away = false // nothing is there to find that out by: who comes next does
	}
}

// Settle has everything told and given back that is there, for a process that ends.
func (m *Meter) Settle() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.resting = false
	for _, s := range m.states {
		g := s.grant.Load()
		s.want, s.hurried = 0, false
		if g != nil && g.purse != nil && (g.left.Load() > 0 || g.spent() != s.acked) {
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
	for _, s := range m.states {
		s.told = false
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
