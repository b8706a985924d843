package revset

import "sync/atomic"

// cell is what an index says of an id: a V that only rises. The zero cell says nothing. Readers load while a writer raises.
type cell[T, V any] interface {
	*T
	load() V
	// raise reports whether v is more than was known. Only writers call it.
	raise(v V) bool
}

type (
	// endings are ids that have ended: there is nothing more to say of them.
	endings = index[ended, struct{}, *ended]
	// levels are numbers of which the greatest counts.
	levels = index[level, uint64, *level]
	// states are what is said of users, of which the highest version counts.
	states = index[state, *UserState, *state]
)

type ended struct{}

func (*ended) load() (v struct{}) { return v }

func (*ended) raise(struct{}) bool { return false }

type level struct{ n atomic.Uint64 }

func (l *level) load() uint64 { return l.n.Load() }

func (l *level) raise(n uint64) bool {
	if n <= l.n.Load() {
		return false
	}
	l.n.Store(n)
	return true
}

type state struct{ user atomic.Pointer[UserState] }

func (s *state) load() *UserState { return s.user.Load() }

func (s *state) raise(u *UserState) bool {
	if old := s.user.Load(); old != nil && old.RV >= u.RV {
		return false
	}
	s.user.Store(u)
	return true
}
