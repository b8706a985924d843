package follower

import (
	"fmt"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/pkg/events"
	"pgregory.net/rapid"
)

// pick returns an index into a list, preferring the end, where the action is.
func pick(t *rapid.T, n int, label string) int {
	if n == 0 {
		t.Skip("nothing there")
	}
	if rapid.Bool().Draw(t, label+": one of the last") {
		return max(0, n-1-rapid.IntRange(0, 3).Draw(t, label))
	}
	return rapid.IntRange(0, n-1).Draw(t, label)
}

// schedule returns the actions of a schedule. Each step may be loss (nothing is ever delivered by itself), delay,
// repetition or reordering (any message may be delivered at any time, any number of times).
func schedule(w *world) map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"commit": func(t *rapid.T) {
			for range rapid.IntRange(1, 4).Draw(t, "n") {
				w.commit(rapid.IntRange(0, 40).Draw(t, "unknown") == 0)
			}
		},
		"number and publish": func(t *rapid.T) {
			from := w.head() + 1
			w.number()
			w.publish(from, w.head(), rapid.IntRange(1, 4).Draw(t, "size"))
		},
		"publish again": func(t *rapid.T) {
			if w.head() == 0 {
				t.Skip("nothing there")
			}
			from := uint64(rapid.IntRange(1, int(w.head())).Draw(t, "from"))
			to := uint64(rapid.IntRange(int(from), int(w.head())).Draw(t, "to"))
			w.publish(from, to, rapid.IntRange(1, 9).Draw(t, "size"))
		},
		"deliver": func(t *rapid.T) {
			for range rapid.IntRange(1, 4).Draw(t, "n") {
				w.deliver(w.batches[pick(t, len(w.batches), "batch")])
			}
		},
		"deliver as compact pages": func(t *rapid.T) {
			for range rapid.IntRange(1, 4).Draw(t, "n") {
				w.deliverCompact(w.batches[pick(t, len(w.batches), "batch")])
			}
		},
		"deliver the newest in order": func(t *rapid.T) {
			n := rapid.IntRange(1, 12).Draw(t, "n")
			for _, b := range w.batches[max(0, len(w.batches)-n):] {
				w.deliver(b)
			}
		},
		"ask":    func(*rapid.T) { w.ask() },
		"answer": func(t *rapid.T) { w.answer(w.requests[pick(t, len(w.requests), "request")]) },
		"deliver answer": func(t *rapid.T) {
			_ = w.deliverAnswer(w.answers[pick(t, len(w.answers), "answer")]) // replays and strangers are refused
		},
		"question and answer": func(t *rapid.T) {
			w.ask()
			w.answer(w.requests[len(w.requests)-1])
			_ = w.deliverAnswer(w.answers[len(w.answers)-1])
		},
		"forged echo": func(t *rapid.T) { // signed answers of a zombie are to other questions: only the nonce differs
			a := w.answers[pick(t, len(w.answers), "answer")]
			a.Nonce = events.NewNonce()
			if err := w.deliverAnswer(a); err == nil {
				t.Fatal("took an answer to a question that was never asked")
			}
		},
		"read what is missing": func(t *rapid.T) {
			need, due := w.f.CatchUp(w.clock.Now())
			if !due || need.Epoch != w.epoch || need.From > w.head() {
				t.Skip("nothing to read")
			}
			page := w.page(need.From, min(w.head(), need.From+uint64(rapid.IntRange(0, 9).Draw(t, "size"))))
			if rapid.Bool().Draw(t, "compact") {
				w.deliverCompact(page)
			} else {
				w.deliver(page)
			}
		},
		"things die": func(t *rapid.T) {
			w.floor = uint64(rapid.IntRange(int(w.floor), int(w.head())+1).Draw(t, "floor"))
		},
		"new epoch": func(t *rapid.T) {
			if rapid.IntRange(0, 3).Draw(t, "rare") > 0 {
				t.Skip("rare")
			}
			w.openEpoch()
		},
		"new keys": func(t *rapid.T) {
			w.keySet = events.HashOf(fmt.Appendf(nil, "keys %d", rapid.IntRange(0, 9).Draw(t, "keys")))
		},
		"fetch keys": func(*rapid.T) { w.setKeys(w.keySet) },
		"time passes": func(t *rapid.T) {
			w.clock.Advance(rapid.SampledFrom([]time.Duration{time.Millisecond, 200 * time.Millisecond, 10 * time.Second, 4 * time.Minute}).Draw(t, "time"))
		},
		"restart": func(t *rapid.T) {
			if rapid.IntRange(0, 5).Draw(t, "rare") > 0 {
				t.Skip("rare")
			}
			w.start()
		},
	}
}

// guarded runs each action under the oracle.
func guarded(w *world, actions map[string]func(*rapid.T)) map[string]func(*rapid.T) {
	checked := make(map[string]func(*rapid.T), len(actions))
	for name, action := range actions {
		checked[name] = func(t *rapid.T) {
			before := w.skips
			action(t)
			if err := w.check(before); err != nil {
				t.Fatal(err)
			}
		}
	}
	return checked
}

func TestNeverFreshWithoutWhatWasCommittedBeforeTheQuestion(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld()
		t.Repeat(guarded(w, schedule(w)))
		w.settleDown(t)
	})
}

// The database loses numbered events and the same epoch goes on as another branch, while messages of the lost branch
// are still delivered. The lost calls are outside of the promise; all others are in it.
func TestNeverFreshOnALostBranch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld()
		actions := schedule(w)
		actions["regress"] = func(t *rapid.T) {
			if rapid.IntRange(0, 2).Draw(t, "rare") > 0 {
				t.Skip("rare")
			}
			w.regress(rapid.IntRange(1, 5).Draw(t, "lost"))
		}
		t.Repeat(guarded(w, actions))
		w.settleDown(t)
	})
}

// settleDown lets everything arrive: then the verifier must become fresh, whatever happened before, unless something
// lives that it doesn't understand.
func (w *world) settleDown(t *rapid.T) {
	for n, unknown := range w.committed() {
		if unknown {
			t.Logf("fact %d lives and isn't understood", n)
			return
		}
	}
	w.setKeys(w.keySet)
	for range 3 {
		before := w.skips
		w.ask()
		asked := w.requests[len(w.requests)-1]
		w.answer(asked)
		if err := w.deliverAnswer(w.answers[len(w.answers)-1]); err != nil {
			t.Fatalf("answer refused: %v", err)
		}
		w.clock.Advance(catchUpAfter)
		for rounds := 0; ; rounds++ {
			need, due := w.f.CatchUp(w.clock.Now())
			if !due || need.From > w.head() { // the latter only for what the database lost: it is gone
				break
			}
			if rounds > 2*int(w.head())+10 || need.Epoch != w.epoch {
				t.Fatalf("catching up gets nowhere: %+v of epoch %s", need, w.epoch)
			}
			w.deliver(w.page(need.From, min(w.head(), need.From+2)))
		}
		if err := w.check(before); err != nil {
			t.Fatal(err)
		}
		if fresh := w.f.Fresh(); fresh != nil && fresh.Since == asked.since {
			return
		}
	}
	t.Fatalf("everything arrived, and still not fresh: %+v", w.f.Stats())
}
