package quota

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/clock"
)

var (
	alice = events.ID{6: 0x70, 8: 0x80, 15: 1}
	bob   = events.ID{6: 0x70, 8: 0x80, 15: 2}
)

// mostFlights is how many questions a process asks at once.
const mostFlights = 3

// process is one start of a service.
type process struct {
	*Meter
	start   string
	seq     uint64
	flights []*flight
	spent   []reserved
	tickets []Ticket // of those who wait
}

// flight is a question on its way.
type flight struct {
	*Question
	seq    uint64
	answer *events.QuotaAnswer // nil before it has arrived
}

// reserved is what a request has spent that isn't accepted yet.
type reserved struct {
	Ticket
	user events.ID
	term int64
}

type sent struct {
	start   string
	seq     uint64
	entries []events.QuotaEntry
}

// counted is a window of a user, by its index and number.
type counted struct {
	user   events.ID
	index  int
	number int64
}

// world sets processes against the authority, over a bus that loses, repeats and reorders.
type world struct {
	*rapid.T
	*authority
	clock     *clock.Fake
	processes []*process
	resource  map[*process]*Resource
	starts    int
	wire      []sent
	user      events.ID // who comes next
	accepted  map[counted]int64
	uncounted bool // something was let through
	answering bool // authsvc gives an answer to every question, that it is busy if no other
}

func newWorld(t *rapid.T, windows ...window) *world {
	return &world{
		T: t, authority: newAuthority(windows...), clock: clock.NewFake(time.Unix(1_800_000_000, 0)),
		resource: map[*process]*Resource{}, user: alice, accepted: map[counted]int64{},
	}
}

func (w *world) begin() *process {
	w.starts++
	p := &process{Meter: NewMeter(), start: fmt.Sprint(w.starts)}
	w.resource[p] = p.Resource("ai-jobs")
	return p
}

func (w *world) pick() *process { return rapid.SampledFrom(w.processes).Draw(w.T, "process") }

func (w *world) spend(p *process, strict bool) { w.spendAt(p, w.clock.Now(), w.authority.now, strict) }

// spendAt is of a request that was slow: it looked at the clock a while ago. It counts in the window that its term is of, which
// MUST be one that the request has seen.
func (w *world) spendAt(p *process, now clock.Reading, at int64, strict bool) {
	if p.Spend(w.user, w.resource[p], now) {
		w.accept(w.user, w.termOf(p, at))
	} else if r, spent := w.reserve(p, now, at, strict); spent {
		w.accept(w.user, r.term)
	}
}

// reserve is of a request that may be refused after it has spent.
func (w *world) reserve(p *process, now clock.Reading, at int64, strict bool) (r reserved, spent bool) {
	verdict, ticket := p.SpendOrAsk(w.user, w.resource[p], now, strict)
	w.uncounted = w.uncounted || verdict == Uncounted
	switch verdict {
	case Wait:
		p.tickets = append(p.tickets, ticket)
	case Spent:
		return reserved{ticket, w.user, w.termOf(p, at)}, true
	}
	return r, false
}

func (w *world) termOf(p *process, at int64) int64 {
	term := p.table.find(w.user, w.resource[p]).grant.Load().term - 1
	if term < at {
		w.Fatalf("spent in a term that ended %d µs before the request began", at-term)
	}
	return term
}

func (w *world) accept(user events.ID, at int64) {
	for i, win := range w.windows {
		n := win.seconds * 1e6
		if at/n > w.authority.now/n {
			w.Fatal("spent in a window that hasn't begun")
		}
		key := counted{user, i, at / n}
		if w.accepted[key]++; w.accepted[key] > win.limit {
			w.Fatalf("%d accepted in a window of %d", w.accepted[key], win.limit)
		}
	}
}

func (w *world) ask(p *process) {
	if len(p.flights) == mostFlights {
		return
	}
	q := p.Next(w.clock.Now())
	if q == nil {
		return
	}
	p.seq++
	w.wire = append(w.wire, sent{p.start, p.seq, q.Entries})
	p.flights = append(p.flights, &flight{Question: q, seq: p.seq})
}

