package liveness

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/authsvc/internal/turns"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// readerFunc is a primary as a test wants it.
type readerFunc func(ctx context.Context, questions []store.Question) ([]store.State, error)

func (f readerFunc) Ask(ctx context.Context, questions []store.Question) ([]store.State, error) {
	return f(ctx, questions)
}

// echo answers with the names of what was asked for.
func echo(_ context.Context, questions []store.Question) ([]store.State, error) {
	states := make([]store.State, len(questions))
	for i, q := range questions {
		states[i].Credentials = []store.CredentialState{{Credential: q.Credentials[0]}}
	}
	return states, nil
}

func about(name string) store.Question {
	return store.Question{Credentials: []store.Credential{{JTI: name}}}
}

func name(q store.Question) string { return q.Credentials[0].JTI }

// patient returns a gatherer for whose patience a machine that stands still is no matter.
func patient(reader Reader, shares turns.Shares) *Gatherer {
	g := NewGatherer(reader, shares)
	g.Patience = time.Hour
	return g
}

func gatherer(t testing.TB, shares turns.Shares, reader readerFunc) *Gatherer {
	t.Helper()
	g := patient(reader, shares)
	t.Cleanup(func() { g.Close(context.Background()) })
	return g
}

var one = turns.Shares{Workers: 1, Running: 1, Queued: 100, Total: 100, Batch: 10}

// EliteLinearizable rests on this: of many questions at once, each is answered by a read that began after it was asked.
func TestNoQuestionJoinsAReadThatBeganBeforeIt(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		shares := turns.Shares{Workers: rapid.IntRange(1, 3).Draw(t, "workers"), Running: rapid.IntRange(1, 3).Draw(t, "running"),
			Queued: 1000, Total: 1000, Batch: rapid.IntRange(1, 8).Draw(t, "batch")}
		askers := rapid.IntRange(1, 12).Draw(t, "askers")
		var version atomic.Int64 // of the primary: raised by whoever changes it
		g := patient(readerFunc(func(_ context.Context, questions []store.Question) ([]store.State, error) {
			states := make([]store.State, len(questions))
			seen := version.Load() // the snapshot of the whole read
			for i := range states {
				states[i].Now = seen
			}
			return states, nil
		}), shares)
		defer g.Close(context.Background())
		var wait sync.WaitGroup
		for range askers {
			wait.Go(func() {
				for range 20 {
					committed := version.Add(1)
					state, err := g.Ask(context.Background(), Callers, about("x"))
					if err != nil || state.Now < committed {
						t.Errorf("a read saw %d, after %d was committed: %v", state.Now, committed, err)
					}
				}
			})
		}
		wait.Wait()
	})
}

func TestQuestionsThatCameDuringAReadShareTheNext(t *testing.T) {
	reads, release := make(chan int, 10), make(chan struct{})
	g := gatherer(t, one, func(ctx context.Context, questions []store.Question) ([]store.State, error) {
		reads <- len(questions)
		<-release
		return echo(ctx, questions)
	})
	var wait sync.WaitGroup
	ask := func(i int) {
		wait.Add(1)
		if !g.Submit("a", about(fmt.Sprint(i)), func(s store.State, err error) {
			defer wait.Done()
			if err != nil || s.Credentials[0].JTI != fmt.Sprint(i) {
				t.Errorf("%d got the answer of %v, %v", i, s.Credentials, err)
			}
		}) {
			t.Error("no room")
		}
	}
	ask(0)
	first := <-reads
	for i := range 5 {
		ask(i + 1)
	}
	close(release)
	wait.Wait()
	if second := <-reads; first != 1 || second != 5 || len(reads) != 0 {
		t.Errorf("reads of %d and %d, and %d more; want 1 and 5", first, second, len(reads))
	}
}

