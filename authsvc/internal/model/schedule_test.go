package model

import (
	"time"

	"pgregory.net/rapid"

	"github.com/tocsin-auth/tocsin/authsvc/internal/feed"
	"github.com/tocsin-auth/tocsin/pkg/verifier/verifiermodel"
)

// schedule draws what happens in a world.
type schedule struct {
	*world
	t *rapid.T
}

// actions is what may happen next. Whatever isn't given to somebody is lost or late.
func (s *schedule) actions() map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"mint":              s.mint,
		"revoke":            s.revoke,
		"mint again":        s.mint,
		"begin":             s.begin,
		"round":             s.round,
		"frozen round":      s.frozenRound,
		"crash":             s.crash,
		"stream":            s.stream,
		"look":              s.lookAtStream,
		"bus":               s.outage,
		"database":          s.database,
		"deliver":           s.deliver,
		"deliver in order":  s.deliverInOrder,
		"ask":               func(*rapid.T) { s.oneMachine().ask() },
		"answers":           s.deliverAnswers,
		"round trip":        s.roundTrip,
		"second round trip": s.roundTrip,
		"all is well":       s.allIsWell,
		"catch up":          s.catchUp,
		"fetch keys":        func(*rapid.T) { m := s.oneMachine(); m.awake(); _ = m.FetchKeys() },
		"use a key":         s.useKey,
		"time":              s.passTime,
		"wall clock":        s.setWall,
		"restart":           s.restart,
		"housekeeping":      s.housekeeping,
		"forge":             s.forgeSomething,
		"release":           func(*rapid.T) { s.noCompact = !s.noCompact },
		"page again":        func(*rapid.T) { s.again = 1 + s.pick(len(s.given), "page") },
		"":                  s.check,
	}
}

func (s *schedule) check(t *rapid.T) {
	if err := s.judge(); err != nil {
		t.Fatal(err)
	}
}

func (s *schedule) seldom(label string, n int) bool {
	return rapid.IntRange(0, n-1).Draw(s.t, label) == n-1
}

func (s *schedule) draw(label string, n int) int { return rapid.IntRange(0, n-1).Draw(s.t, label) }

// pick returns an index into a list, preferring the end, where the action is.
func (s *schedule) pick(n int, label string) int {
	if n == 0 {
		s.t.Skip("nothing there")
	}
	if rapid.Bool().Draw(s.t, label+": one of the last") {
		return max(0, n-1-s.draw(label, 4))
	}
	return s.draw(label, n)
}

func (s *schedule) oneMachine() *machine { return s.machines[s.draw("machine", len(s.machines))] }

func (s *schedule) oneReplica() *replica { return s.replicas[s.draw("replica", len(s.replicas))] }

func (s *schedule) oneUser() *user { return s.auth.users[s.draw("user", len(s.auth.users))] }

func (s *schedule) oneCredential(isKey bool) *credential {
	var list []*credential
	for _, c := range s.auth.credentials {
		if c.isKey == isKey {
			list = append(list, c)
		}
	}
	return list[s.pick(len(list), "credential")]
}

// mint keeps the number of credentials small, so that schedules stay fast.
func (s *schedule) mint(t *rapid.T) {
	u := s.oneUser()
	switch {
	case len(s.auth.credentials) > 16 || u.isDisabled():
		t.Skip("enough, or refused")
	case rapid.Bool().Draw(t, "key"):
		s.auth.makeKey(u)
	default:
		s.auth.mint(u, 1+s.draw("more", 2))
	}
}

// begin lets a writer's transaction begin: it commits later, under an early id.
func (s *schedule) begin(*rapid.T) { s.auth.reserved = append(s.auth.reserved, s.journal.Begin()) }

func (s *schedule) revoke(t *rapid.T) {
	a := s.auth
	switch s.draw("change", 10) {
	case 0:
		a.revokeToken(s.oneCredential(false))
	case 1:
		a.revokeSession(s.oneCredential(false))
	case 2:
		a.revokeUser(s.oneUser(), s.seldom("keys", 4))
	case 3:
		if s.seldom("everything", 6) {
			a.revokeBefore(rapid.Bool().Draw(t, "keys"))
		}
	case 4:
		a.changeRole(s.oneUser())
	case 5:
		u := s.oneUser()
		a.disable(u, !u.isDisabled())
	case 6:
		a.endKey(s.oneCredential(true), 0)
	case 7:
		a.endKey(s.oneCredential(true), 10*time.Second)
	case 8:
		c := s.oneCredential(true)
		a.suspend(c, !standing(c.suspended))
	default:
		if s.seldom("keys", 6) {
			a.rotate()
		}
	}
}

