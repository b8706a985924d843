package quota

// Ticket is what a request has at a state.
type Ticket struct {
	// Answered is closed by the next answer, or when none comes.
	Answered <-chan struct{}

	state   *state
	waiting *waiting
	purse   *purse // what was spent from; nil where there is no limit
}

// waiting is requests that wait for the same answer. Guarded by Meter.mu.
type waiting struct {
	answered chan struct{}
	requests int
}

// wait adds a request.
func (s *state) wait() Ticket {
	if s.waiting == nil {
		s.waiting = &waiting{answered: make(chan struct{})}
	}
	s.waiting.requests++
	return Ticket{Answered: s.waiting.answered, state: s, waiting: s.waiting}
}

func (s *state) wake() {
	if s.waiting != nil {
		close(s.waiting.answered)
		s.waiting = nil
	}
}

// Leave is for a request that waits no more: authsvc needn't be asked for it.
func (m *Meter) Leave(t Ticket) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if t.state.waiting != t.waiting {
		return // it was answered
	}
	if t.waiting.requests--; t.waiting.requests == 0 {
		t.state.waiting = nil
	}
}

// Others returns what the next answer to a question closes, for a request whose turn hasn't come: authsvc answers then, but others. It
// returns nil for one that authsvc is asked about.
func (m *Meter) Others(t Ticket) <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	if t.state.asking {
		return nil
	}
	if m.answer == nil {
		m.answer = make(chan struct{})
	}
	return m.answer
}

// PutBack undoes Spent in its term, for a request that was refused after all. A question may have told it to be spent; then another
// request may still be.
func (m *Meter) PutBack(t Ticket) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if g := t.state.grant.Load(); t.purse != nil && g != nil && g.purse == t.purse {
		g.left.Add(1)
		g.returned++
	}
}