// arrive has authsvc read a question of a process.
func (w *world) arrive(p *process) {
	if f := w.flight(p); f != nil && f.answer == nil {
		a := w.authority.answer(p.start, f.seq, f.Entries)
		f.answer = &a
	}
}

// arriveBusy has authsvc read a question of a process, and count some entries only.
func (w *world) arriveBusy(p *process) {
	f := w.flight(p)
	if f == nil || f.answer != nil {
		return
	}
	f.answer = &events.QuotaAnswer{}
	for _, e := range f.Entries {
		g := events.QuotaGrant{Term: w.authority.term(), EndsIn: 1, Busy: true}
		if rapid.Bool().Draw(w.T, "counted") {
			g = w.authority.grant(p.start, f.seq, e)
		}
		f.answer.Grants = append(f.answer.Grants, g)
	}
}

func (w *world) putOff(p *process) {
	if f := w.flight(p); f != nil {
		f.PutOff()
		p.flights = slices.DeleteFunc(p.flights, func(other *flight) bool { return other == f })
	}
}

func (w *world) flight(p *process) *flight {
	if len(p.flights) < 2 {
		return append(p.flights, nil)[0]
	}
	return rapid.SampledFrom(p.flights).Draw(w.T, "question")
}

func (w *world) finish(p *process, lost bool) {
	f := w.flight(p)
	switch {
	case f == nil:
		return
	case (lost || f.answer == nil) && w.answering:
		f.PutOff()
	case lost || f.answer == nil:
		f.Fail()
	default:
		f.Answer(*f.answer)
	}
	p.flights = slices.DeleteFunc(p.flights, func(other *flight) bool { return other == f })
}

// finishAll ends what is on its way, and what is left to ask.
func (w *world) finishAll(p *process) {
	for len(p.flights) > 0 {
		w.arrive(p)
		w.finish(p, false)
	}
	for w.ask(p); len(p.flights) > 0; w.ask(p) {
		w.arrive(p)
		w.finish(p, false)
	}
}

func (w *world) pass(d time.Duration) {
	w.clock.Advance(d)
	w.authority.advance(d)
}

// TestWithinQuotaInAnySchedule: whatever is lost, repeated, overtaken, put off, and whoever crashes. All are strict:
// what is let through while authsvc is away is beyond the promise.
func TestWithinQuotaInAnySchedule(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		t.Repeat(w.weather(true))
		if w.uncounted {
			t.Fatal("a strict request was let through")
		}
	})
}

// TestWithinQuotaHoweverBusyAuthIs: whose questions are all answered, if only by being put off, needs no strict routes.
func TestWithinQuotaHoweverBusyAuthIs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		w.answering = true
		t.Repeat(w.weather(false))
		if w.uncounted {
			t.Fatal("let through, though authsvc was never away")
		}
	})
}

func drawWorld(t *rapid.T) *world {
	windows := []window{{rapid.Int64Range(1, 20).Draw(t, "limit"), 10}}
	if rapid.Bool().Draw(t, "two windows") {
		windows = append(windows, window{rapid.Int64Range(1, 40).Draw(t, "second limit"), 60})
	}
	w := newWorld(t, windows...)
	for range 3 {
		w.processes = append(w.processes, w.begin())
	}
	return w
}

