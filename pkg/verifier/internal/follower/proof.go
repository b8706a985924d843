package follower

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/clock"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/defect"
)

// maxQuestions bounds the questions and answers that are remembered: MaxBound of questions each 150 ms.
const maxQuestions = 2048

// catchUpAfter is how long an answer may wait for events that are on their way.
const catchUpAfter = 100 * time.Millisecond

var (
	// ErrNotAsked means that an answer isn't to a question of ours that is still open.
	ErrNotAsked = errors.New("answer to no open question")
	// ErrOldEpoch means that an answer is of an epoch below the greatest one proven.
	ErrOldEpoch = errors.New("answer of an older epoch")
)

// question is one that was sent. n counts them, so that "asked later" needs no clock.
type question struct {
	n       uint64
	nonce   string
	request events.Hash
	since   clock.Reading // S
}

// answer is a verified answer with the S of its question, held until events and keys are there.
type answer struct {
	events.ProofAnswer
	n           uint64
	since       clock.Reading
	received    clock.Reading
	keysFetched bool // a fetch of token keys began after it was received
}

// Ask makes a question. now, which becomes S, MUST have been read before; the caller publishes the bytes after.
func (f *Follower) Ask(now clock.Reading) []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.expire(now)
	f.asked++
	q := question{n: f.asked, nonce: events.NewNonce(), since: now}
	body := f.request(q.nonce, now)
	q.request = events.HashOf(body)
	f.questions = append(f.questions, q)
	return body
}

func (f *Follower) request(nonce string, now clock.Reading) []byte {
	r := events.ProofRequest{
		Instance: f.cfg.Instance, StartNonce: f.cfg.StartNonce, Nonce: nonce,
		State: f.stateNow(now), Bound: f.bound.Microseconds(),
	}
	r.Epoch, r.Applied, r.Chain = f.position()
	body, err := json.Marshal(r)
	if err != nil {
		panic(fmt.Sprintf("follower: encode question: %v", err)) // strings and numbers only
	}
	return body
}

// State returns the verifier's state by the largest bound, as questions tell it.
func (f *Follower) State(now clock.Reading) events.State {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.stateNow(now)
}

func (f *Follower) stateNow(now clock.Reading) events.State {
	switch fresh := f.fresh.Load(); {
	case fresh == nil:
		return events.StateStarting
	case fresh.Within(now, f.bound):
		return events.StateFresh
	}
	return events.StateStale
}

// expire drops questions and answers that can't make anything fresh any more, and the chains that only they need.
func (f *Follower) expire(now clock.Reading) {
	n := max(0, len(f.questions)+1-maxQuestions)
	for n < len(f.questions) && now.Since(f.questions[n].since) > events.MaxBound {
		n++
	}
	f.questions = f.questions[n:]
	n = max(0, len(f.held)-maxQuestions)
	for n < len(f.held) && now.Since(f.held[n].since) > events.MaxBound {
		n++
	}
	f.held = f.held[n:]
	for _, t := range f.tracks {
		t.forget(now)
	}
}

// Answer takes an answer whose signature was verified. It reports whether it, or one held before, was accepted;
// otherwise it is held. The errors are [ErrNotAsked] and [ErrOldEpoch].
func (f *Follower) Answer(a events.ProofAnswer, now clock.Reading) (accepted bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	q, ok := f.takeQuestion(a)
	if !ok {
		return false, ErrNotAsked
	}
	if a.Epoch < f.epoch {
		return false, ErrOldEpoch
	}
	f.hold(answer{ProofAnswer: a, n: q.n, since: q.since, received: now})
	return f.settle(), nil
}

// takeQuestion removes the question that an answer is to. Another answer to it will be refused.
func (f *Follower) takeQuestion(a events.ProofAnswer) (question, bool) {
	for i, q := range f.questions {
		if q.nonce == a.Nonce && q.request == a.Request {
			f.questions = append(f.questions[:i], f.questions[i+1:]...)
			return q, true
		}
	}
	return question{}, false
}

// hold keeps answers in the order of asking.
func (f *Follower) hold(a answer) {
	i := len(f.held)
	for i > 0 && f.held[i-1].n > a.n {
		i--
	}
	f.held = append(f.held[:i], append([]answer{a}, f.held[i:]...)...)
}

// KeysReplaced tells that readers see another token key set now. It reports whether an answer was accepted.
func (f *Follower) KeysReplaced() (accepted bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.settle()
}

// settle accepts the latest held answer that everything is there for.
func (f *Follower) settle() bool {
	newest := make(map[string]bool, 1) // epochs of which an answer was looked at
	for i := len(f.held) - 1; i >= 0; i-- {
		a := f.held[i]
		r := f.proofRun(a, !newest[a.Epoch])
		newest[a.Epoch] = true
		if r == nil || a.Keys != f.cfg.KeySetHash() {
			continue
		}
		f.accept(a, r)
		return true
	}
	return false
}

// proofRun returns the run that makes an answer acceptable. If a run covers the answer's range with another chain, we
// stand on a branch: the position in that epoch is dropped, to be read again. Only the newest answer may do that: an
// older one may itself be of a branch that the database lost since.
func (f *Follower) proofRun(a answer, newest bool) *run {
	t := f.track(a.Epoch)
	if t == nil {
		return nil
	}
	if r := t.covering(a.Floor, a.Head); r != nil {
		// A chain that isn't kept any more is of an event that was numbered before the question was asked, so a true
		// answer's head is at least that: to be below is a contradiction, too.
		chain, known := r.chainAt(a.Head)
		if known && (chain == a.Chain || defect.Chain) {
			return r
		}
		if !newest || (!known && r.mayLack(a.since)) {
			return nil
		}
		f.stats.Mismatches++
		t.runs, t.distrust = nil, true
	}
	if !a.nothingLives() {
		return nil
	}
	t.add(emptyRun(a.Head, a.Chain, a.Now)) // the answer alone gives the position
	return t.covering(a.Floor, a.Head)
}

func (a *answer) nothingLives() bool { return a.Floor == a.Head+1 }

func (f *Follower) accept(a answer, r *run) {
	fresh := f.freshBy(a)
	if !r.proven {
		f.cfg.Skipped()
		f.stats.Skips++
		fresh.lapsed = max(fresh.lapsed, a.Now)
	}
	f.prove(a.Epoch, r, a.Head)
	f.stats.Proofs++
	f.dropUpTo(a.n)
	f.fresh.Store(fresh) // last: whoever sees it sees all that it rests on
}

// freshBy is what an answer says, and what is kept of the proofs before it.
func (f *Follower) freshBy(a answer) *Freshness {
	fresh := &Freshness{Since: a.since, Epoch: a.Epoch, Head: a.Head, Term: a.Term, Now: a.Now, ahead: a.Now - a.since.Boot/1000}
	if old := f.fresh.Load(); old != nil {
		fresh.lapsed = old.lapsed
		fresh.ahead = min(fresh.ahead, old.ahead)
	}
	return fresh
}

// dropUpTo drops the questions and answers that were asked no later than an accepted one.
func (f *Follower) dropUpTo(n uint64) {
	for len(f.questions) > 0 && f.questions[0].n <= n {
		f.questions = f.questions[1:]
	}
	for len(f.held) > 0 && f.held[0].n <= n {
		f.held = f.held[1:]
	}
}
