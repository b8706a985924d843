package feed

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/tocsin-auth/tocsin/pkg/events"
)

const (
	// forgetAfter is how long an instance that has gone silent stays in the list for operators.
	forgetAfter = time.Minute
	// hearingLife is how long it may be ago that all requests were heard: no longer than the shortest freshness, so that
	// nobody who could be fresh by a request that is still on its way is taken for stale.
	hearingLife = events.MinBound
)

// Fleet knows every verifier that could be fresh, by listening to all proof requests on every replica. It believes a
// service about its own instances only, and nothing that they say changes the feed. It is safe for concurrent use.
type Fleet struct {
	clock    Clock
	progress *progress

	mu        sync.Mutex
	services  map[string]map[origin]*member
	hearing   time.Time // since when every request was heard; zero: it is not so now
	heard     time.Time // up to when
	complete  bool      // every instance that could be fresh has been heard
	lastSwept time.Time
}

// member is one start of one instance.
type member struct {
	epoch   string
	applied uint64
	state   events.State
	bound   time.Duration
	seen    time.Time
	// freshUntil is the latest end of freshness that an answer to anything it asked could give.
	freshUntil time.Time
}

func newFleet(clock Clock, p *progress) *Fleet {
	return &Fleet{clock: clock, progress: p, services: map[string]map[origin]*member{}}
}

// Hearing says that from now on no proof request is missed.
func (f *Fleet) Hearing() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hearing = f.clock.Now()
	f.heard = f.hearing
}

// StillHearing says that every request that the bus had taken at a time since Hearing has been heard.
func (f *Fleet) StillHearing(at time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.heard = at
}

// behind reports whether it is too long ago that all requests were heard.
func (f *Fleet) behind() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.clock.Now().Sub(f.heard) > hearingLife
}

// Deaf says that proof requests may have been missed.
func (f *Fleet) Deaf() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hearing, f.complete = time.Time{}, false
}

// Hear takes note of a request and reports whether it may be answered: an instance beyond the cap isn't counted, so it
// must not become fresh.
func (f *Fleet) Hear(r Request) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sweep(r.Arrived)
	service := f.services[r.Service]
	if service == nil {
		if len(f.services) == maxServices {
			return false
		}
		service = map[origin]*member{}
		f.services[r.Service] = service
	}
	m := service[originOf(r)]
	if m == nil {
		if len(service) == maxInstances {
			return false
		}
		m = &member{}
		service[originOf(r)] = m
	}
	m.hear(r)
	return true
}

func (m *member) hear(r Request) {
	m.bound = time.Duration(r.Proof.Bound) * time.Microsecond
	m.state, m.seen = r.Proof.State, r.Arrived
	if until := m.freshBy(r.Arrived); until.After(m.freshUntil) {
		m.freshUntil = until
	}
	if r.Proof.Epoch > m.epoch || (r.Proof.Epoch == m.epoch && r.Proof.Applied > m.applied) {
		m.epoch, m.applied = r.Proof.Epoch, r.Proof.Applied
	}
}

// freshBy returns how long a request that arrived at a time can make it fresh. It takes S for that time, which is later, so
// that the end isn't too early. A thousandth more allows for clocks that don't run alike.
func (m *member) freshBy(arrived time.Time) time.Time { return arrived.Add(m.bound + m.bound/1000) }

// sweep forgets who is neither fresh nor of interest any more, at most once a second.
func (f *Fleet) sweep(now time.Time) {
	if now.Sub(f.lastSwept) < time.Second {
		return
	}
	f.lastSwept = now
	for name, service := range f.services {
		for from, m := range service {
			if now.After(m.freshUntil) && now.Sub(m.seen) > forgetAfter {
				delete(service, from)
			}
		}
		if len(service) == 0 {
			delete(f.services, name)
		}
	}
}

// Applied tells how many of those that could be fresh have applied a seq.
type Applied struct {
	Applied int
	// Known says that Total counts every instance that could be fresh.
	Known    bool
	Total    int
	Laggards []Laggard
}

// Laggard is an instance that could be fresh and hasn't said that it has applied an event.
type Laggard struct {
	Service  string `json:"service"`
	Instance string `json:"instance"`
}

