package quota

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/pkg/verifier/verifiermodel"
)

var pairUser = events.ID{6: 0x70, 8: 0x80, 15: 1}

// service is the verifier's real counting, one start of it.
type service struct {
	*verifiermodel.Quotas
	name     string
	seq      int64
	question *verifiermodel.QuotaQuestion
	answer   *events.QuotaAnswer // nil while the question is on its way
}

// pair sets it against the real ledger.
type pair struct {
	*machine
	clock    *verifiermodel.Clock
	services []*service
	asked    []message // all that ever were
}

func newPair(t *rapid.T) *pair {
	p := &pair{machine: newMachine(t)}
	p.clock = verifiermodel.NewClock(time.UnixMicro(p.now))
	for range rapid.IntRange(1, 3).Draw(t, "services") {
		p.begin()
	}
	return p
}

func (p *pair) begin() {
	p.services = append(p.services, &service{Quotas: verifiermodel.NewQuotas(), name: events.NewNonce()})
}

func (p *pair) service(t *rapid.T) *service { return rapid.SampledFrom(p.services).Draw(t, "service") }

func (p *pair) spend(t *rapid.T) {
	s, patient := p.service(t), rapid.Bool().Draw(t, "patient")
	for range rapid.IntRange(1, 20).Draw(t, "requests") {
		resource, now := s.Resource(resource), p.clock.Now()
		if !s.Spend(pairUser, resource, now) {
			if patient { // has authsvc not asked
				return
			}
			if verdict, _ := s.SpendOrAsk(pairUser, resource, now, true); verdict != verifiermodel.QuotaSpent {
				return
			}
		}
		p.count(p.now, 0)
	}
}

func (p *pair) ask(s *service) {
	if s.question != nil {
		return
	}
	if s.question = s.Next(p.clock.Now()); s.question != nil {
		s.seq++
		s.answer = nil
	}
}

// arrive has authsvc read the question of a service.
func (p *pair) arrive(s *service) {
	if s.question == nil || s.answer != nil {
		return
	}
	s.answer = &events.QuotaAnswer{}
	for _, e := range s.question.Entries {
		asked := message{from: &instance{name: s.name}, asked: report{e, "cars", s.seq}}
		p.asked = append(p.asked, asked)
		s.answer.Grants = append(s.answer.Grants, p.settle(s.name, asked.asked))
	}
}

func (p *pair) finish(s *service, lost bool) {
	switch {
	case s.question == nil:
		return
	case lost || s.answer == nil:
		s.question.Fail()
	default:
		s.question.Answer(*s.answer)
	}
	s.question = nil
}

func (p *pair) talk(t *rapid.T) {
	s := p.service(t)
	p.ask(s)
	p.arrive(s)
	p.finish(s, false)
}

// take is a request of an exact route, whose question may be lost.
func (p *pair) take(t *rapid.T) {
	s := p.service(t)
	p.finish(s, false)
	taking := s.Take(pairUser, s.Resource(resource), p.clock.Now())
	p.ask(s)
	p.arrive(s)
	p.finish(s, rapid.IntRange(0, 3).Draw(t, "lost") == 0)
	<-taking.Done()
	if taken, _ := taking.Taken(); taken {
		p.count(p.now, 0)
	}
}

// repeat has authsvc read a question once more.
func (p *pair) repeat(t *rapid.T) {
	if len(p.asked) > 0 {
		m := rapid.SampledFrom(p.asked).Draw(t, "message")
		m.asked.Take = false // what is taken for nobody counts against everybody: that is known, and not the question here
		p.settle(m.from.name, m.asked)
	}
}

// idle lets so much time pass without a request that what was told may be forgotten.
func (p *pair) idle(*rapid.T) {
	for range 12 {
		p.now += second
		p.clock.Advance(time.Second)
		for _, s := range p.services {
			s.Tick(p.clock.Now())
			for p.finish(s, false); p.pending(s); p.finish(s, false) {
				p.arrive(s)
			}
		}
	}
}

func (p *pair) pending(s *service) bool {
	p.ask(s)
	return s.question != nil
}

