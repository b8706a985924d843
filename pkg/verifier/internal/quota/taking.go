package quota

import (
	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/clock"
)

// Taking is one request that authsvc decides, by what everybody has spent.
type Taking struct {
	done            chan struct{}
	answered, taken bool
}

// Take has authsvc asked. Of several requests of one user each has a question of its own.
func (m *Meter) Take(user events.ID, r *Resource, now clock.Reading) *Taking {
	t := &Taking{done: make(chan struct{})}
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.state(user, r, now)
	if s == nil {
		t.end(false, false)
		return t
	}
	s.lastUsed = now
	s.takers = append(s.takers, t)
	m.takers++
	m.ask(s)
	return t
}

// Done is closed when it is decided.
func (t *Taking) Done() <-chan struct{} { return t.done }

// Taken is for after Done. Without an answer nothing is known.
func (t *Taking) Taken() (taken, answered bool) { return t.taken, t.answered }

func (t *Taking) end(answered, taken bool) {
	t.answered, t.taken = answered, taken
	close(t.done)
}

// nextTaker takes out the one whose turn it is.
func (m *Meter) nextTaker(s *state) *Taking {
	if len(s.takers) == 0 {
		return nil
	}
	m.takers--
	t := s.takers[0]
	s.takers[0] = nil
	s.takers = s.takers[1:]
	return t
}
