// Package turns runs what many askers want on a few workers, so that none of them can keep the workers from the others: each
// asker has a bounded queue and a bounded number of workers, and they are served in turns. What has queued when a worker
// is free is handed to it together.
package turns

import (
	"slices"
	"sync"
)

// Shares bound what one asker may have of the workers; the rest is always there for the others.
type Shares struct {
	Workers int // all
	Running int // that run something of one asker at once
	Queued  int // of one asker
	Total   int // queued, of all askers: then only those who have less than an equal part may queue more, and never twice as many in all
	Batch   int // that one worker runs together, of all askers
}

// Pool runs items on a fixed number of workers until it is closed. It is safe for concurrent use.
type Pool[T any] struct {
	shares  Shares
	run     func(batch []T)
	workers sync.WaitGroup

	mu     sync.Mutex
	wake   *sync.Cond           // a turn was added, or closed
	queues map[string]*queue[T] // askers with items queued or running
	turns  []*queue[T]          // askers with an item to run and a worker left of their share, each once
	queued int
	closed bool
}

type queue[T any] struct {
	asker   string
	items   []T
	running int // workers
	inTurns bool
	inBatch bool // of the worker that is taking one
}

// New starts the workers. run gets at least one item, each after it was submitted, in the order of each asker; the slice is
// its own. Several workers run it at once.
func New[T any](s Shares, run func(batch []T)) *Pool[T] {
	p := &Pool[T]{shares: s, run: run, queues: map[string]*queue[T]{}}
	p.wake = sync.NewCond(&p.mu)
	for range s.Workers {
		p.workers.Go(p.work)
	}
	return p
}

// Submit queues an item of an asker and reports whether there was room. It doesn't block.
func (p *Pool[T]) Submit(asker string, item T) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	q := p.queues[asker]
	if q == nil {
		q = &queue[T]{asker: asker}
	}
	if p.closed || len(q.items) >= p.shares.Queued || p.queued >= p.shares.Total && !p.hasFew(q) {
		return false
	}
	p.queues[asker] = q
	q.items = append(q.items, item)
	p.queued++
	p.takeTurn(q)
	return true
}

// hasFew reports whether there is room for one more of an asker although the others have filled the queues.
func (p *Pool[T]) hasFew(q *queue[T]) bool {
	return p.queued < 2*p.shares.Total && (len(q.items)+1)*(len(p.queues)+1) <= p.shares.Total
}

// takeTurn puts an asker at the end of the line if a worker may run something of it.
func (p *Pool[T]) takeTurn(q *queue[T]) {
	if !q.inTurns && len(q.items) > 0 && q.running < p.shares.Running {
		q.inTurns = true
		p.turns = append(p.turns, q)
		p.wake.Signal()
	}
}

func (p *Pool[T]) work() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		for len(p.turns) == 0 && !p.closed {
			p.wake.Wait()
		}
		if len(p.turns) == 0 {
			return // closed; items beyond a share are run by the worker that frees it
		}
		p.runBatch()
	}
}

// runBatch runs what has queued, without the lock.
func (p *Pool[T]) runBatch() {
	batch, askers := p.take()
	p.mu.Unlock()
	p.run(batch)
	p.mu.Lock()
	for _, q := range askers {
		q.running--
		p.takeTurn(q)
		if q.running == 0 && len(q.items) == 0 {
			delete(p.queues, q.asker)
		}
	}
}

// take takes items out of the queues, one of each asker in turns, and returns them with the askers that have some among them.
func (p *Pool[T]) take() (batch []T, askers []*queue[T]) {
	for len(p.turns) > 0 && len(batch) < p.shares.Batch {
		q := p.turns[0]
		p.turns = p.turns[1:]
		batch = append(batch, q.pop())
		p.queued--
		if !q.inBatch {
			q.inBatch = true
			q.running++
			askers = append(askers, q)
		}
		if q.inTurns = len(q.items) > 0; q.inTurns {
			p.turns = append(p.turns, q)
		}
	}
	for _, q := range askers {
		q.inBatch = false
		if q.inTurns && q.running >= p.shares.Running {
			q.inTurns = false
			p.turns = slices.DeleteFunc(p.turns, func(other *queue[T]) bool { return other == q })
		}
	}
	if len(p.turns) > 0 {
		p.wake.Signal()
	}
	return batch, askers
}

func (q *queue[T]) pop() T {
	var none T
	item := q.items[0]
	q.items[0] = none
	q.items = q.items[1:]
	return item
}

// Close refuses new items and returns when those that were queued have run.
func (p *Pool[T]) Close() {
	p.mu.Lock()
	p.closed = true
	p.wake.Broadcast()
	p.mu.Unlock()
	p.workers.Wait()
}
