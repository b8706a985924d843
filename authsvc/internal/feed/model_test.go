package feed_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tocsin-auth/tocsin/authsvc/internal/feed"
	"github.com/tocsin-auth/tocsin/authsvc/internal/feed/feedtest"
	"github.com/tocsin-auth/tocsin/pkg/events"
)

// Any schedule of commits, rounds, crashes at any point, takeovers, zombies, outages of the bus and of the stream, lost
// streams and passing time: no answer is ahead of what it may prove (world.step), the floor and the head never fall, and
// when the faults end everything that matters is in the stream, marked, and proven.
func TestAnyScheduleKeepsThePromise(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := &model{world: newWorld(rt), rt: rt}
		m.journal.Limit = rapid.IntRange(0, 5).Draw(rt, "limit")
		m.bus.OnLive = func(msg feed.Message) {
			if m.deaf {
				return
			}
			if err := m.verifier.Hear(msg); err != nil {
				rt.Fatal(err)
			}
		}
		m.candidates = []candidate{m.candidate(), m.candidate()}
		rt.Repeat(map[string]func(*rapid.T){
			"commit":  m.commitSome,
			"round":   m.round,
			"crash":   m.crash,
			"time":    m.passTime,
			"acks":    m.acks,
			"outage":  m.outage,
			"lose":    m.loseStream,
			"look":    m.look,
			"catchup": func(*rapid.T) { m.catchUp() },
			"":        m.monotone,
		})
		m.heal()
	})
}

type model struct {
	*world
	rt         *rapid.T
	candidates []candidate
	deaf       bool
}

func (m *model) any() int { return rapid.IntRange(0, len(m.candidates)-1).Draw(m.rt, "candidate") }

func (m *model) commitSome(*rapid.T) {
	m.commit(rapid.StringOfN(rapid.SampledFrom([]rune("rc")), 1, 6, -1).Draw(m.rt, "events"))
}

// round may fail; what it must not do is checked by step.
func (m *model) round(*rapid.T) {
	if err := m.step(m.candidates[m.any()]); err != nil {
		m.rt.Log(err)
	}
}

// crash lets a process die within its next calls, and starts another in its place.
func (m *model) crash(*rapid.T) {
	i := m.any()
	m.candidates[i].Left = rapid.IntRange(0, 12).Draw(m.rt, "calls left")
	if err := m.step(m.candidates[i]); err != nil {
		m.rt.Log(err)
	}
	m.candidates[i].Left = 0
	m.candidates[i] = m.candidate()
}

func (m *model) passTime(*rapid.T) {
	m.clock.Advance(rapid.SampledFrom([]time.Duration{time.Millisecond, feedRetry, time.Second, 2 * time.Second, 20 * time.Minute}).Draw(m.rt, "time"))
}

func (m *model) acks(*rapid.T) {
	switch rapid.IntRange(0, 3).Draw(m.rt, "acks") {
	case 0:
		m.bus.TimeOut(rapid.Bool().Draw(m.rt, "stored"))
	default:
		m.bus.Settle()
	}
	if err := m.candidates[m.any()].Pump(m.Context()); err != nil {
		m.rt.Log(err)
	}
}

func (m *model) outage(*rapid.T) {
	m.bus.Away = rapid.IntRange(0, 3).Draw(m.rt, "bus") == 0
	m.bus.StreamAway = rapid.IntRange(0, 2).Draw(m.rt, "stream") == 0
	m.deaf = rapid.IntRange(0, 3).Draw(m.rt, "verifier") == 0
}

func (m *model) loseStream(*rapid.T) {
	if rapid.Bool().Draw(m.rt, "wiped") {
		m.bus.Wipe()
	} else {
		m.bus.Truncate(rapid.IntRange(1, 5).Draw(m.rt, "messages"))
	}
}

func (m *model) look(*rapid.T) {
	c := m.candidates[m.any()]
	state := m.bus.State()
	state.Since = c.StreamSeq()
	c.Observe(state)
}

// catchUp gives the verifier pages from the journal, from where it is or from the floor.
func (m *model) catchUp() {
	standing, err := m.journal.FeedStanding(m.Context())
	if err != nil {
		return
	}
	epoch, applied := m.verifier.Applied()
	if epoch != standing.Epoch {
		applied = 0
	}
	if applied >= standing.Head {
		return
	}
	prev, rows, err := m.journal.FeedRange(m.Context(), issuer, standing.Epoch, applied+1, standing.Head)
	if err != nil {
		m.Fatal(err)
	}
	var raws [][]byte
	for _, r := range rows {
		raws = append(raws, r.Body)
	}
	body, err := events.EncodeBatch(standing.Epoch, applied+1, prev, standing.Floor, false, raws)
	if err != nil {
		m.Fatal(err)
	}
	if err := m.verifier.Hear(feed.Message{Body: body, Key: signer.KeyID(), Signature: signer.Sign(events.KindFeed, body)}); err != nil {
		m.Fatal(err)
	}
}

func (m *model) monotone(*rapid.T) {
	if len(m.answers) < 2 {
		return
	}
	a, b := m.answers[len(m.answers)-2], m.answers[len(m.answers)-1]
	if b.Epoch != a.Epoch || b.Term < a.Term || b.Floor < a.Floor || b.Head < a.Head || b.Floor > b.Head+1 {
		m.Fatalf("%+v after %+v", b, a)
	}
}

// heal ends all faults and kills every process.
func (m *model) heal() {
	for _, c := range m.candidates {
		c.Left = 0
	}
	m.bus.Away, m.bus.StreamAway, m.deaf = false, false, false
	m.clock.Advance(2 * time.Second)
	last := m.candidate()
	m.mustStep(last)
	last.Observe(m.bus.State())
	for range 10 {
		m.settle(last)
	}
	last.Observe(m.bus.State())
	m.settle(last)
	standing, err := m.journal.FeedStanding(m.Context())
	if err != nil {
		m.Fatal(err)
	}
	for _, r := range m.journal.Rows() {
		m.wantPublished(r.ID)
	}
	m.wantTail(standing.Head)
	m.catchUp()
	if a := m.mustStep(last); !a.proven || a.Head != standing.Head {
		m.Fatalf("%+v", a)
	}
}

// wantTail checks that the stream ends with the feed. Holes before it, from a stream that was lost while nobody looked,
// are what pages are for.
func (m *model) wantTail(head uint64) {
	if head == 0 {
		return
	}
	tail := m.bus.State().Tail
	standing, _ := m.journal.FeedStanding(m.Context())
	if standing.Floor <= head && (tail == nil || tail.LastSeq() != head) {
		m.Fatalf("the stream doesn't end with seq %d", head)
	}
}

var _ tb = (*rapid.T)(nil)

var _ feed.EventStates = (*feedtest.Journal)(nil)
