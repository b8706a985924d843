package feed_test

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/authsvc/internal/feed"
	"github.com/tocsin-auth/tocsin/authsvc/internal/feed/feedtest"
	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/pkg/events"
)

const (
	issuer  = "https://issuer.example"
	bound   = 30_000_000
	someone = "01920000-0000-7000-8000-000000000001"
)

var (
	feedKey = ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	signer  = events.NewSigner(issuer, feedKey)
	keySet  = events.KeySet{Issuer: issuer, Keys: map[string]ed25519.PublicKey{signer.KeyID(): feedKey.Public().(ed25519.PublicKey)}}
)

func theSigner() *events.Signer { return signer }

// tb is what *testing.T and *rapid.T have in common.
type tb interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
	Errorf(format string, args ...any)
	Context() context.Context
}

// world is everything around the dispatchers of a test: what they share, and a verifier that hears the live feed.
type world struct {
	tb
	clock    *feedtest.Clock
	journal  *feedtest.Journal
	bus      *feedtest.Bus
	verifier *feedtest.Verifier
	answers  []answer
	names    int
}

type answer struct {
	events.ProofAnswer
	proven bool
	// committed is how many events had been committed when the request arrived.
	committed int
}

func newWorld(t tb) *world {
	clock := feedtest.NewClock()
	w := &world{tb: t, clock: clock, journal: feedtest.NewJournal(clock), bus: feedtest.NewBus(clock),
		verifier: feedtest.NewVerifier("cars", "one", keySet)}
	w.bus.OnLive = func(m feed.Message) {
		if err := w.verifier.Hear(m); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// candidate is a process and its dispatcher.
type candidate struct {
	*feedtest.Process
	*feed.Dispatcher
}

func (w *world) candidate() candidate {
	w.names++
	p := feedtest.NewProcess(w.journal, w.bus)
	return candidate{p, p.Dispatcher(feed.DispatcherConfig{Signer: theSigner, Issuer: issuer,
		Instance: fmt.Sprint("replica ", w.names), Log: slog.New(slog.DiscardHandler)})}
}

// commit commits events of these types: r for token.revoked, c for role.changed.
func (w *world) commit(types string) (ids []string) {
	for _, t := range types {
		var p events.Payload = events.TokenRevoked{UserID: someone, TV: 1}
		if t == 'c' {
			p = events.RoleChanged{UserID: someone, RV: 1}
		}
		ids = append(ids, w.journal.Commit(p))
	}
	return ids
}

// step lets the verifier ask and the candidate do a round. It checks that no answer is ahead of what it may prove.
func (w *world) step(c candidate) error {
	committed := w.journal.Rows()
	w.bus.OnAnswer = func(r feed.Request, m feed.Message) {
		a, proven, err := w.verifier.Check(r, m)
		if err != nil {
			w.Fatal(err)
		}
		for _, row := range committed {
			if now := w.journal.Row(row.ID); now.Until > a.Now && (now.Epoch != a.Epoch || now.Seq == 0 || now.Seq > a.Head) {
				w.Fatalf("event %s (epoch %s, seq %d) was committed before the question and isn't in head %d", row.ID, now.Epoch, now.Seq, a.Head)
			}
		}
		w.answers = append(w.answers, answer{ProofAnswer: a, proven: proven, committed: len(committed)})
	}
	return c.Step(w.Context(), []feed.Request{w.verifier.Ask(w.clock, bound)})
}

func (w *world) mustStep(c candidate) answer {
	w.Helper()
	before := len(w.answers)
	if err := w.step(c); err != nil {
		w.Fatal(err)
	}
	if len(w.answers) != before+1 {
		w.Fatalf("%d answers", len(w.answers)-before)
	}
	return w.answers[before]
}

// settle lets the stream take everything and the journal learn it.
func (w *world) settle(c candidate) {
	w.Helper()
	for range 20 {
		w.bus.Settle()
		if err := c.Pump(w.Context()); err != nil {
			w.Fatal(err)
		}
		w.clock.Advance(feedRetry)
	}
	w.mustStep(c)
}

const feedRetry = 250 * time.Millisecond

// wantStream checks that the stream holds every seq of the present epoch from a seq on.
func (w *world) wantStream(from uint64) {
	w.Helper()
	standing, err := w.journal.FeedStanding(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	seen := map[uint64]bool{}
	for _, m := range w.bus.Stream {
		b, err := events.DecodeBatch(m.Body)
		if err != nil {
			w.Fatal(err)
		}
		for _, e := range b.Events {
			seen[e.Seq] = seen[e.Seq] || b.Epoch == standing.Epoch
		}
	}
	for seq := from; seq <= standing.Head; seq++ {
		if !seen[seq] {
			w.Fatalf("seq %d isn't in the stream", seq)
		}
	}
}

func (w *world) wantPublished(ids ...string) {
	w.Helper()
	for _, id := range ids {
		if r := w.journal.Row(id); !r.Published {
			w.Errorf("event %s (seq %d) isn't marked", id, r.Seq)
		}
	}
}

func TestARoundNumbersPublishesAndProves(t *testing.T) {
	w := newWorld(t)
	c := w.candidate()
	w.mustStep(c)
	ids := w.commit("rrcr")
	w.journal.Keys = events.HashOf([]byte("keys"))
	a := w.mustStep(c)
	if !a.proven || a.Head != 4 || a.Floor != 1 || a.Term != 1 || a.Keys != w.journal.Keys || a.Now != w.clock.Now().UnixMicro() {
		t.Errorf("%+v", a)
	}
	var sizes []int
	for _, m := range w.bus.Live {
		b, _ := events.DecodeBatch(m.Body)
		sizes = append(sizes, len(b.Events))
	}
	if fmt.Sprint(sizes) != "[2 1 1]" {
		t.Errorf("neighbours of one type don't go together: %v", sizes)
	}
	w.settle(c)
	w.wantStream(1)
	w.wantPublished(ids...)
	if s := c.Stats(); s.Published != 4 || s.Head != 4 || !s.Holding || s.Repairs != 0 {
		t.Errorf("%+v", s)
	}
	if len(w.bus.Live) != 3 || len(w.bus.Stream) != 3 {
		t.Errorf("%d live, %d stored", len(w.bus.Live), len(w.bus.Stream))
	}
}

func TestTheStreamIsNotWaitedFor(t *testing.T) {
	w := newWorld(t)
	w.bus.StreamAway = true
	c := w.candidate()
	for i := range 100 {
		w.commit("r")
		if a := w.mustStep(c); !a.proven || a.Head != uint64(i+1) {
			t.Fatalf("%+v", a)
		}
		w.clock.Advance(100 * time.Millisecond)
	}
	w.bus.TimeOut(false)
	w.bus.StreamAway = false
	w.settle(c)
	w.settle(c)
	w.wantStream(1)
	w.wantPublished(w.journal.Rows()[99].ID)
	if s := c.Stats(); s.StreamFailures == 0 || s.Repairs != 0 {
		t.Errorf("%+v", s)
	}
}

func TestNothingIsProvenBeforeAPileIsNumbered(t *testing.T) {
	w := newWorld(t)
	w.journal.Limit = 3
	w.commit("rrrrrrrrrr")
	if a := w.mustStep(w.candidate()); !a.proven || a.Head != 10 {
		t.Errorf("%+v", a)
	}
}

func TestOneDispatcherAtATime(t *testing.T) {
	w := newWorld(t)
	a, b := w.candidate(), w.candidate()
	w.mustStep(a)
	w.commit("r")
	if err := w.step(b); !errors.Is(err, store.ErrLeaseHeld) {
		t.Fatal(err)
	}
	w.mustStep(a)
	if err := a.Resign(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := w.mustStep(b); got.Term != 2 || !got.proven || got.Epoch != w.answers[0].Epoch {
		t.Errorf("%+v", got)
	}
}

func TestAZombieIsRefused(t *testing.T) {
	w := newWorld(t)
	zombie, next := w.candidate(), w.candidate()
	w.mustStep(zombie)
	w.clock.Advance(2 * time.Second)
	w.mustStep(next)
	w.commit("r")
	answers := len(w.answers)
	if err := w.step(zombie); !errors.Is(err, store.ErrFenced) {
		t.Fatal(err)
	}
	if err := w.step(zombie); !errors.Is(err, store.ErrLeaseHeld) {
		t.Fatal(err)
	}
	if len(w.answers) != answers || len(w.bus.Live) != 0 {
		t.Errorf("a zombie answered or published")
	}
	w.mustStep(next)
}

// The order of a round is cut off at every point, by a crash before a call or after it. Whatever was committed goes out
// on core before the next dispatcher's first proof, and reaches the stream.
func TestACrashBetweenAnyTwoStepsLosesNothing(t *testing.T) {
	for crash := 0; ; crash++ {
		w := newWorld(t)
		first := w.candidate()
		first.Left = crash
		ids := w.commit("rrc")
		err := w.step(first)
		w.bus.Settle()
		if err == nil {
			err = first.Pump(t.Context())
		}
		ids = append(ids, w.commit("r")...)
		if err == nil {
			err = w.step(first)
		}
		if err == nil && first.Left > 0 {
			if crash < 15 {
				t.Fatalf("only %d steps", crash)
			}
			return
		}
		w.clock.Advance(2 * time.Second)
		second := w.candidate()
		if a := w.mustStep(second); !a.proven || a.Head != 4 {
			t.Fatalf("crash at %d: %+v, applied %v", crash, a, a.proven)
		}
		w.settle(second)
		w.wantStream(1)
		w.wantPublished(ids...)
		if t.Failed() {
			t.Fatalf("crash at %d", crash)
		}
	}
}

func TestATakeoverRepublishesBeforeItsFirstProof(t *testing.T) {
	w := newWorld(t)
	first := w.candidate()
	w.mustStep(first)
	w.commit("r")
	first.Left = 2 // numbered, and dead before anything is out
	if err := w.step(first); !errors.Is(err, feedtest.ErrCrashed) {
		t.Fatal(err)
	}
	if _, applied := w.verifier.Applied(); applied != 0 {
		t.Fatal("the event is out already")
	}
	w.clock.Advance(2 * time.Second)
	if a := w.mustStep(w.candidate()); !a.proven || a.Head != 1 {
		t.Errorf("%+v", a)
	}
}

func TestADispatcherWithoutBusGivesItsLeaseUp(t *testing.T) {
	w := newWorld(t)
	c := w.candidate()
	w.mustStep(c)
	w.bus.Away = true
	w.commit("r")
	for range 10 {
		if err := w.step(c); err == nil {
			t.Fatal("a round without a bus")
		}
		w.clock.Advance(feedRetry)
	}
	standing, _ := w.journal.FeedStanding(t.Context())
	if standing.Until > standing.Now {
		t.Error("a dispatcher that can't publish renewed its lease")
	}
	w.bus.Away = false
	if a := w.mustStep(c); !a.proven || a.Head != 1 {
		t.Errorf("%+v", a)
	}
	w.settle(c)
	w.wantStream(1)
}

// A holder that is cut off from the bus proves nothing to anybody, so it must not keep others from it, even while
// nothing is committed that it would have to publish.
func TestAnIdleDispatcherWithoutBusGivesItsLeaseUp(t *testing.T) {
	w := newWorld(t)
	c := w.candidate()
	w.mustStep(c)
	w.bus.Away = true
	for range 10 {
		_ = c.Step(t.Context(), nil) // that it fails is not the point
		w.clock.Advance(feedRetry)
	}
	standing, _ := w.journal.FeedStanding(t.Context())
	if standing.Until > standing.Now {
		t.Error("a dispatcher that can't publish renewed its lease")
	}
	w.bus.Away = false
	if a := w.mustStep(w.candidate()); !a.proven || a.Term != 2 {
		t.Errorf("%+v", a)
	}
}

func TestALostOrRegressedStreamIsFilledAgain(t *testing.T) {
	for name, lose := range map[string]func(*world){
		"wiped":     func(w *world) { w.bus.Wipe() },
		"truncated": func(w *world) { w.bus.Truncate(2) },
	} {
		for _, notice := range []string{"look", "PubAck"} {
			t.Run(name+", seen by "+notice, func(t *testing.T) {
				w := newWorld(t)
				c := w.candidate()
				w.commit("rcrcr")
				w.mustStep(c)
				w.settle(c)
				c.Observe(w.bus.State())
				if c.Stats().Repairs != 0 {
					t.Fatal("a whole stream was repaired")
				}
				since := c.StreamSeq()
				lose(w)
				if notice == "look" {
					state := w.bus.State()
					state.Since = since
					c.Observe(state)
				} else {
					w.commit("r")
					w.mustStep(c)
				}
				w.settle(c)
				w.wantStream(1)
				if s := c.Stats(); s.Repairs != 1 {
					t.Errorf("%d repairs", s.Repairs)
				}
			})
		}
	}
}

func TestAStreamLostWithItsDispatcherIsFilledAgain(t *testing.T) {
	w := newWorld(t)
	first := w.candidate()
	ids := w.commit("rcr")
	w.mustStep(first)
	w.settle(first)
	w.wantPublished(ids...)
	w.bus.Truncate(1)
	w.clock.Advance(2 * time.Second)
	second := w.candidate()
	w.mustStep(second)
	second.Observe(w.bus.State())
	w.settle(second)
	w.wantStream(1)
}

// A stream that was purged goes on counting where it was; one whose configuration was changed may lack anything.
func TestAPurgedOrChangedStreamIsFilledAgain(t *testing.T) {
	for name, look := range map[string]func(c candidate, state feed.StreamState){
		"purged": func(c candidate, state feed.StreamState) { c.Observe(state) },
		"changed": func(c candidate, state feed.StreamState) {
			state.Empty, state.Changed = false, true
			c.Observe(state)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			c := w.candidate()
			w.commit("rcr")
			w.mustStep(c)
			w.settle(c)
			c.Observe(w.bus.State())
			since := c.StreamSeq()
			w.bus.Purge()
			state := w.bus.State()
			state.Since = since
			look(c, state)
			w.settle(c)
			w.wantStream(1)
			state = w.bus.State()
			state.Since = c.StreamSeq()
			c.Observe(state)
			if s := c.Stats(); s.Repairs != 1 {
				t.Errorf("%d repairs", s.Repairs)
			}
		})
	}
}

// Who looks at the stream before it is the dispatcher changes it back before it may fill it.
func TestAStreamThatWasChangedBeforeTheTermIsFilledAgain(t *testing.T) {
	w := newWorld(t)
	first := w.candidate()
	w.commit("rcr")
	w.mustStep(first)
	w.settle(first)
	w.mustStep(first) // which marks
	w.bus.Stream = w.bus.Stream[len(w.bus.Stream)-1:]
	w.clock.Advance(2 * time.Second)
	second := w.candidate()
	state := w.bus.State()
	state.Changed = true
	second.Observe(state)
	w.mustStep(second)
	second.Observe(w.bus.State())
	w.settle(second)
	w.wantStream(1)
}

func TestARepairBeginsAtTheFloor(t *testing.T) {
	w := newWorld(t)
	c := w.candidate()
	w.commit("rr")
	w.mustStep(c)
	w.settle(c)
	w.clock.Advance(events.KeyRetention)
	w.commit("rr")
	if a := w.mustStep(c); a.Floor != 3 {
		t.Fatalf("floor %d", a.Floor)
	}
	w.settle(c)
	c.Observe(w.bus.State())
	w.bus.Wipe()
	c.Observe(w.bus.State())
	w.settle(c)
	w.wantStream(3)
	if len(w.bus.Stream) != 1 {
		t.Errorf("%d messages", len(w.bus.Stream))
	}
}

// Found by the model: an event that lapsed on its way to the stream was left behind by a repair, and never marked.
func TestARepairKeepsWhatWasOnItsWay(t *testing.T) {
	w := newWorld(t)
	first := w.candidate()
	w.commit("r")
	w.mustStep(first)
	w.bus.Settle()
	ids := w.commit("r")
	if err := first.Pump(t.Context()); err != nil {
		t.Fatal(err)
	}
	first.Left = 2 // numbered, which marks the first event too, and dead
	if err := w.step(first); !errors.Is(err, feedtest.ErrCrashed) {
		t.Fatal(err)
	}
	w.clock.Advance(2 * events.KeyRetention)
	w.bus.Wipe()
	second := w.candidate()
	w.mustStep(second)
	second.Observe(w.bus.State())
	w.settle(second)
	w.wantPublished(ids...)
}

func TestDuplicatesAreHarmless(t *testing.T) {
	w := newWorld(t)
	c := w.candidate()
	w.commit("rrr")
	w.mustStep(c)
	w.bus.TimeOut(true) // stored, but nobody learned of it
	w.clock.Advance(time.Second)
	w.settle(c)
	if len(w.bus.Stream) < 2 {
		t.Fatal("nothing was repeated")
	}
	for _, m := range append(w.bus.Stream, w.bus.Live...) {
		if err := w.verifier.Hear(m); err != nil {
			t.Fatal(err)
		}
	}
	if a := w.mustStep(c); !a.proven || a.Head != 3 {
		t.Errorf("%+v", a)
	}
	if s := c.Stats(); s.Repairs != 0 {
		t.Errorf("%d repairs because of a duplicate", s.Repairs)
	}
}

func TestALostCommitOpensAGreaterEpochBeforeTheNextProof(t *testing.T) {
	w := newWorld(t)
	c := w.candidate()
	w.commit("rr")
	w.mustStep(c)
	backup := w.journal.Backup()
	w.commit("r")
	before := w.mustStep(c)
	w.journal.Restore(backup)
	if err := w.step(c); !errors.Is(err, store.ErrRegressed) {
		t.Fatal(err)
	}
	after := w.mustStep(c)
	if after.Epoch <= before.Epoch || after.Head != 2 || !after.proven {
		t.Errorf("%+v after %+v", after, before)
	}
	w.settle(c)
	w.wantStream(1)
}

func TestAProcessWithoutMemorySeesALostCommitInTheStream(t *testing.T) {
	w := newWorld(t)
	first := w.candidate()
	w.commit("rr")
	w.mustStep(first)
	backup := w.journal.Backup()
	w.commit("r")
	before := w.mustStep(first)
	w.settle(first)
	w.journal.Restore(backup)
	w.clock.Advance(2 * time.Second)
	second := w.candidate()
	second.Observe(w.bus.State())
	after := w.mustStep(second)
	if after.Epoch <= before.Epoch || !after.proven {
		t.Errorf("%+v after %+v", after, before)
	}
	second.Observe(w.bus.State())
	w.settle(second)
	w.wantStream(1)
	if s := second.Stats(); s.Takeovers != 1 {
		t.Errorf("%d takeovers", s.Takeovers)
	}
}

func TestOldRequestsAreNotAnswered(t *testing.T) {
	w := newWorld(t)
	c := w.candidate()
	w.mustStep(c)
	old := w.verifier.Ask(w.clock, bound)
	w.clock.Advance(3 * time.Second)
	if err := c.Step(t.Context(), []feed.Request{old}); err != nil {
		t.Fatal(err)
	}
	if len(w.answers) != 1 || c.Stats().LateRequests != 1 {
		t.Errorf("%d answers, %+v", len(w.answers), c.Stats())
	}
}

func TestEventsThatSomebodyWaitsForAskForProofs(t *testing.T) {
	w := newWorld(t)
	c := w.candidate()
	w.mustStep(c)
	for _, want := range []bool{true, false} {
		if want {
			c.WantAck()
		}
		w.commit("r")
		w.mustStep(c)
		b, err := events.DecodeBatch(w.bus.Live[len(w.bus.Live)-1].Body)
		if err != nil || b.Ack != want {
			t.Errorf("ack %v, want %v: %v", b.Ack, want, err)
		}
	}
}

func TestTheBoundIsRecordedBeforeTheAnswer(t *testing.T) {
	w := newWorld(t)
	c := w.candidate()
	w.bus.OnAnswer = func(feed.Request, feed.Message) {}
	for _, b := range []int64{5_000_000, bound, 1_000_000} {
		w.bus.OnAnswer = func(r feed.Request, _ feed.Message) {
			if s, _ := w.journal.FeedStanding(t.Context()); s.MaxBound < r.Proof.Bound {
				t.Errorf("b %d was answered with %d on record", r.Proof.Bound, s.MaxBound)
			}
		}
		if err := c.Step(t.Context(), []feed.Request{w.verifier.Ask(w.clock, b)}); err != nil {
			t.Fatal(err)
		}
	}
}

// A key of which the database knows nothing has signed the stream's end, so commits are lost. One term asks about it and no further
// one does, since the message stays where it is until others follow.
func TestAnUnknownKeyAtTheStreamsEndOpensOneEpoch(t *testing.T) {
	w := newWorld(t)
	w.journal.Imports = true
	c := w.candidate()
	w.commit("r")
	first := w.mustStep(c).Epoch
	other := w.candidate()
	other.Observe(feed.StreamState{TailKey: "lost"})
	c.Observe(feed.StreamState{TailKey: "lost"})
	if c.Stats().Holding {
		t.Fatal("the term goes on")
	}
	if err := w.step(c); err != nil {
		t.Fatal(err)
	}
	second := c.Stats().Epoch
	if task, due := c.ImportDue(); !due || second <= first {
		t.Fatalf("epoch %s after %s, import due: %v", second, first, due)
	} else if err := c.Imported(t.Context(), task.Term); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		c.Observe(feed.StreamState{TailKey: "lost"})
		if got := w.mustStep(c).Epoch; got != second {
			t.Fatalf("another epoch, %s after %s", got, second)
		}
	}
	w.clock.Advance(48 * time.Hour) // the lease is long over
	if got := w.mustStep(other).Epoch; got != second {
		t.Errorf("who has seen the message, too, and takes over: another epoch, %s after %s", got, second)
	}
}

func TestAKeyAtTheStreamsEndThatOnlyTheDatabaseKnowsIsNoLoss(t *testing.T) {
	w := newWorld(t)
	w.journal.FeedKeys = []string{"dropped"}
	c := w.candidate()
	w.commit("r")
	first := w.mustStep(c).Epoch
	c.Observe(feed.StreamState{TailKey: "dropped"})
	if got := w.mustStep(c).Epoch; got != first {
		t.Errorf("epoch %s after %s", got, first)
	}
}
