package link

import (
	"context"
	"sync"
	"time"
)

// reconnectPatience is how long after it broke a connection is waited for by those that want to ask something on it. A
// bus that stays away longer is an outage: they had better be refused at once.
const reconnectPatience = time.Second

// session is the life of one connection: what waits for an answer on it is cut short when it breaks, so that it can
// begin again as soon as the next one stands.
type session struct {
	mu  sync.Mutex
	ctx context.Context
	end context.CancelFunc

	broke time.Time     // when the last connection broke
	begun chan struct{} // closed when the next life begins; nil while nobody waits
}

// begin starts a life within the link's.
func (s *session) begin(link context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.end != nil {
		s.end()
	}
	s.ctx, s.end = context.WithCancel(link)
	if s.begun != nil {
		close(s.begun)
		s.begun = nil
	}
}

// broken ends it; what asks for a context before the next one begins gets an ended one.
func (s *session) broken() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end()
	s.broke = time.Now()
}

// next returns a channel that is closed when the next life begins, and how long that is worth waiting for.
func (s *session) next() (<-chan struct{}, time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.begun == nil {
		s.begun = make(chan struct{})
	}
	return s.begun, reconnectPatience - time.Since(s.broke)
}

func (s *session) context() context.Context {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ctx
}