// weather is all that may happen.
func (w *world) weather(strict bool) map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"spend": func(t *rapid.T) {
			p := w.pick()
			for range rapid.IntRange(1, 5).Draw(t, "times") {
				w.spend(p, strict)
			}
		},
		"user": func(t *rapid.T) { w.user = rapid.SampledFrom([]events.ID{alice, bob}).Draw(t, "user") },
		"reserve": func(*rapid.T) {
			p := w.pick()
			if r, spent := w.reserve(p, w.clock.Now(), w.authority.now, strict); spent {
				p.spent = append(p.spent, r)
			}
		},
		"accept or put back": func(t *rapid.T) {
			p := w.pick()
			if len(p.spent) == 0 {
				return
			}
			r := p.spent[0]
			if p.spent = p.spent[1:]; rapid.Bool().Draw(t, "accept") {
				w.accept(r.user, r.term)
			} else {
				p.PutBack(r.Ticket)
			}
		},
		"leave": func(*rapid.T) {
			if p := w.pick(); len(p.tickets) > 0 {
				p.Leave(p.tickets[0])
				p.tickets = p.tickets[1:]
			}
		},
		"ask":        func(t *rapid.T) { w.ask(w.pick()) },
		"arrive":     func(t *rapid.T) { w.arrive(w.pick()) },
		"answer":     func(t *rapid.T) { w.finish(w.pick(), false) },
		"lose":       func(t *rapid.T) { w.finish(w.pick(), true) },
		"put off":    func(t *rapid.T) { w.putOff(w.pick()) },
		"count some": func(t *rapid.T) { w.arriveBusy(w.pick()) },
		"whole":      func(t *rapid.T) { p := w.pick(); w.ask(p); w.arrive(p); w.finish(p, false) },
		"all":        func(t *rapid.T) { w.finishAll(w.pick()) },
		"take": func(t *rapid.T) {
			p := w.pick()
			taking := p.Take(w.user, w.resource[p], w.clock.Now())
			if rapid.IntRange(0, 3).Draw(t, "withdraw") == 0 {
				p.Withdraw(taking)
				return
			}
			w.finishAll(p)
			select {
			case <-taking.Done():
				if taken, _ := taking.Taken(); taken {
					w.accept(w.user, w.authority.now)
				}
			default:
				t.Fatal("not decided")
			}
		},
		"repeat": func(t *rapid.T) { // an old question comes once more, or for the first time
			if len(w.wire) > 0 {
				m := rapid.SampledFrom(w.wire).Draw(t, "message")
				w.authority.answer(m.start, m.seq, m.entries)
			}
		},
		"tick":   func(t *rapid.T) { w.pick().Tick(w.clock.Now()) },
		"settle": func(t *rapid.T) { w.pick().Settle() },
		"crash": func(t *rapid.T) {
			i := rapid.IntRange(0, len(w.processes)-1).Draw(t, "which")
			w.processes[i] = w.begin()
		},
		"slow": func(t *rapid.T) {
			p, now, at := w.pick(), w.clock.Now(), w.authority.now
			w.pass(time.Duration(rapid.IntRange(1, 12000).Draw(t, "slow by ms")) * time.Millisecond)
			for range rapid.IntRange(0, 2).Draw(t, "questions") {
				w.ask(p)
				w.arrive(p)
				w.finish(p, false)
			}
			w.spendAt(p, now, at, strict)
		},
		"term": func(t *rapid.T) { // a limit that nobody reaches ends terms where nobody expects it
			w.ends.seconds = rapid.SampledFrom([]int64{3, 5, 7, 3600}).Draw(t, "seconds")
		},
		"time": func(t *rapid.T) {
			w.pass(time.Duration(rapid.SampledFrom([]int{1, 500, 3000, 10000}).Draw(t, "ms")) * time.Millisecond)
		},
	}
}

// TestEverythingIsGivenOutWhenNothingFails: nobody is refused while something is left, whoever asks for it.
func TestEverythingIsGivenOutWhenNothingFails(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.Int64Range(1, 200).Draw(t, "limit")
		w := newWorld(t, window{limit, 3600})
		for range rapid.IntRange(1, 4).Draw(t, "processes") {
			w.processes = append(w.processes, w.begin())
		}
		for range 40 {
			for range rapid.IntRange(0, 40).Draw(t, "requests") {
				p := w.pick()
				w.spend(p, true)
				w.ask(p)
				w.arrive(p)
				w.finish(p, false)
			}
			w.tickAll()
		}
		for range 10 { // what others hold comes back when they are idle
			w.tickAll()
		}
		for range 2 * limit {
			p := w.processes[0]
			w.spend(p, true)
			w.ask(p)
			w.arrive(p)
			w.finish(p, false)
			if p.told() {
				break
			}
		}
		if got := w.total(); got != limit {
			t.Fatalf("%d of %d were accepted", got, limit)
		}
	})
}

func (w *world) tickAll() {
	w.pass(Period)
	for _, p := range w.processes {
		p.Tick(w.clock.Now())
		w.finishAll(p)
	}
}

func (w *world) total() (n int64) {
	for _, accepted := range w.accepted {
		n += accepted
	}
	return n
}

func (m *Meter) told() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.states) == 1 && m.states[0].told && !m.states[0].holds()
}
