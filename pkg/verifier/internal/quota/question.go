package quota

import (
	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/clock"
)

// Question is about up to [events.MaxQuotaEntries] states. It ends with Answer, PutOff or Fail, and until then no other is about
// any of them.
type Question struct {
	Entries []events.QuotaEntry

	meter  *Meter
	recall int
	heard  uint64 // Meter.putOffs, when it was made
	asked  clock.Reading
	states []*state
	takers []*Taking // or nil, of each
}

// Next makes the next question, or returns nil if there is nothing to ask now. The reading MUST be made before it is sent, and
// its number MUST be above those of all questions that have ended.
func (m *Meter) Next(now clock.Reading) *Question {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.busy || m.resting && m.takers == 0 {
		return nil
	}
	q := &Question{meter: m, asked: now, recall: m.recalls, heard: m.putOffs}
	for len(q.states) < events.MaxQuotaEntries {
		s := m.nextState()
		if s == nil {
			break
		}
		s.asking = true
		q.states = append(q.states, s)
		q.Entries = append(q.Entries, s.entry(now))
		q.takers = append(q.takers, m.nextTaker(s))
	}
	if len(q.states) == 0 {
		return nil
	}
	m.stats.Questions++
	if len(m.urgent)+len(m.routine) > 0 {
		m.ring() // for another goroutine
	}
	return q
}

// nextState takes out one that isn't asked about at the moment: one that is pressing still, its waiters may have gone, or else
// one of which there is news still.
func (m *Meter) nextState() *state {
	for len(m.urgent) > 0 {
		s := takeFirst(&m.urgent)
		if s.urgent = false; !s.asking && s.pressing() {
			return s
		}
	}
	for len(m.routine) > 0 {
		s := takeFirst(&m.routine)
		if s.routine = false; !s.asking && s.news {
			return s
		}
	}
	return nil
}

func takeFirst(queue *[]*state) *state {
	s := (*queue)[0]
	(*queue)[0] = nil
	*queue = (*queue)[1:]
	return s
}

// Answer takes an answer that has a grant for each entry.
func (q *Question) Answer(a events.QuotaAnswer) {
	m := q.meter
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hear()
	m.busy = false
	some := false
	for i, s := range q.states {
		if a.Grants[i].Busy {
			some = true
			q.leave(i)
			continue
		}
		if q.recall == m.recalls {
			s.apply(q.Entries[i], a.Grants[i], q.asked)
		}
		if t := q.takers[i]; t != nil {
			t.end(true, a.Grants[i].Taken || a.Grants[i].Term == 0)
		}
		q.done(s)
	}
	if some {
		m.countBusy()
	}
}

// PutOff says that authsvc answers, but not this, since it has too much to do. Nobody waits then, and nothing is asked before the next
// tick, unless another question is answered.
func (q *Question) PutOff() {
	q.meter.mu.Lock()
	defer q.meter.mu.Unlock()
	q.meter.hear()
	q.meter.countBusy()
	q.rest()
}

// Fail says that no good answer came. Nobody waits for another then, except takers. If it was said of another question meanwhile that authsvc is
// busy, it isn't away: this question is put off as well.
func (q *Question) Fail() {
	m := q.meter
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stats.Failures++
	if q.heard != m.putOffs {
		q.rest()
		return
	}
	m.away, m.resting, m.busy = true, true, false
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

// rest has nothing asked until the next tick, and nobody wait for it. Callers hold Meter.mu.
func (q *Question) rest() {
	m := q.meter
	m.busy = true
	for i := range q.states {
		q.leave(i)
	}
	for _, s := range m.urgent {
		m.endTakers(s)
		s.wake()
	}
}

// leave ends an entry that authsvc had no time for: what is known of the state stays as it is, and no request has it asked about before the
// next tick.
func (q *Question) leave(i int) {
	s := q.states[i]
	if t := q.takers[i]; t != nil {
		t.end(false, false)
	}
	q.meter.endTakers(s)
	s.busy = true
	q.done(s)
}

// hear notes that authsvc has answered. Callers hold mu.
func (m *Meter) hear() {
	m.away, m.resting = false, false
	if m.answer != nil {
		close(m.answer)
		m.answer = nil
	}
}

// countBusy notes that authsvc has said that it is busy. Callers hold mu.
func (m *Meter) countBusy() {
	m.putOffs++
	m.stats.Busy++
}

// done releases who has waited, and has asked again what became pressing meanwhile.
func (q *Question) done(s *state) {
	m := q.meter
	s.asking = false
	s.wake()
	s.early = s.early || m.ending && !m.away && !s.busy && s.untold()
	if s.pressing() {
		m.ask(s)
	}
}
