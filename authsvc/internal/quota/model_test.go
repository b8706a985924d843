package quota

import (
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/pkg/events"
)

// instance follows the rules of events.QuotaEntry, and no others.
type instance struct {
	name    string
	seq     int64
	term    int64
	spent   int64
	allowed int64
	until   int64 // the term's end by its own reckoning
	// The last question.
	sentAt, sentSpent int64
	answered          bool
	told              int64 // what an answered question has told
}

// message is a question or an answer on its way.
type message struct {
	from   *instance
	asked  report
	grant  *events.QuotaGrant
	sentAt int64
	// decidedAt is when the question was answered: what was taken counts from then on.
	decidedAt int64
}

// machine is authsvc, instances, and a bus that loses, repeats and reorders.
type machine struct {
	log       func(format string, args ...any)
	now       int64
	limits    []store.PlanLimit
	account   store.QuotaAccount
	holders   map[string]store.QuotaHolder
	instances []*instance
	wire      []message
	names     int

	accepted map[span]map[int64]int64 // by window and term
	resets   []int64
	// promised is the first term that a limit's promise is about: what was handed out before the limit was new or lowered may be spent.
	promised map[int64]int64
	skew     int64 // of the database's clock, which was
	set      bool
	// untold counts what was taken, and the answer is lost or on its way.
	untold int64
	// rough: the count may be above what was accepted, because an instance died or forgot what it held, or has told of what it
	// accepted in one term in the next.
	rough bool
}

var lengths = []int64{1, 7, 60}

func newMachine(t *rapid.T) *machine {
	m := &machine{log: t.Logf, now: 1_000_000*second + rapid.Int64Range(0, 60*second).Draw(t, "start"), holders: map[string]store.QuotaHolder{},
		accepted: map[span]map[int64]int64{}, promised: map[int64]int64{}}
	m.limits = drawLimits(t)
	for range rapid.IntRange(1, 3).Draw(t, "instances") {
		m.join()
	}
	return m
}

func drawLimits(t *rapid.T) []store.PlanLimit {
	n := rapid.IntRange(1, len(lengths)).Draw(t, "limits")
	var limits []store.PlanLimit
	for _, seconds := range slices.Sorted(slices.Values(rapid.Permutation(lengths).Draw(t, "windows")[:n])) {
		limits = append(limits, store.PlanLimit{Resource: resource, Limit: rapid.Int64Range(0, 12).Draw(t, "limit"), Seconds: seconds})
	}
	return limits
}

func (m *machine) join() {
	m.names++
	m.instances = append(m.instances, &instance{name: events.NewNonce()})
}

func (m *machine) one(t *rapid.T) *instance {
	return m.instances[rapid.IntRange(0, len(m.instances)-1).Draw(t, "instance")]
}

// spend accepts some requests by the allowance.
func (m *machine) spend(t *rapid.T) {
	i := m.one(t)
	for range rapid.IntRange(1, 20).Draw(t, "requests") {
		if m.now >= i.until || i.spent >= i.allowed {
			return
		}
		i.spent++
		m.log("%d: accepted in %d as %d of %d", m.now, i.term, i.spent, i.allowed)
		m.count(m.now, i.term)
	}
}

// count notes that a request was accepted by an allowance of a term.
func (m *machine) count(at, term int64) {
	for _, seconds := range lengths {
		w := windowAt(seconds, at)
		if m.accepted[w] == nil {
			m.accepted[w] = map[int64]int64{}
		}
		m.accepted[w][term]++
	}
}

// since is how many were accepted in a window by allowances of a term and those after it.
func (m *machine) since(w span, term int64) (n int64) {
	for of, accepted := range m.accepted[w] {
		if of >= term {
			n += accepted
		}
	}
	return n
}

// talk asks and is answered, as it is in good weather.
func (m *machine) talk(t *rapid.T) {
	m.ask(t)
	last := len(m.wire) - 1
	m.arrive(m.wire[last])
	m.arrive(m.wire[last+1])
	m.wire = m.wire[:last]
}

func (m *machine) ask(t *rapid.T) {
	i := m.one(t)
	want := rapid.SampledFrom([]int64{0, 1, 5, 50}).Draw(t, "want")
	m.send(i, events.QuotaEntry{Term: i.term, Spent: i.spent, Want: want, Take: rapid.IntRange(0, 3).Draw(t, "take") == 0})
}

