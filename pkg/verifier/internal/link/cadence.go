package link

import (
	"math/rand/v2"
	"sync/atomic"
	"time"
)

const (
	maxAskInterval = 500 * time.Millisecond
	askAgain       = 250 * time.Millisecond // unanswered questions
	askSomebody    = 100 * time.Millisecond // questions that nobody was there to hear, as the bus says
	minAskGap      = 10 * time.Millisecond  // between questions, whoever wants them
)

// cadence decides when to ask. The owner calls due, asked and wait; anybody the rest.
type cadence struct {
	interval   atomic.Int64
	urgent     atomic.Bool
	unanswered atomic.Bool
	unheard    atomic.Bool
	last       time.Time // when the last question was sent
	jitter     float64   // of the next question, from 0 to 1
}

// setBounds derives the interval: a tenth of the smallest bound.
func (c *cadence) setBounds(smallest time.Duration) {
	c.interval.Store(int64(min(smallest/10, maxAskInterval)))
}

// hurry makes the next question come at once.
func (c *cadence) hurry() { c.urgent.Store(true) }

// answered ends the repetition of a question.
func (c *cadence) answered() { c.unanswered.Store(false) }

// nobody notes that the bus had nobody to give the last question to. That is soon otherwise, and such a question costs authsvc nothing.
func (c *cadence) nobody() { c.unheard.Store(true) }

// asked notes that a question is being sent.
func (c *cadence) asked(now time.Time) {
	c.urgent.Store(false)
	c.unanswered.Store(true)
	c.unheard.Store(false)
	c.last = now
	c.jitter = rand.Float64()
}

// sooner returns a duration without a share of it.
func sooner(d time.Duration, share float64) time.Duration {
	return d - time.Duration(share*float64(d))
}

// wait returns how long from now until the next question.
func (c *cadence) wait(now time.Time) time.Duration {
	interval := time.Duration(c.interval.Load())
	switch {
	case c.last.IsZero():
		return 0
	case c.urgent.Load():
		interval = minAskGap
	case c.unanswered.Load() && c.unheard.Load():
		interval = min(interval, sooner(askSomebody, c.jitter/4))
	case c.unanswered.Load():
		interval = min(interval, sooner(askAgain, c.jitter/4)) // those that failed together shouldn't ask together
	default:
		interval = sooner(interval, c.jitter/8) // nor those that an event made ask together, from then on
	}
	return max(0, interval-now.Sub(c.last))
}