func TestACallerWhoGivesUpDoesNotEndTheReadOfTheOthers(t *testing.T) {
	began, release := make(chan struct{}, 10), make(chan struct{})
	g := gatherer(t, one, func(ctx context.Context, questions []store.Question) ([]store.State, error) {
		began <- struct{}{}
		select {
		case <-release:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		return echo(ctx, questions)
	})
	hold := make(chan error, 1)
	go func() { _, err := g.Ask(t.Context(), Callers, about("hold")); hold <- err }()
	<-began
	ctx, cancel := context.WithCancel(t.Context())
	impatient, patient := make(chan error, 1), make(chan error, 1)
	go func() { _, err := g.Ask(ctx, Callers, about("impatient")); impatient <- err }()
	go func() { _, err := g.Ask(t.Context(), Callers, about("patient")); patient <- err }()
	cancel()
	if err := <-impatient; !errors.Is(err, context.Canceled) {
		t.Errorf("impatient: %v", err)
	}
	close(release)
	if err := errors.Join(<-hold, <-patient); err != nil {
		t.Error(err)
	}
}

var errPoison = errors.New("can't be read")

func TestAQuestionThatCannotBeReadCostsNoOtherItsAnswer(t *testing.T) {
	began, release := make(chan struct{}, 100), make(chan struct{})
	g := gatherer(t, one, func(ctx context.Context, questions []store.Question) ([]store.State, error) {
		began <- struct{}{}
		<-release
		for _, q := range questions {
			if name(q) == "poison" {
				return nil, errPoison
			}
		}
		return echo(ctx, questions)
	})
	var wait sync.WaitGroup
	ask := func(name string, want error) {
		wait.Add(1)
		g.Submit("a", about(name), func(_ store.State, err error) {
			defer wait.Done()
			if !errors.Is(err, want) {
				t.Errorf("%s: %v, want %v", name, err, want)
			}
		})
	}
	ask("first", nil)
	<-began
	ask("before", nil)
	ask("poison", errPoison)
	ask("after", nil)
	close(release)
	wait.Wait()
}

func TestADatabaseThatIsAwayIsAskedOnce(t *testing.T) {
	var reads atomic.Int64
	began, release := make(chan struct{}, 100), make(chan struct{})
	g := gatherer(t, one, func(context.Context, []store.Question) ([]store.State, error) {
		reads.Add(1)
		began <- struct{}{}
		<-release
		return nil, fmt.Errorf("%w: refused", store.ErrUnavailable)
	})
	var wait sync.WaitGroup
	for i := range 8 {
		wait.Add(1)
		g.Submit("a", about("x"), func(_ store.State, err error) {
			defer wait.Done()
			if !errors.Is(err, store.ErrUnavailable) {
				t.Error(err)
			}
		})
		if i == 0 {
			<-began
		}
	}
	close(release)
	wait.Wait()
	if reads.Load() != 2 {
		t.Errorf("%d reads, want one for the first and one for all others", reads.Load())
	}
}

func TestWhoHasWaitedTooLongIsNotReadFor(t *testing.T) {
	g := gatherer(t, one, func(context.Context, []store.Question) ([]store.State, error) {
		t.Error("read")
		return nil, nil
	})
	var got error
	g.read([]pending{{about("x"), time.Now().Add(-2 * g.Patience), func(_ store.State, err error) { got = err }}})
	if !errors.Is(got, ErrLate) {
		t.Error(got)
	}
}

func TestWithoutRoomAQuestionIsRefusedAtOnce(t *testing.T) {
	began, release := make(chan struct{}, 10), make(chan struct{})
	g := gatherer(t, turns.Shares{Workers: 1, Running: 1, Queued: 1, Total: 10, Batch: 1}, func(ctx context.Context, questions []store.Question) ([]store.State, error) {
		began <- struct{}{}
		<-release
		return echo(ctx, questions)
	})
	defer close(release)
	g.Submit(Callers, about("reads"), func(store.State, error) {})
	<-began
	g.Submit(Callers, about("waits"), func(store.State, error) {})
	if _, err := g.Ask(t.Context(), Callers, about("x")); !errors.Is(err, ErrBusy) {
		t.Error(err)
	}
}

func TestCloseInAHurryEndsReads(t *testing.T) {
	began := make(chan struct{})
	g := patient(readerFunc(func(ctx context.Context, _ []store.Question) ([]store.State, error) {
		close(began)
		<-ctx.Done()
		return nil, ctx.Err()
	}), one)
	failed := make(chan error, 1)
	g.Submit("a", about("x"), func(_ store.State, err error) { failed <- err })
	<-began
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := errors.Join(g.Close(ctx), <-failed); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if g.Submit("a", about("x"), nil) {
		t.Error("a closed gatherer took a question")
	}
}
