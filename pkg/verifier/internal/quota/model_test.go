package quota

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/clock"
)

var alice = events.ID{6: 0x70, 8: 0x80, 15: 1}

// process is one start of a service.
type process struct {
	*Meter
	start    string
	seq      uint64
	question *Question
	answer   *events.QuotaAnswer // nil while the question is on its way
}

type sent struct {
	start   string
	seq     uint64
	entries []events.QuotaEntry
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
	accepted  map[int64]int64 // by window's index and number
	uncounted bool            // something was let through
}

func newWorld(t *rapid.T, windows ...window) *world {
	return &world{
		T: t, authority: newAuthority(windows...), clock: clock.NewFake(time.Unix(1_800_000_000, 0)),
		resource: map[*process]*Resource{}, accepted: map[int64]int64{},
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
	verdict := Spent
	if !p.Spend(alice, w.resource[p], now) {
		verdict, _ = p.SpendOrAsk(alice, w.resource[p], now, strict)
	}
	if verdict != Spent {
		w.uncounted = w.uncounted || verdict == Uncounted
		return
	}
	term := p.table.find(alice, w.resource[p]).grant.Load().term - 1
	if term < at {
		w.Fatalf("spent in a term that ended %d µs before the request began", at-term)
	}
	w.accept(term)
}

func (w *world) accept(at int64) {
	for i, win := range w.windows {
		n := win.seconds * 1e6
		if at/n > w.authority.now/n {
			w.Fatal("spent in a window that hasn't begun")
		}
		key := at/n*10 + int64(i)
		if w.accepted[key]++; w.accepted[key] > win.limit {
			w.Fatalf("%d accepted in a window of %d", w.accepted[key], win.limit)
		}
	}
}

func (w *world) ask(p *process) {
	if p.question != nil {
		return
	}
	if p.question = p.Next(w.clock.Now()); p.question == nil {
		return
	}
	p.seq++
	w.wire = append(w.wire, sent{p.start, p.seq, p.question.Entries})
	p.answer = nil
}

// arrive has authsvc read the question of a process.
func (w *world) arrive(p *process) {
	if p.question != nil && p.answer == nil {
		a := w.authority.answer(p.start, p.seq, p.question.Entries)
		p.answer = &a
	}
}

func (w *world) finish(p *process, lost bool) {
	switch {
	case p.question == nil:
	case lost || p.answer == nil:
		p.question.Fail()
		p.question = nil
	default:
		p.question.Answer(*p.answer)
		p.question = nil
	}
}

func (w *world) pass(d time.Duration) {
	w.clock.Advance(d)
	w.authority.advance(d)
}

// TestWithinQuotaInAnySchedule: whatever is lost, repeated, overtaken, and whoever crashes. All are strict:
// what is let through while authsvc is away is beyond the promise.
func TestWithinQuotaInAnySchedule(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		windows := []window{{rapid.Int64Range(1, 20).Draw(t, "limit"), 10}}
		if rapid.Bool().Draw(t, "two windows") {
			windows = append(windows, window{rapid.Int64Range(1, 40).Draw(t, "second limit"), 60})
		}
		w := newWorld(t, windows...)
		for range 3 {
			w.processes = append(w.processes, w.begin())
		}
		t.Repeat(map[string]func(*rapid.T){
			"spend": func(t *rapid.T) {
				p := w.pick()
				for range rapid.IntRange(1, 5).Draw(t, "times") {
					w.spend(p, true)
				}
			},
			"ask":    func(t *rapid.T) { w.ask(w.pick()) },
			"arrive": func(t *rapid.T) { w.arrive(w.pick()) },
			"answer": func(t *rapid.T) { w.finish(w.pick(), false) },
			"lose":   func(t *rapid.T) { w.finish(w.pick(), true) },
			"whole":  func(t *rapid.T) { p := w.pick(); w.ask(p); w.arrive(p); w.finish(p, false) },
			"take": func(t *rapid.T) {
				p := w.pick()
				taking := p.Take(alice, w.resource[p], w.clock.Now())
				w.finish(p, false)
				w.ask(p)
				w.arrive(p)
				w.finish(p, false)
				select {
				case <-taking.Done():
					if taken, _ := taking.Taken(); taken {
						w.accept(w.authority.now)
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
				w.spendAt(p, now, at, true)
			},
			"term": func(t *rapid.T) { // a limit that nobody reaches ends terms where nobody expects it
				w.ends.seconds = rapid.SampledFrom([]int64{3, 5, 7, 3600}).Draw(t, "seconds")
			},
			"time": func(t *rapid.T) {
				w.pass(time.Duration(rapid.SampledFrom([]int{1, 500, 3000, 10000}).Draw(t, "ms")) * time.Millisecond)
			},
		})
		if w.uncounted {
			t.Fatal("a strict request was let through")
		}
	})
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
		for w.ask(p); p.question != nil; w.ask(p) {
			w.arrive(p)
			w.finish(p, false)
		}
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
	return len(m.states) == 1 && m.states[0].told
}
