package quota

import (
	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/clock"
)

// Question is about up to [events.MaxQuotaEntries] states. It ends with Answer or with Fail, and there is no other until then.
type Question struct {
	Entries []events.QuotaEntry

	meter  *Meter
	recall int
	asked  clock.Reading
	states []*state
	takers []*Taking // or nil, of each
}

// Next makes the next question, or returns nil if there is nothing to ask now. The reading MUST be made before it is sent.
func (m *Meter) Next(now clock.Reading) *Question {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.resting && m.takers == 0 {
		return nil
	}
	q := &Question{meter: m, asked: now, recall: m.recalls}
	for len(q.states) < events.MaxQuotaEntries {
		s := m.nextState()
		if s == nil {
			break
		}
		s.queued, s.urgent, s.asking = false, false, true
		q.states = append(q.states, s)
		q.Entries = append(q.Entries, s.entry(now))
		q.takers = append(q.takers, m.nextTaker(s))
	}
	if len(q.states) == 0 {
		return nil
	}
	m.stats.Questions++
	return q
}

// nextState takes one out that wasn't asked about from the other queue.
func (m *Meter) nextState() *state {
	for _, queue := range []*[]*state{&m.urgent, &m.routine} {
		for len(*queue) > 0 {
			s := (*queue)[0]
			(*queue)[0] = nil
			*queue = (*queue)[1:]
			if s.queued {
				return s
			}
		}
	}
	return nil
}

// Answer takes an answer that has a grant for each entry.
func (q *Question) Answer(a events.QuotaAnswer) {
	m := q.meter
	m.mu.Lock()
	defer m.mu.Unlock()
	m.away = false
	for i, s := range q.states {
		if q.recall == m.recalls {
			s.apply(q.Entries[i], a.Grants[i], q.asked)
		}
		if t := q.takers[i]; t != nil {
			t.end(true, a.Grants[i].Taken || a.Grants[i].Term == 0)
		}
		q.done(s)
	}
}

// Fail says that no good answer came. Nobody waits for another then, except takers.
func (q *Question) Fail() {
	m := q.meter
	m.mu.Lock()
	defer m.mu.Unlock()
	m.away, m.resting = true, true
	m.stats.Failures++
	for i, s := range q.states {
		if t := q.takers[i]; t != nil {
			t.end(false, false)
		}
		q.done(s)
	}
	for _, s := range m.urgent {
		s.wake()
	}
}

// done releases who has waited, and has those asked for next whose turn it wasn't.
func (q *Question) done(s *state) {
	s.asking = false
	s.wake()
	if len(s.takers) > 0 {
		q.meter.ask(s)
	}
}
