package elite

import (
	"sync"
)

// Shares bound what one service may have of the workers; the rest is always there for the others.
type shares struct {
	workers int // all
	running int // of one service at once
	queued  int // of one service
	total   int // queued, of all services
}

// pool runs tasks of services on a fixed number of workers, the services in turns.
type pool struct {
	shares  shares
	workers sync.WaitGroup

	mu     sync.Mutex
	wake   *sync.Cond        // a turn was added, or closed
	queues map[string]*queue // services with tasks queued or running
	turns  []*queue          // services with a task to run and a worker left of their share, each once
	queued int
	closed bool
}

type queue struct {
	service string
	tasks   []func()
	running int
	inTurns bool
}

func newPool(s shares) *pool {
	p := &pool{shares: s, queues: map[string]*queue{}}
	p.wake = sync.NewCond(&p.mu)
	for range s.workers {
		p.workers.Go(p.work)
	}
	return p
}

// submit queues a task of a service and reports whether there was room. It doesn't block.
func (p *pool) submit(service string, task func()) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	q := p.queues[service]
	if q == nil {
		q = &queue{service: service}
	}
	if p.closed || len(q.tasks) >= p.shares.queued || p.queued >= p.shares.total {
		return false
	}
	p.queues[service] = q
	q.tasks = append(q.tasks, task)
	p.queued++
	p.takeTurn(q)
	return true
}

// takeTurn puts a service at the end of the line if it may run a task.
func (p *pool) takeTurn(q *queue) {
	if !q.inTurns && len(q.tasks) > 0 && q.running < p.shares.running {
		q.inTurns = true
		p.turns = append(p.turns, q)
		p.wake.Signal()
	}
}

func (p *pool) work() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		for len(p.turns) == 0 && !p.closed {
			p.wake.Wait()
		}
		if len(p.turns) == 0 {
			return // closed; tasks beyond a share are run by the worker that frees it
		}
		p.runNext()
	}
}

// runNext runs the first task of the service whose turn it is, without the lock.
func (p *pool) runNext() {
	q := p.turns[0]
	p.turns = p.turns[1:]
	q.inTurns = false
	task := q.tasks[0]
	q.tasks[0] = nil
	q.tasks = q.tasks[1:]
	p.queued--
	q.running++
	p.takeTurn(q)

	p.mu.Unlock()
	task()
	p.mu.Lock()

	q.running--
	p.takeTurn(q)
	if q.running == 0 && len(q.tasks) == 0 {
		delete(p.queues, q.service)
	}
}

// close refuses new tasks and returns when those that were queued have run.
func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	p.wake.Broadcast()
	p.mu.Unlock()
	p.workers.Wait()
}
