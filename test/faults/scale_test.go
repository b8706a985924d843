package faults

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"
)

// simulation makes the history of a run in which nothing is broken: everything is decided at one moment of its span, by
// what was true then. Its rates are those of the cluster, more or less.
type simulation struct {
	*Recorder
	rng     *rand.Rand
	now     time.Duration
	users   []*simulatedUser
	pool    pool
	dead    map[*credential]bool
	resting map[*credential]bool
	roles   map[string]int
	issued  int
}

type simulatedUser struct {
	name    string
	changes int
	all     []*credential
}

func simulate(length time.Duration, seed uint64) *History {
	const callsPerSecond, changesPerSecond = 730, 5
	s := &simulation{Recorder: NewRecorder(3 * time.Second), rng: rand.New(rand.NewPCG(seed, seed)), pool: pool{hotFor: 5 * time.Second},
		dead: map[*credential]bool{}, resting: map[*credential]bool{}, roles: map[string]int{}}
	for i := range 3 {
		s.Add(Start{at(0, 0), fmt.Sprintf("resource%d", i)})
	}
	s.users = make([]*simulatedUser, 8)
	for n := 0; s.now < length; n++ {
		s.now += time.Second / callsPerSecond
		if n%(callsPerSecond/changesPerSecond) == 0 {
			s.live(s.rng.IntN(len(s.users)))
		}
		if n%(20*callsPerSecond) == 0 {
			s.strike()
		}
		if n%(3*callsPerSecond) == 0 {
			s.Add(Fault{Span: s.around(2 * time.Second), Kind: fmt.Sprintf("kind %d", n%7), Name: "a fault"})
		}
		if n%(callsPerSecond/60) == 0 {
			s.Add(Sample{Span: s.around(time.Millisecond), Instance: fmt.Sprintf("resource%d", n%3), Fresh: true, Age: time.Second / 3})
		}
		s.call()
	}
	return s.History()
}

// around is a span of up to d with the present in it.
func (s *simulation) around(d time.Duration) Span {
	return Span{s.now - time.Duration(s.rng.Int64N(int64(d))), s.now + time.Duration(s.rng.Int64N(int64(d)))}
}

func (s *simulation) live(i int) {
	u := s.users[i]
	if u == nil || u.changes == changesOfALife {
		if u != nil {
			s.pool.retire(u.all)
		}
		s.issued++
		u = &simulatedUser{name: fmt.Sprintf("user%d", s.issued)}
		s.users[i] = u
		s.issue(u, true)
		s.issue(u, false)
	}
	u.changes++
	c := u.all[s.rng.IntN(len(u.all))]
	change := Change{Span: s.around(30 * time.Millisecond), Name: "change", User: u.name, Outcome: Done}
	switch n := s.rng.IntN(10); {
	case n < 4:
		s.issue(u, false)
		return
	case n < 6:
		s.issued++
		s.roles[u.name], change.Role = s.issued, s.issued
	case n < 8 && c.key && !s.dead[c]:
		if s.resting[c] {
			change.Revives = names([]*credential{c})
		} else {
			change.Suspends = names([]*credential{c})
		}
		s.resting[c] = !s.resting[c]
	default:
		s.dead[c], change.Kills = true, names([]*credential{c})
	}
	if s.rng.IntN(50) == 0 {
		change.Outcome = Unknown
	}
	s.Add(change)
	s.pool.heat([]*credential{c}, s.now)
}

func (s *simulation) issue(u *simulatedUser, key bool) {
	c := &credential{name: fmt.Sprintf("%s.%d", u.name, len(u.all)), user: u.name, key: key}
	i := Issue{Span: Span{s.now, s.now}, Credential: c.name, User: u.name, Key: key}
	if !key && len(u.all)%3 == 2 {
		i.Derived, i.Actor, i.Short, i.Life = "exchanged", "a worker", true, time.Minute
	}
	s.Add(i)
	u.all = append(u.all, c)
	s.pool.add(c)
}

func (s *simulation) strike() {
	for _, c := range s.pool.all {
		s.dead[c] = true
	}
	change := Change{Span: Span{s.now, s.now + 20*time.Millisecond}, Name: "strike", Outcome: Done, AllTokens: true, AllKeys: true}
	if s.rng.IntN(20) == 0 {
		change.Outcome = Unknown
	}
	s.Add(change)
	s.pool.heatActive(s.now)
	for i, u := range s.users {
		if u != nil {
			s.pool.retire(u.all)
			s.users[i] = nil
		}
	}
}

func (s *simulation) call() {
	c := s.pool.pick(s.rng)
	if c == nil {
		return
	}
	done := Call{Span: s.around(10 * time.Millisecond), Instance: fmt.Sprintf("resource%d", s.rng.IntN(3)), Credential: c.name, Elite: s.rng.IntN(5) == 0}
	done.Status, done.Role = 200, s.roles[c.user]
	if s.dead[c] || s.resting[c] {
		done.Status, done.Code, done.Role = 401, "revoked", 0
	}
	s.Add(done)
}

// In what was simulated nothing is broken.
func TestASimulatedHistoryBreaksNothing(t *testing.T) {
	for _, v := range Validate(simulate(20*time.Second, 1)).Broken {
		t.Error(v)
	}
}

// A run of an hour has to be validated in a minute or two, in less than 2 GB.
func BenchmarkValidateAnHour(b *testing.B) {
	h := simulate(time.Hour, 2)
	for b.Loop() {
		if r := Validate(h); len(r.Broken) > 0 {
			b.Fatal(r.Complaint())
		}
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	b.ReportMetric(float64(m.Sys)/1e6, "MB")
	b.ReportMetric(float64(len(h.Calls)), "calls")
}
