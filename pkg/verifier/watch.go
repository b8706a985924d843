package verifier

import (
	"sync"
	"time"
)

const (
	// lookAgain is how often long answers are judged although nothing was heard: clocks that were set are noticed then.
	lookAgain = 250 * time.Millisecond
	// restAfter is the least time between two looks: what changes meanwhile is judged together.
	restAfter = 10 * time.Millisecond
	// restShare bounds what the looks cost: of any time they take one part in ten, unless a look takes so long that resting
	// for restAtMost is less.
	restShare  = 9
	restAtMost = 100 * time.Millisecond
)

// lives are the long answers in progress.
type lives struct {
	mu     sync.Mutex
	all    []*live
	closed bool // no more are taken

	wake    chan struct{} // one ends earlier than the watch thinks
	errands places
}

func newLives(errands int) *lives {
	return &lives{wake: make(chan struct{}, 1), errands: make(places, errands)}
}

// places bounds what runs at once.
type places chan struct{}

func (p places) enter() bool {
	select {
	case p <- struct{}{}:
		return true
	default:
		return false
	}
}

func (p places) leave() { <-p }

// add reports false after Close.
func (ls *lives) add(l *live) bool {
	ls.mu.Lock()
	if ls.closed {
		ls.mu.Unlock()
		return false
	}
	l.place = len(ls.all)
	ls.all = append(ls.all, l)
	first := l.place == 0
	ls.mu.Unlock()
	if first || l.lasts(l.v.clock.Now()) < lookAgain {
		select {
		case ls.wake <- struct{}{}:
		default:
		}
	}
	return true
}

// remove may be called more than once.
func (ls *lives) remove(l *live) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if l.place < 0 {
		return
	}
	last := len(ls.all) - 1
	ls.all[l.place] = ls.all[last]
	ls.all[l.place].place = l.place
	ls.all[last] = nil
	ls.all, l.place = ls.all[:last], -1
}

func (ls *lives) len() int {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	return len(ls.all)
}

// appendTo returns those of this moment, so that they can be judged without the lock.
func (ls *lives) appendTo(to []*live) []*live {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	return append(to, ls.all...)
}

func (ls *lives) close() {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	ls.closed = true
}

// watch judges all long answers again after each change, when the first could end, and now and then. It ends with Close,
// and ends them all.
func (v *Verifier) watch() {
	var round []*live
	timer := time.NewTimer(0)
	defer timer.Stop()
	for v.life.Err() == nil {
		news := v.news.wait() // before the look: what it misses rings
		round = v.lives.appendTo(round[:0])
		rest, next := v.lookAt(round)
		clear(round)
		timer.Reset(rest)
		select {
		case <-timer.C:
		case <-v.life.Done():
		}
		timer.Reset(next - rest)
		select {
		case <-timer.C:
		case <-news:
		case <-v.lives.wake:
		case <-v.life.Done():
		}
	}
	v.lives.close()
	for _, l := range v.lives.appendTo(round[:0]) {
		l.end(ErrStale)
	}
}

// lookAt judges each, and returns how long to rest, and in how long the first could end.
func (v *Verifier) lookAt(round []*live) (rest, next time.Duration) {
	if len(round) == 0 {
		return 0, time.Hour
	}
	began, now := time.Now(), v.clock.Now()
	next = lookAgain
	for _, l := range round {
		l.rejudge(now)
		next = min(next, l.lasts(now))
	}
	return min(max(restAfter, restShare*time.Since(began)), restAtMost), max(next, time.Millisecond)
}
