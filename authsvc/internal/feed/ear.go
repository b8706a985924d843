package feed

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// ErrUnanswering means that proof requests don't arrive here, or that answers don't come through: whoever holds the lease then
// keeps the fleet from proofs, and gives it to somebody who can answer.
var ErrUnanswering = errors.New("proof requests can't be answered")

// deafAfter is for how long the bus may be silent to who holds the lease: somewhat longer than a connection takes to notice
// that its server is gone and to find another.
const deafAfter = 4 * time.Second

// ear knows whether this process hears proof requests and can answer them. It is safe for concurrent use.
type ear struct {
	mu    sync.Mutex
	heard time.Time // when the bus last let everything through; zero: not yet
	err   error     // of the last look
}

// note takes the outcome of a look, and reports whether it is the first good one after others.
func (e *ear) note(err error, at time.Time) (better bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	better = err == nil && (e.err != nil || e.heard.IsZero())
	if e.err = err; err == nil {
		e.heard = at
	}
	return better
}

// verdict returns nil, or [ErrUnanswering]. Who holds the lease keeps it while the bus may only be slow.
func (e *ear) verdict(holding bool, now time.Time) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case errors.Is(e.err, nats.ErrPermissionViolation):
	case holding && now.Sub(e.heard) <= deafAfter:
		return nil
	case e.err == nil && !e.heard.IsZero() && now.Sub(e.heard) <= deafAfter:
		return nil
	}
	if e.err == nil {
		return ErrUnanswering
	}
	return fmt.Errorf("%w: %w", ErrUnanswering, e.err)
}

// answering returns why this process must not be the dispatcher, if so.
func (f *Feed) answering() error {
	holding := f.Holding()
	if !holding && !f.cfg.ReplyUp() {
		return ErrUnanswering
	}
	err := f.ear.verdict(holding, time.Now())
	if err != nil {
		signal(f.unheard)
	}
	return err
}