// arrived draws requests that have come to a replica: some of the last of all instances, again perhaps.
func (s *schedule) arrived() (some []feed.Request) {
	for range s.draw("requests", 4) {
		if len(s.requests) > 0 {
			some = append(some, s.requests[s.pick(len(s.requests), "request")])
		}
	}
	return some
}

// try lets a replica do a round. That may fail; what it must not do is checked by the judge.
func (s *schedule) try(r *replica, requests []feed.Request, n int, meanwhile func()) {
	if err := s.step(r, requests, n, meanwhile); err != nil {
		s.t.Log(err)
	}
}

func (s *schedule) round(*rapid.T) { s.try(s.oneReplica(), s.arrived(), 0, nil) }

// frozenRound freezes a replica before or after one of its calls, and lets other things happen before it wakes.
func (s *schedule) frozenRound(t *rapid.T) {
	r := s.oneReplica()
	s.try(r, s.arrived(), 1+s.draw("calls", 8), func() {
		for range 1 + s.draw("meanwhile", 4) {
			s.something(t)
		}
	})
}

// something happens while a replica is frozen.
func (s *schedule) something(t *rapid.T) {
	switch s.draw("something", 7) {
	case 0:
		s.advance(2 * time.Second) // whoever waits for the lease gets it
	case 1, 2:
		s.round(t)
	case 3:
		if len(s.auth.credentials) > 0 {
			s.revoke(t)
		}
	case 4:
		s.oneMachine().ask()
	case 5:
		s.everybodyHears()
	default:
		s.roundTrip(t)
	}
}

// crash lets a replica die within its next calls, and starts another in its place, seldom for another issuer.
func (s *schedule) crash(*rapid.T) {
	i := s.draw("replica", len(s.replicas))
	r := s.replicas[i]
	r.Left = s.draw("calls left", 13)
	s.try(r, s.arrived(), 0, nil)
	r.Left = 0
	iss := issuer
	if s.seldom("other issuer", 8) {
		iss = otherIssuer
	}
	s.replicas[i] = s.replica(iss)
	if rapid.Bool().Draw(s.t, "looks first") {
		s.world.look(s.replicas[i])
	}
}

func (s *schedule) stream(*rapid.T) {
	switch s.draw("stream", 6) {
	case 0:
		s.bus.TimeOut(rapid.Bool().Draw(s.t, "stored"))
	case 1:
		s.bus.Wipe()
	case 2:
		s.bus.Truncate(1 + s.draw("messages", 5))
	case 3:
		s.lag = s.draw("lag", 4)
	default:
		s.bus.Settle()
	}
	if err := s.oneReplica().Pump(s.t.Context()); err != nil {
		s.t.Log(err)
	}
}

func (s *schedule) lookAtStream(*rapid.T) { s.world.look(s.oneReplica()) }

func (s *schedule) outage(*rapid.T) {
	s.bus.Away = s.seldom("bus away", 4)
	s.bus.StreamAway = s.seldom("stream away", 3)
}

// wrongTimes are by how much the database's clock may be wrong: never by more than KeyRetention from what it was before.
var wrongTimes = []time.Duration{-10 * time.Minute, 0, 0, 30 * time.Second, 15 * time.Minute, 20 * time.Minute}

// database limits what one transaction numbers, takes a backup, restores it, or has its clock set.
func (s *schedule) database(*rapid.T) {
	switch s.draw("database", 9) {
	case 0:
		s.lose()
	case 1:
		if s.seldom("leap", 2) {
			s.leap(time.Hour)
		}
	case 8:
		s.setDatabase(rapid.SampledFrom(wrongTimes).Draw(s.t, "wrong"))
	case 2, 3, 4:
		s.journal.Limit = s.draw("limit", 4)
	default:
		s.backup = s.journal.Backup()
	}
}

