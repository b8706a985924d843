package store

import (
	"context"
	"sync"
)

// laneWidth is how many transactions that will wait for the same row are let at the database: one that has it, and one that is ready
// to follow.
const laneWidth = 2

// lanes keep those who would wait for the same row from waiting in the database, where each keeps a connection from everybody else,
// and wakes the others up. Who came first goes first.
type lanes struct {
	mu    sync.Mutex
	named map[string]*lane
}

type lane struct {
	places chan struct{}
	here   int // waiting, or let in
}

// enter returns when there is a place in the lane of a name, with what gives it back.
func (l *lanes) enter(ctx context.Context, name string) (leave func(), err error) {
	l.mu.Lock()
	if l.named == nil {
		l.named = map[string]*lane{}
	}
	one := l.named[name]
	if one == nil {
		one = &lane{places: make(chan struct{}, laneWidth)}
		l.named[name] = one
	}
	one.here++
	l.mu.Unlock()
	select {
	case one.places <- struct{}{}:
		return func() { <-one.places; l.left(name, one) }, nil
	case <-ctx.Done():
		l.left(name, one)
		return nil, ctx.Err()
	}
}

func (l *lanes) left(name string, one *lane) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if one.here--; one.here == 0 {
		delete(l.named, name)
	}
}
