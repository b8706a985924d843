package liveness

import (
	"context"
	"errors"
	"time"

	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/authsvc/internal/turns"
)

// patience is how long askers wait.
const patience = time.Second

// The errors of questions that were not read. Others are the database's.
var (
	// ErrBusy means that there is no room for more questions of this asker now.
	ErrBusy = errors.New("too many questions are waiting")
	// ErrLate means that a question has waited for so long that nobody waits for its answer any more.
	ErrLate = errors.New("the question waited too long")
)

// Reader reads the primary. Each call is one statement that begins after the call did, and answers all questions in order.
type Reader interface {
	Ask(ctx context.Context, questions []store.Question) ([]store.State, error)
}

// DefaultShares keep a read out of any one asker's reach. More reads at once than these don't answer more on few cores, and
// fewer questions would share each.
var DefaultShares = turns.Shares{Workers: 3, Running: 2, Queued: 1024, Total: 8192, Batch: 64}

// Gatherer reads what has been asked for when a read can begin, all at once. It is safe for concurrent use.
type Gatherer struct {
	// Patience is how long askers wait: a question that has waited longer for its read is dropped, and the read ends a tenth
	// earlier, which leaves time to answer. It may be changed before the first question; that is for tests, whose machines stand
	// still at times.
	Patience time.Duration

	reader Reader
	pool   *turns.Pool[pending]
	reads  context.Context // ends the reads that run when Close has no time left
	cancel context.CancelFunc
}

// pending is a question that waits for its read.
type pending struct {
	question store.Question
	arrived  time.Time
	done     func(store.State, error)
}

// NewGatherer starts a gatherer, which MUST be closed.
func NewGatherer(reader Reader, shares turns.Shares) *Gatherer {
	g := &Gatherer{Patience: patience, reader: remembering(reader)}
	g.reads, g.cancel = context.WithCancel(context.Background())
	g.pool = turns.New(shares, g.read)
	return g
}

// Submit has a question of an asker read. done is called once, by a goroutine that others wait for, after a read that began
// after this call, or with an error. Without room there is no such call, and Submit returns false. It doesn't block.
func (g *Gatherer) Submit(asker string, question store.Question, done func(store.State, error)) bool {
	return g.pool.Submit(asker, pending{question, time.Now(), done})
}

// The askers of this program itself, for what was sent to it over HTTP: who calls, and what callers want to know about, which
// may be so much that it would keep other callers waiting. No resource service has these names.
const (
	Callers      = ""
	Introspected = "?"
)

// Ask is Submit, and waits. The end of ctx ends the wait alone: the read is shared.
func (g *Gatherer) Ask(ctx context.Context, asker string, question store.Question) (store.State, error) {
	type outcome struct {
		state store.State
		err   error
	}
	answered := make(chan outcome, 1)
	if !g.Submit(asker, question, func(s store.State, err error) { answered <- outcome{s, err} }) {
		return store.State{}, ErrBusy
	}
	select {
	case o := <-answered:
		return o.state, o.err
	case <-ctx.Done():
		return store.State{}, ctx.Err()
	}
}

// read answers what has arrived. Every question of a batch was submitted before the read begins: that is the promise.
func (g *Gatherer) read(batch []pending) {
	waiting := batch[:0]
	for _, p := range batch {
		if time.Since(p.arrived) > g.Patience {
			p.done(store.State{}, ErrLate)
			continue
		}
		waiting = append(waiting, p)
	}
	if len(waiting) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(g.reads, g.Patience*9/10)
	defer cancel()
	if err := g.readTogether(ctx, waiting); err != nil {
		g.readEach(ctx, waiting, err)
	}
}

// readTogether answers all questions, or none.
func (g *Gatherer) readTogether(ctx context.Context, batch []pending) error {
	questions := make([]store.Question, len(batch))
	for i, p := range batch {
		questions[i] = p.question
	}
	states, err := g.reader.Ask(ctx, questions)
	if err != nil {
		return err
	}
	for i, p := range batch {
		p.done(states[i], nil)
	}
	return nil
}

// readEach asks one by one what failed together, unless it is the database that fails: then one question that can't be
// answered costs no other its answer.
func (g *Gatherer) readEach(ctx context.Context, batch []pending, err error) {
	alone := len(batch) == 1 || errors.Is(err, store.ErrUnavailable)
	for _, p := range batch {
		if alone || ctx.Err() != nil {
			p.done(store.State{}, err)
			continue
		}
		if err := g.readTogether(ctx, []pending{p}); err != nil {
			p.done(store.State{}, err)
		}
	}
}

// Close takes no more questions and returns when those that have arrived were answered. When ctx ends first, running reads
// are cancelled.
func (g *Gatherer) Close(ctx context.Context) error {
	defer g.cancel()
	stop := context.AfterFunc(ctx, g.cancel)
	defer stop()
	g.pool.Close()
	return ctx.Err()
}
