package faults

import (
	"math/rand/v2"
	"strings"
	"sync"
	"time"
)

// Meddling is what somebody on the way does to messages, each a share of them from 0 to 1.
type Meddling struct {
	// Of the events on the live subjects.
	DropLive, DoubleLive, HoldLive, FlipLive float64
	// ReplayLive is how often an old event of the run, of any age, goes along with a message.
	ReplayLive float64
	// Of the answers to questions: proofs, checks, resolutions, token keys, pages.
	DropAnswers, SwapAnswers, FlipAnswers float64
	// ReplayAnswers is how often an old answer of the run, to anybody, is given after the right one; ForeAnswers: before it.
	ReplayAnswers, ForeAnswers float64
	// Of what the stream gives by Direct Get: messages, and the end of a batch.
	DropStream, FlipStream, CutStream float64
	DoubleQuestions                   float64
}

// meddler does it to the connections of a proxy. One Memory may serve many.
type meddler struct {
	memory *Memory

	mu   sync.Mutex
	rng  *rand.Rand
	what Meddling
	did  map[string]int
}

// meddler returns one for another proxy, with chances of its own.
func (m *Memory) meddler() *meddler {
	return &meddler{memory: m, rng: rand.New(rand.NewPCG(m.seed, m.proxies.Add(1))), did: map[string]int{}}
}

func (m *meddler) set(what Meddling) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.what = what
}

// chance is called with mu held.
func (m *meddler) chance(share float64) bool { return share > 0 && m.rng.Float64() < share }

// lane is one direction of one connection.
type lane struct {
	*meddler
	liveSID string     // of the receiver's subscription to the live subjects
	held    []heldBack // in the order of their coming
	swap    *frame     // an answer that waits for another one
	swapAt  time.Time
}

type heldBack struct {
	frame
	until time.Time
}

// Times for which messages are held back. Both are looked at whenever something goes by, which on a connection to the bus
// is several times a second.
const (
	longestHold = time.Second
	longestSwap = 300 * time.Millisecond
)

// through returns what goes on in place of a frame. It runs in the lane's own goroutine.
func (l *lane) through(f frame) []frame {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := l.release()
	if !f.isMessage() {
		return append(out, f)
	}
	switch kindOf(f) {
	case liveKind:
		return append(out, l.live(f)...)
	case answerKind:
		return append(out, l.answer(f)...)
	case streamedKind:
		return append(out, l.streamed(f)...)
	case questionKind:
		if l.chance(l.what.DoubleQuestions) {
			l.did["questions doubled"]++
			out = append(out, f)
		}
	}
	return append(out, f)
}

func (l *lane) live(f frame) (out []frame) {
	l.memory.events.keep(f, l.rng)
	l.liveSID = f.sid
	if l.chance(l.what.ReplayLive) {
		out = append(out, l.old()...)
	}
	switch {
	case l.chance(l.what.DropLive):
		l.did["dropped"]++
		return out
	case l.chance(l.what.HoldLive):
		l.did["held back"]++
		late := time.Duration(l.rng.Int64N(int64(longestHold)))
		l.held = append(l.held, heldBack{f, time.Now().Add(late)})
		return out
	case l.chance(l.what.DoubleLive):
		l.did["doubled"]++
		out = append(out, f)
	}
	return append(out, l.perhapsFlipped(f, l.what.FlipLive))
}

// old returns up to three events that had come before, to anybody.
func (l *lane) old() (out []frame) {
	for range 1 + l.rng.IntN(3) {
		if f, ok := l.memory.events.any(l.rng); ok && l.liveSID != "" {
			l.did["replayed"]++
			out = append(out, f.to(f.subject, l.liveSID))
		}
	}
	return out
}

func (l *lane) answer(f frame) (out []frame) {
	l.memory.answers.keep(f, l.rng)
	if l.chance(l.what.ForeAnswers) {
		out = append(out, l.oldAnswer(f)...)
	}
	switch {
	case l.chance(l.what.DropAnswers):
		l.did["answers dropped"]++
		return out
	case l.swap != nil:
		l.did["answers swapped"]++
		other := *l.swap
		l.swap = nil
		return append(out, f.to(other.subject, other.sid), other.to(f.subject, f.sid))
	case l.chance(l.what.SwapAnswers):
		l.swap, l.swapAt = &f, time.Now()
		return out
	}
	out = append(out, l.perhapsFlipped(f, l.what.FlipAnswers))
	if l.chance(l.what.ReplayAnswers) {
		out = append(out, l.oldAnswer(f)...)
	}
	return out
}

// oldAnswer gives an old answer to the question that f answers.
func (l *lane) oldAnswer(f frame) []frame {
	old, ok := l.memory.answers.any(l.rng)
	if !ok {
		return nil
	}
	l.did["old answers"]++
	return []frame{old.to(f.subject, f.sid)}
}

func (l *lane) streamed(f frame) []frame {
	end := strings.HasPrefix(string(f.header), "NATS/1.0 204")
	if share := l.what.DropStream; !end && l.chance(share) || end && l.chance(l.what.CutStream) {
		l.did["of the stream dropped"]++
		return nil
	}
	return []frame{l.perhapsFlipped(f, l.what.FlipStream)}
}

// release returns what was held back long enough, in an order of chance.
func (l *lane) release() (out []frame) {
	now := time.Now()
	var still []heldBack
	for _, h := range l.held {
		if now.After(h.until) || l.what.HoldLive == 0 {
			out = append(out, h.frame)
			continue
		}
		still = append(still, h)
	}
	l.held = still
	l.rng.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	if l.swap != nil && now.Sub(l.swapAt) > longestSwap {
		out = append(out, *l.swap)
		l.swap = nil
	}
	if len(l.held) == 0 && l.liveSID != "" && l.chance(l.what.ReplayLive/4) {
		out = append(out, l.old()...)
	}
	return out
}

// perhapsFlipped returns a message with one bit of its headers or payload turned, lengths as they were.
func (l *lane) perhapsFlipped(f frame, share float64) frame {
	if !l.chance(share) || len(f.payload) == 0 {
		return f
	}
	l.did["flipped"]++
	where := &f.payload
	if values := len("NATS/1.0\r\n"); len(f.header) > values && l.rng.IntN(2) == 0 {
		where = &f.header
	}
	turned := append([]byte(nil), *where...)
	at := l.rng.IntN(len(turned))
	if where == &f.header { // its first line and its line ends are the protocol's, not the sender's
		for strings.ContainsRune("\r\n", rune(turned[at])) || at < len("NATS/1.0\r\n") {
			at = l.rng.IntN(len(turned))
		}
		turned[at] = 'A' + (turned[at]+1)%26
	} else {
		turned[at] ^= 1 << l.rng.IntN(8)
	}
	*where = turned
	return f
}

// to is the same message for another subscription.
func (f frame) to(subject, sid string) frame {
	f.subject, f.sid, f.reply = subject, sid, ""
	return f
}
