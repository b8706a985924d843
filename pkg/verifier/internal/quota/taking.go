package quota

import (
	"slices"

	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/clock"
)

// maxTakers bounds the requests of one user and resource that authsvc is to decide: more than it decides, one after the other, while
// they wait.
const maxTakers = 512

// Taking is one request that authsvc decides, by what everybody has spent.
type Taking struct {
	state           *state
	done            chan struct{}
	answered, taken bool
}

// Take has authsvc asked. Of several requests of one user each has a question of its own. It MUST be followed by the decision or
// by Withdraw.
func (m *Meter) Take(user events.ID, r *Resource, now clock.Reading) *Taking {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := &Taking{state: m.state(user, r, now), done: make(chan struct{})}
	s := t.state
	if s == nil || s.busy || m.busy || len(s.takers) >= maxTakers {
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

// Withdraw is for a request that waits no more: authsvc isn't asked for it any more. If it was, one more may be counted than was
// accepted.
func (m *Meter) Withdraw(t *Taking) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if t.state == nil {
		return
	}
	if i := slices.Index(t.state.takers, t); i >= 0 {
		t.state.takers = slices.Delete(t.state.takers, i, i+1)
		m.takers--
	}
}

// nextTaker takes out the one whose turn it is.
func (m *Meter) nextTaker(s *state) *Taking {
	if len(s.takers) == 0 {
		return nil
	}
	m.takers--
	t := s.takers[0]
	s.takers = slices.Delete(s.takers, 0, 1)
	return t
}

// endTakers has nobody wait.
func (m *Meter) endTakers(s *state) {
	for t := m.nextTaker(s); t != nil; t = m.nextTaker(s) {
		t.end(false, false)
	}
}
