package feed_test

import (
	"errors"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
)

// setBack returns a world whose database has lost a commit that the stream holds, and the dispatcher of that time.
func setBack(t *testing.T) (*world, candidate) {
	w := newWorld(t)
	w.journal.Imports = true
	c := w.candidate()
	w.commit("rr")
	w.mustStep(c)
	backup := w.journal.Backup()
	w.commit("r")
	w.mustStep(c)
	w.settle(c)
	w.journal.Restore(backup)
	return w, c
}

// lossy returns such a world when the dispatcher has just found out.
func lossy(t *testing.T) (*world, candidate) {
	w, c := setBack(t)
	if err := w.step(c); !errors.Is(err, store.ErrRegressed) {
		t.Fatal(err)
	}
	if s := c.Stats(); !s.Withheld {
		t.Errorf("%+v", s)
	}
	return w, c
}

// silent does a round that must prove nothing.
func (w *world) silent(c candidate) {
	w.Helper()
	before := len(w.answers)
	if err := w.step(c); err != nil {
		w.Fatal(err)
	}
	if len(w.answers) != before {
		w.Fatal("a proof before the stream was imported")
	}
}

func TestNothingIsProvenBeforeTheStreamIsImported(t *testing.T) {
	w, c := lossy(t)
	w.silent(c)
	task, due := c.ImportDue()
	if !due || task.Since != 1 {
		t.Fatalf("%+v", task)
	}
	// Whoever takes over in the middle of it reads the stream again, though it remembers nothing.
	w.clock.Advance(2 * time.Second)
	next := w.candidate()
	w.silent(next)
	id := w.commit("r")[0] // what the import brings is published, as long as it takes
	w.silent(next)
	if row := w.journal.Row(id); row.Seq == 0 {
		t.Error("not numbered")
	}
	if err := c.Imported(t.Context(), task.Term); err != nil {
		t.Fatal(err)
	}
	w.silent(next)
	task, _ = next.ImportDue()
	if err := next.Imported(t.Context(), task.Term); err != nil {
		t.Fatal(err)
	}
	if a := w.mustStep(next); !a.proven {
		t.Errorf("%+v", a)
	}
	if _, due := next.ImportDue(); due || next.Stats().Importing {
		t.Error("still due")
	}
}

func TestAStreamThatCannotBeReadKeepsNobodyFromProofsForEver(t *testing.T) {
	w, c := lossy(t)
	w.silent(c)
	for range 3 { // as long as it gets on
		w.clock.Advance(9 * time.Second)
		c.ImportGoesOn()
		w.silent(c)
	}
	w.clock.Advance(9 * time.Second)
	w.silent(c)
	w.clock.Advance(2 * time.Second)
	if a := w.mustStep(c); !a.proven {
		t.Errorf("%+v", a)
	}
	c.ImportGoesOn() // it doesn't begin again
	if a := w.mustStep(c); !a.proven {
		t.Errorf("%+v", a)
	}
	task, due := c.ImportDue()
	if !due || !c.Stats().Importing {
		t.Fatal("given up for good")
	}
	if err := c.Imported(t.Context(), task.Term); err != nil {
		t.Fatal(err)
	}
	w.mustStep(c)
}

// A process that couldn't see the end of the stream must not hide it by what it stores itself, nor take the same numbers
// for the same events.
func TestWhatTheStreamKnowsIsNotHiddenByOnesOwn(t *testing.T) {
	for name, commits := range map[string]string{"behind it": "", "as far": "c", "beyond it": "ccc"} {
		t.Run(name, func(t *testing.T) {
			w, _ := setBack(t)
			stored := len(w.bus.Stream)
			w.clock.Advance(2 * time.Second)

			second := w.candidate()
			second.Blind()
			w.commit(commits)
			if err := second.Step(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
			w.bus.Settle()
			if len(w.bus.Stream) != stored || !second.NeedsTail() {
				t.Fatal("something was stored blindly")
			}
			second.Observe(w.bus.State())
			w.silent(second)
			if task, due := second.ImportDue(); !due || task.Since != 1 {
				t.Errorf("%+v, due %v", task, due)
			}
		})
	}
}

// The term may end while the stream is looked at; what the look tells is for a term to compare.
func TestALookAtTheStreamBetweenTwoTermsIsRepeated(t *testing.T) {
	w, _ := setBack(t)
	w.clock.Advance(2 * time.Second)

	second := w.candidate()
	second.Blind()
	w.commit("ccc")
	w.mustStep(second)
	if err := second.Resign(t.Context()); err != nil {
		t.Fatal(err)
	}
	second.Observe(w.bus.State())
	w.mustStep(second)
	if !second.NeedsTail() {
		t.Fatal("nobody will look again")
	}
	second.Observe(w.bus.State())
	w.silent(second)
	if _, due := second.ImportDue(); !due {
		t.Error("what the stream knows is forgotten")
	}
}