func (m *machine) send(i *instance, e events.QuotaEntry) {
	i.seq++
	i.allowed = min(i.allowed, i.spent+e.Want)
	i.sentAt, i.sentSpent, i.answered = m.now, i.spent, false
	m.wire = append(m.wire, message{from: i, asked: report{e, "cars", i.seq}, sentAt: m.now})
}

// deliver hands over any message that is on its way.
func (m *machine) deliver(t *rapid.T) {
	if len(m.wire) == 0 {
		return
	}
	at := rapid.IntRange(0, len(m.wire)-1).Draw(t, "message")
	message := m.wire[at]
	switch fate := rapid.IntRange(0, 9).Draw(t, "fate"); {
	case fate == 0: // it comes again
	case fate == 1: // it is lost
		m.wire = slices.Delete(m.wire, at, at+1)
		return
	default:
		m.wire = slices.Delete(m.wire, at, at+1)
	}
	m.arrive(message)
}

func (m *machine) arrive(message message) {
	if message.grant != nil {
		m.answer(message)
		return
	}
	grant := m.settle(message.from.name, message.asked)
	m.log("%d: authsvc hears %+v: %+v", m.now, message.asked, grant)
	if grant.Taken {
		m.untold++
	}
	message.grant, message.decidedAt = &grant, m.now
	m.wire = append(m.wire, message)
}

func (m *machine) settle(name string, r report) events.QuotaGrant {
	a := open(m.account, m.limits, m.now+m.skew)
	h := &holder{QuotaHolder: m.holders[name]}
	grant := a.settle(h, r)
	if a.dirty {
		m.account = a.QuotaAccount
		m.account.Windows = cloned(a.Windows)
	}
	if h.dirty {
		m.holders[name] = h.QuotaHolder
	}
	return grant
}

// cloned is what a database would keep.
func cloned(windows []store.QuotaWindow) []store.QuotaWindow {
	out := slices.Clone(windows)
	for i := range out {
		out[i].By = maps.Clone(out[i].By)
	}
	return out
}

// answer is what an instance does with a grant.
func (m *machine) answer(message message) {
	i, g := message.from, message.grant
	if !slices.Contains(m.instances, i) {
		return
	}
	m.log("%d: the answer to %d comes after the question %d", m.now, message.asked.seq, i.seq)
	if message.asked.seq != i.seq || i.answered {
		return
	}
	if g.Taken {
		i.spent++
		m.count(message.decidedAt, g.Term)
		m.untold--
	}
	i.answered, i.told = true, i.sentSpent
	if g.Term != i.term {
		m.rough = m.rough || i.spent > i.sentSpent
		i.term, i.spent, i.told = g.Term, i.spent-i.sentSpent, 0
	}
	if g.Taken {
		i.told++ // authsvc has counted it itself
	}
	i.allowed, i.until = g.Allowed, i.sentAt+g.EndsIn
}

// forget drops an entry that was told in full.
func (m *machine) forget(t *rapid.T) {
	i := m.one(t)
	if i.answered && i.told == i.spent {
		m.rough = m.rough || i.allowed > i.spent || m.holders[i.name].Before.Held > 0
		i.term, i.spent, i.allowed, i.until, i.told = 0, 0, 0, 0, 0
	}
}

func (m *machine) die(t *rapid.T) {
	i := m.one(t)
	m.instances = slices.DeleteFunc(m.instances, func(other *instance) bool { return other == i })
	m.rough = true
	m.join()
}

func (m *machine) wait(t *rapid.T) {
	m.now += rapid.SampledFrom([]int64{1, second / 10, second / 2, second, 5 * second}).Draw(t, "time")
}

func (m *machine) changePlan(t *rapid.T) {
	before := map[int64]store.PlanLimit{}
	for _, l := range m.limits {
		before[l.Seconds] = l
	}
	m.now++
	m.limits = drawLimits(t)
	for _, l := range m.limits {
		if old, had := before[l.Seconds]; !had || l.Limit < old.Limit {
			m.promised[l.Seconds] = max(m.now+m.skew, m.account.Term+1)
		}
	}
	m.rough = true
}

