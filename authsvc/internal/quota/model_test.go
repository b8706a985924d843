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

	accepted map[span]int64 // by length and start
	resets   []int64
	// unsettled: what was handed out before the last change of the plan may be spent until then.
	unsettled int64
	// untold counts what was taken, and the answer is lost or on its way.
	untold int64
	// rough: the count may be above what was accepted, because an instance died or forgot what it held, or has told of what it
	// accepted in one term in the next.
	rough bool
}

var lengths = []int64{1, 7, 60}

func newMachine(t *rapid.T) *machine {
	m := &machine{log: t.Logf, now: 1_000_000*second + rapid.Int64Range(0, 60*second).Draw(t, "start"), holders: map[string]store.QuotaHolder{},
		accepted: map[span]int64{}}
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
		m.count(m.now)
	}
}

// count notes that a request was accepted.
func (m *machine) count(at int64) {
	for _, seconds := range lengths {
		m.accepted[windowAt(seconds, at)]++
	}
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
	a := open(m.account, m.limits, m.now)
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
		m.count(message.decidedAt)
		m.untold--
	}
	i.answered = true
	if g.Term != i.term {
		m.rough = m.rough || i.spent > i.sentSpent
		i.term, i.spent = g.Term, i.spent-i.sentSpent
		i.told = 0
	} else {
		i.told = i.sentSpent
	}
	i.allowed, i.until = g.Allowed, i.sentAt+g.EndsIn
}

// forget drops an entry that was told in full.
func (m *machine) forget(t *rapid.T) {
	i := m.one(t)
	if i.answered && i.told == i.spent {
		m.rough = m.rough || i.allowed > i.spent || m.holders[i.name].BeforeHeld > 0
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
	m.unsettled = max(m.unsettled, open(store.QuotaAccount{}, m.limits, m.now).Term)
	m.limits = drawLimits(t)
	m.rough = true
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

// check is the promise: in no window was more accepted than its limit, once more for each reset.
func (m *machine) check(t *rapid.T) {
	limits := map[int64]int64{}
	for _, l := range m.limits {
		limits[l.Seconds] = l.Limit
	}
	for w, got := range m.accepted {
		limit, limited := limits[w.seconds]
		if !limited || w.start < m.unsettled {
			continue
		}
		for _, at := range m.resets {
			if at >= w.start && at < w.start+w.seconds*second {
				limit += limits[w.seconds]
			}
		}
		if got > limit {
			t.Fatalf("%d accepted in a window of %ds, which is more than %d", got, w.seconds, limit)
		}
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
	if len(m.resets) > 0 || m.unsettled > 0 {
		return
	}
	a := open(m.account, m.limits, m.now)
	for _, l := range m.limits {
		used, accepted := a.window(l).Used, m.accepted[windowAt(l.Seconds, m.now)]
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