func (s *schedule) deliver(*rapid.T) {
	m := s.oneMachine()
	for range 1 + s.draw("n", 4) {
		m.hear(s.messages[s.pick(len(s.messages), "message")])
	}
}

func (s *schedule) deliverInOrder(*rapid.T) {
	n := 1 + s.draw("n", 12)
	s.oneMachine().hear(s.messages[max(0, len(s.messages)-n):]...)
}

func (s *schedule) everybodyHears() {
	for _, m := range s.machines {
		m.hear(s.messages[max(0, len(s.messages)-12):]...)
	}
}

func (s *schedule) deliverAnswers(*rapid.T) {
	m := s.oneMachine()
	for range 1 + s.draw("n", 3) {
		m.take(s.answers[s.pick(len(s.answers), "answer")])
	}
}

// roundTrip is how things go when nothing fails: so that schedules get somewhere.
func (s *schedule) roundTrip(*rapid.T) {
	m, r := s.oneMachine(), s.oneReplica()
	messages, answers := len(s.messages), len(s.answers)
	s.try(r, []feed.Request{m.ask()}, 0, nil)
	if !s.seldom("events are lost", 3) {
		m.hear(s.messages[messages:]...)
	}
	m.take(s.answers[answers:]...)
	_ = m.FetchKeys()
}

// allIsWell is a moment in which everybody gets everything.
func (s *schedule) allIsWell(*rapid.T) {
	r := s.oneReplica()
	for _, m := range s.machines {
		messages, answers := len(s.messages), len(s.answers)
		s.try(r, []feed.Request{m.ask()}, 0, nil)
		m.hear(s.messages[messages:]...)
		m.take(s.answers[answers:]...)
		_ = m.FetchKeys()
	}
	s.bus.Settle()
	s.advance(150 * time.Millisecond)
	for _, m := range s.machines {
		m.awake()
		if err := m.CatchUp(); err != nil {
			s.t.Log(err)
		}
	}
}

func (s *schedule) catchUp(*rapid.T) {
	m := s.oneMachine()
	m.awake()
	if err := m.CatchUp(); err != nil {
		s.t.Log(err)
	}
}

// useKey has a key resolved, and lets messages come in between its question and the answer.
func (s *schedule) useKey(t *rapid.T) {
	c, m := s.oneCredential(true), s.oneMachine()
	var between []feed.Message
	if rapid.Bool().Draw(t, "races") {
		n := s.draw("n", 6)
		if s.seldom("revoked meanwhile", 3) {
			s.auth.revokeUser(c.user, true)
		}
		between = s.messages[max(0, len(s.messages)-n):]
	}
	m.awake()
	m.meanwhile = func() { m.hear(between...) }
	if _, err := m.call(c, bounds[s.draw("bound", len(bounds))]); err != nil {
		t.Fatal(err)
	}
	m.meanwhile = nil
}

func (s *schedule) passTime(t *rapid.T) {
	s.advance(rapid.SampledFrom([]time.Duration{
		time.Millisecond, time.Millisecond, 150 * time.Millisecond, 150 * time.Millisecond, 2 * time.Second, 4 * time.Second, 4 * time.Second, 20 * time.Second, 40 * time.Second, 7 * time.Minute, 20 * time.Minute,
	}).Draw(t, "time"))
}

func (s *schedule) setWall(t *rapid.T) {
	s.oneMachine().setWall(rapid.SampledFrom([]time.Duration{0, 0, -2 * time.Hour, -20 * time.Second, 20 * time.Second, 10 * time.Minute, 2 * time.Hour}).Draw(t, "wrong"))
}

func (s *schedule) restart(*rapid.T) {
	if s.seldom("restart", 4) {
		s.oneMachine().start()
	}
}

func (s *schedule) housekeeping(*rapid.T) {
	m := s.oneMachine()
	m.awake()
	m.Forget()
	if rapid.Bool().Draw(s.t, "keys too") {
		m.TendKeys(s.t.Context())
	}
}

func (s *schedule) forgeSomething(*rapid.T) {
	if rapid.Bool().Draw(s.t, "answer") {
		s.forgeAnswer(s.requests[s.pick(len(s.requests), "request")])
		return
	}
	s.forge()
}

var _ verifiermodel.Bus = wire{}