func (p *pair) die(t *rapid.T) {
	i := rapid.IntRange(0, len(p.services)-1).Draw(t, "service")
	p.services[i] = &service{Quotas: verifiermodel.NewQuotas(), name: events.NewNonce()}
}

func (p *pair) wait(t *rapid.T) {
	before := p.now
	p.machine.wait(t)
	p.clock.Advance(time.Duration(p.now-before) * time.Microsecond)
}

// The verifier's counting follows the rules that the ledger rests on: together they accept no more than a limit, in any weather.
func TestTheVerifierAndTheLedgerAcceptNoMoreThanTheLimit(t *testing.T) {
	for range 20 {
		rapid.Check(t, func(t *rapid.T) {
			p := newPair(t)
			steps := map[string]func(*rapid.T){
				"spend": p.spend, "spend more": p.spend, "talk": p.talk, "talk more": p.talk, "take": p.take, "repeat": p.repeat, "die": p.die, "wait": p.wait,
				"idle":   p.idle,
				"recall": func(t *rapid.T) { p.service(t).Recall() },
				"ask":    func(t *rapid.T) { p.ask(p.service(t)) },
				"arrive": func(t *rapid.T) { p.arrive(p.service(t)) },
				"answer": func(t *rapid.T) { p.finish(p.service(t), false) },
				"lose":   func(t *rapid.T) { p.finish(p.service(t), true) },
				"tick":   func(t *rapid.T) { p.service(t).Tick(p.clock.Now()) },
				"settle": func(t *rapid.T) { p.service(t).Settle() },
				"":       p.check,
			}
			t.Repeat(steps)
			t.Repeat(steps)
		})
	}
}

// TestTheVerifierAndTheLedgerGiveEverythingOut: in good weather nobody is refused while something is left.
func TestTheVerifierAndTheLedgerGiveEverythingOut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := newPair(t)
		for i := range p.limits {
			p.limits[i].Seconds, p.limits[i].Limit = 60, rapid.Int64Range(1, 200).Draw(t, "limit")
		}
		p.limits = p.limits[:1]
		p.now = startOf(60, p.now)
		p.clock = verifiermodel.NewClock(time.UnixMicro(p.now))
		for range 30 {
			p.spend(t)
			p.talk(t)
		}
		for range 10 { // what is idle comes back
			p.now += second
			p.clock.Advance(time.Second)
			for _, s := range p.services {
				s.Tick(p.clock.Now())
				for p.pending(s) {
					p.arrive(s)
					p.finish(s, false)
				}
			}
		}
		last := p.services[0]
		for range 500 {
			p.spendOne(last)
			p.ask(last)
			p.arrive(last)
			p.finish(last, false)
		}
		if got := p.since(windowAt(60, p.now), 0); got != p.limits[0].Limit {
			t.Fatalf("%d of %d accepted", got, p.limits[0].Limit)
		}
	})
}

func (p *pair) spendOne(s *service) {
	resource, now := s.Resource(resource), p.clock.Now()
	spent := s.Spend(pairUser, resource, now)
	if !spent {
		verdict, _ := s.SpendOrAsk(pairUser, resource, now, true)
		spent = verdict == verifiermodel.QuotaSpent
	}
	if spent {
		p.count(p.now, 0)
	}
}

// A user of an exact route comes back after the instance has forgotten what was taken, as it may.
func TestWhatWasTakenAndForgottenIsNotAllowedAgain(t *testing.T) {
	p := &pair{machine: &machine{log: t.Logf, now: noon, limits: []store.PlanLimit{per(86400, 10)}, holders: map[string]store.QuotaHolder{}},
		clock: verifiermodel.NewClock(time.UnixMicro(noon))}
	p.begin()
	s, accepted := p.services[0], 0
	for range 12 {
		taking := s.Take(pairUser, s.Resource(resource), p.clock.Now())
		p.ask(s)
		p.arrive(s)
		p.finish(s, false)
		if taken, _ := taking.Taken(); taken {
			accepted++
		}
		for s.Spend(pairUser, s.Resource(resource), p.clock.Now()) { // an ordinary route of the same resource
			accepted++
		}
		p.idle(nil)
	}
	if accepted != 10 {
		t.Errorf("%d were accepted of 10", accepted)
	}
}
