package link

import (
	"context"
	"sync"
)

// session is the life of one connection: what waits for an answer on it is cut short when it breaks, so that it can
// begin again as soon as the next one stands.
type session struct {
	mu  sync.Mutex
	ctx context.Context
	end context.CancelFunc
}

// begin starts a life within the link's.
func (s *session) begin(link context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.end != nil {
		s.end()
	}
	s.ctx, s.end = context.WithCancel(link)
}

// broken ends it; what asks for a context before the next one begins gets an ended one.
func (s *session) broken() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end()
}

func (s *session) context() context.Context {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ctx
}