// Applied counts for a position of the feed; seq 0 is one that everybody has applied. agreed, if not nil, is what was agreed
// on with the dispatcher since that position had its number, see [rollCall].
func (f *Fleet) Applied(epoch string, seq uint64, agreed roster) Applied {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.clock.Now()
	a := Applied{Known: f.hearsAll(now) && (agreed != nil || f.known(now) && f.counts(epoch, seq, now)), Laggards: []Laggard{}}
	for _, service := range f.services {
		for from, m := range service {
			if !now.After(m.freshUntil) || !now.After(agreed[from]) {
				a.count(from, seq == 0 || (m.epoch == epoch && m.applied >= seq))
			}
		}
	}
	for from, until := range agreed {
		if forgotten := f.services[from.service][from] == nil; forgotten && !now.After(until) {
			a.count(from, seq == 0)
		}
	}
	slices.SortFunc(a.Laggards, func(x, y Laggard) int {
		return cmp.Or(cmp.Compare(x.Service, y.Service), cmp.Compare(x.Instance, y.Instance))
	})
	return a
}

func (a *Applied) count(from origin, applied bool) {
	a.Total++
	if applied {
		a.Applied++
		return
	}
	a.Laggards = append(a.Laggards, Laggard{Service: from.service, Instance: from.instance})
}

// counts reports whether whoever could be fresh without a position of the feed is so by an answer of this process, whose
// request it has therefore heard. What the bus has brought here doesn't say so: while nodes of the bus are cut off from
// each other, another process answers what this one can't hear.
func (f *Fleet) counts(epoch string, seq uint64, now time.Time) bool {
	s := f.progress.standing()
	return s.answersAlone(now) && s.covers(epoch, seq)
}

// known reports whether every request that the bus has brought here has been heard for long enough. Whoever became fresh
// by a request from before is stale once the largest bound that any proof was answered for has passed. When this process
// opened the first epoch and heard already, there was nobody before.
func (f *Fleet) known(now time.Time) bool {
	if !f.complete && !f.hearing.IsZero() {
		s := f.progress.standing()
		f.complete = f.hearing.Before(s.firstAt) || s.epoch != "" && now.Sub(f.hearing) > s.maxBound+requestLife
	}
	return f.complete
}

// hearsAll reports whether everything that the bus has brought here was heard until lately.
func (f *Fleet) hearsAll(now time.Time) bool {
	return !f.hearing.IsZero() && now.Sub(f.heard) <= hearingLife
}

// Verifier is one instance as operators see it.
type Verifier struct {
	Service    string
	Instance   string
	State      events.State // its own view; stale when it has been silent for longer than its bound
	Epoch      string
	AppliedSeq uint64
	Lag        uint64 // events that it has still to apply
	LastSeen   time.Time
}

// Verifiers lists the instances that were heard of lately, by service and instance.
func (f *Fleet) Verifiers() []Verifier {
	s := f.progress.standing()
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.clock.Now()
	f.sweep(now)
	all := []Verifier{}
	for _, service := range f.services {
		for from, m := range service {
			all = append(all, m.verifier(from, s, now))
		}
	}
	slices.SortFunc(all, func(x, y Verifier) int {
		return cmp.Or(cmp.Compare(x.Service, y.Service), cmp.Compare(x.Instance, y.Instance), x.LastSeen.Compare(y.LastSeen))
	})
	return all
}

// byState counts the instances that were heard of lately.
func (f *Fleet) byState() map[string]map[events.State]int {
	s := f.progress.standing()
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.clock.Now()
	f.sweep(now)
	counts := make(map[string]map[events.State]int, len(f.services))
	for name, service := range f.services {
		counts[name] = map[events.State]int{events.StateStarting: 0, events.StateFresh: 0, events.StateStale: 0}
		for from, m := range service {
			counts[name][m.verifier(from, s, now).State]++
		}
	}
	return counts
}

func (m *member) verifier(from origin, s standing, now time.Time) Verifier {
	v := Verifier{Service: from.service, Instance: from.instance, State: m.state, Epoch: m.epoch, AppliedSeq: m.applied, LastSeen: m.seen}
	if now.Sub(m.seen) > m.bound {
		v.State = events.StateStale
	}
	switch {
	case m.epoch != s.epoch:
		v.Lag = s.head
	case m.applied < s.head:
		v.Lag = s.head - m.applied
	}
	return v
}