// setClock sets the database's clock.
func (m *machine) setClock(t *rapid.T) {
	m.set = true
	m.skew += rapid.Int64Range(-130, 130).Draw(t, "seconds") * second
}

func (m *machine) reset(t *rapid.T) {
	for i := range m.account.Windows {
		w := &m.account.Windows[i]
		w.Used, w.By = w.Used-spentOf(*w), nil
	}
	m.resets = append(m.resets, m.now)
	m.rough = true
}

// span is a window by its length and start.
type span struct{ seconds, start int64 }

func windowAt(seconds, now int64) span { return span{seconds, startOf(seconds, now)} }

// check is the promise: in no window was more accepted than its limit, once more for each reset. It holds from the first term that
// began since the limit is in the plan, and as low as it is. Of a clock that was set nothing is promised; but what windows contain is right always.
func (m *machine) check(t *rapid.T) {
	for _, w := range m.account.Windows {
		m.checkHeld(t, w)
	}
	if m.set {
		return
	}
	for _, l := range m.limits {
		for w := range m.accepted {
			if w.seconds == l.Seconds {
				m.checkLimit(t, w, l.Limit)
			}
		}
	}
}

func (m *machine) checkLimit(t *rapid.T, w span, limit int64) {
	times := int64(1)
	for _, at := range m.resets {
		if at >= w.start && at < w.start+w.seconds*second {
			times++
		}
	}
	if got := m.since(w, m.promised[w.seconds]); got > limit*times {
		t.Fatalf("%d accepted in a window of %ds, which is more than %d", got, w.seconds, limit*times)
	}
}

// checkHeld: besides what was spent, a window contains at least what the holders hold that are known.
func (m *machine) checkHeld(t *rapid.T, w store.QuotaWindow) {
	var held int64
	for _, h := range m.holders {
		for _, c := range []store.QuotaCharge{h.Present, h.Before} {
			if c.Held < 0 {
				t.Fatalf("%+v", c)
			}
			if c.Term >= w.Since {
				held += c.Held
			}
		}
	}
	if w.Used-spentOf(w) < held {
		t.Fatalf("%d are held, the window has %+v", held, w)
	}
}

// settled: when all have told all and given back, what was counted is what was accepted, never less.
func (m *machine) settled(t *rapid.T) {
	m.wire = nil
	for range 2 { // the second time in the new term, if there is one
		for _, i := range m.instances {
			m.send(i, events.QuotaEntry{Term: i.term, Spent: i.spent})
			m.arrive(m.wire[0])
			m.arrive(m.wire[1])
			m.wire = nil
		}
	}
	if len(m.resets) > 0 || m.set {
		return
	}
	a := open(m.account, m.limits, m.now)
	for _, l := range m.limits {
		w := a.window(l)
		used, accepted := w.Used, m.since(windowAt(l.Seconds, m.now), w.Since)
		if used < accepted || used > accepted+m.untold && !m.rough {
			t.Fatalf("%d counted in %ds, %d accepted", used, l.Seconds, accepted)
		}
	}
}

func anyWeather(t *rapid.T) {
	m := newMachine(t)
	steps := map[string]func(*rapid.T){"spend": m.spend, "talk": m.talk, "talk more": m.talk, "ask": m.ask, "deliver": m.deliver, "deliver more": m.deliver,
		"wait": m.wait, "forget": m.forget, "": m.check}
	if rapid.IntRange(0, 2).Draw(t, "rough") == 0 {
		maps.Copy(steps, map[string]func(*rapid.T){"die": m.die, "change the plan": m.changePlan, "reset": m.reset})
	}
	if rapid.IntRange(0, 5).Draw(t, "clocks") == 0 {
		steps["set the clock"] = m.setClock
	}
	t.Repeat(steps)
	t.Repeat(steps)
	m.settled(t)
}

// Whatever the bus, the instances, the clock and the admins do, no window's limit is exceeded by instances that follow the rules,
// and nothing that was accepted is missing in the count. One run of rapid is short: these are thousands.
func TestNoScheduleAcceptsMoreThanTheLimit(t *testing.T) {
	for range 50 {
		rapid.Check(t, anyWeather)
	}
}
