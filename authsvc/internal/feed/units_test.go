package feed

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/pkg/events"
)

type manualClock struct{ now time.Time }

func (c *manualClock) Now() time.Time { return c.now }

func proofFrom(service, instance string, at time.Time, applied uint64, bound time.Duration) Request {
	return Request{Service: service, Arrived: at, Proof: events.ProofRequest{Instance: instance, StartNonce: instance,
		Epoch: "e", Applied: applied, State: events.StateFresh, Bound: bound.Microseconds()}}
}

func TestTheInboxServesServicesInTurn(t *testing.T) {
	var b inbox
	for i := range 100 {
		b.add(proofFrom("loud", fmt.Sprint(i), time.Time{}, 0, 0))
	}
	b.add(proofFrom("quiet", "one", time.Time{}, 0, 0))
	b.add(proofFrom("quiet", "one", time.Time{}, 7, 0)) // instead of its first
	taken, more := b.take(4)
	if !more || len(taken) != 4 || taken[1].Service != "quiet" || taken[1].Proof.Applied != 7 {
		t.Fatalf("%v %+v", more, taken)
	}
	if taken, more = b.take(1000); more || len(taken) != 97 {
		t.Errorf("%d left, more %v", len(taken), more)
	}
	for i := range maxInstances {
		b.add(proofFrom("loud", fmt.Sprint(i), time.Time{}, 0, 0))
	}
	if b.add(proofFrom("loud", "one too many", time.Time{}, 0, 0)) || !b.add(proofFrom("quiet", "one", time.Time{}, 0, 0)) {
		t.Error("one service's queue isn't bounded, or bounds another's")
	}
}

func testFleet() (*Fleet, *progress, *manualClock) {
	clock, p := &manualClock{now: time.Unix(1000, 0)}, newProgress()
	p.begin(1, time.Unix(0, 0), false) // the dispatcher for longer than any freshness
	return newFleet(clock, p), p, clock
}

func TestTheFleetCountsWhoCouldBeFresh(t *testing.T) {
	f, _, clock := testFleet()
	f.Hear(proofFrom("cars", "a", clock.now, 5, 10*time.Second))
	f.Hear(proofFrom("cars", "b", clock.now, 4, 30*time.Second))
	if a := f.Applied("e", 5, nil); a.Total != 2 || a.Applied != 1 || len(a.Laggards) != 1 || a.Laggards[0].Instance != "b" {
		t.Errorf("%+v", a)
	}
	clock.now = clock.now.Add(20 * time.Second)
	if a := f.Applied("e", 5, nil); a.Total != 1 || a.Applied != 0 {
		t.Errorf("one was silent for longer than its bound: %+v", a)
	}
	if v := f.Verifiers(); len(v) != 2 || v[0].State != events.StateStale || v[1].State != events.StateFresh {
		t.Errorf("%+v", v)
	}
	// A longer bound of an older request still counts after a shorter one.
	f.Hear(proofFrom("cars", "b", clock.now, 5, time.Second))
	clock.now = clock.now.Add(5 * time.Second)
	if a := f.Applied("e", 5, nil); a.Total != 1 || a.Applied != 1 {
		t.Errorf("%+v", a)
	}
	clock.now = clock.now.Add(time.Hour)
	if v := f.Verifiers(); len(v) != 0 {
		t.Errorf("%+v", v)
	}
}

func TestTheTotalIsUnknownUntilTheLargestBoundHasPassed(t *testing.T) {
	f, p, clock := testFleet()
	wait := func(d time.Duration, want bool) {
		t.Helper()
		clock.now = clock.now.Add(d)
		f.StillHearing(clock.now)
		if got := f.Applied("e", 1, nil).Known; got != want {
			t.Errorf("known %v, want %v", got, want)
		}
	}
	wait(time.Hour, false) // not hearing
	f.Hearing()
	wait(time.Hour, false) // the largest bound isn't known
	f.Hearing()
	p.see("e", 1, (30 * time.Second).Microseconds())
	wait(29*time.Second, false)
	wait(3*time.Second, true)
	f.Deaf()
	wait(time.Hour, false)
	f.Hearing()
	wait(time.Second, false)
	wait(time.Minute, true)
}

// A process that was frozen, or whose connection is dead and doesn't know it, has requests waiting that it hasn't counted:
// an instance may be fresh by one of them though what was heard of it has worn off.
func TestTheTotalIsUnknownWhileRequestsMayBeWaiting(t *testing.T) {
	f, p, clock := testFleet()
	f.Hearing()
	p.see("e", 1, (2 * time.Second).Microseconds())
	pass := func(d time.Duration, hearing, want bool) {
		t.Helper()
		clock.now = clock.now.Add(d)
		if hearing {
			f.StillHearing(clock.now)
		}
		if a := f.Applied("e", 1, nil); a.Known != want {
			t.Errorf("%+v, want known %v", a, want)
		}
	}
	pass(time.Minute, true, true)
	f.Hear(proofFrom("cars", "a", clock.now, 0, 2*time.Second))
	pass(500*time.Millisecond, false, true)
	pass(2*time.Second, false, false)
	f.Hear(proofFrom("cars", "a", clock.now, 0, 2*time.Second)) // it was waiting
	pass(0, false, false)
	pass(0, true, true)
}

func TestTheTotalIsKnownAtOnceToWhoOpenedTheFirstEpoch(t *testing.T) {
	f, p, clock := testFleet()
	f.Hearing()
	clock.now = clock.now.Add(time.Millisecond)
	p.see("e", 1, (30 * time.Second).Microseconds())
	p.begin(1, clock.now, true)
	if !f.Applied("e", 1, nil).Known {
		t.Error("unknown")
	}
	f.Deaf()
	f.Hearing()
	if f.Applied("e", 1, nil).Known {
		t.Error("known although requests may have been missed")
	}
}

// What the bus brings to this process isn't all that another dispatcher has answered: nodes of the bus may be cut off
// from each other.
func TestTheTotalIsKnownToADispatcherOfLongStanding(t *testing.T) {
	f, p, clock := testFleet()
	f.Hearing()
	known := func(d time.Duration, seq uint64, want bool) {
		t.Helper()
		clock.now = clock.now.Add(d)
		f.StillHearing(clock.now)
		if got := f.Applied("e", seq, nil).Known; got != want {
			t.Errorf("known %v, want %v", got, want)
		}
	}
	p.see("e", 7, (30 * time.Second).Microseconds())
	known(time.Minute, 7, true)
	known(0, 8, false) // another one may have numbered it, and answered before that
	p.end()
	known(time.Minute, 7, false) // others answer
	p.begin(2, clock.now, false)
	known(0, 7, true) // nobody has, in between
	p.end()
	p.begin(4, clock.now, false)
	known(30*time.Second, 7, false) // somebody has
	known(2*time.Second, 7, true)
	if f.Applied("f", 7, nil).Known {
		t.Error("known for another epoch")
	}
	p.end()
	if !f.Applied("e", 8, roster{}).Known {
		t.Error("unknown although the dispatcher vouches for it")
	}
}

// replicas are two fleets that call the roll over a bus without loss: the first is the dispatcher's.
func replicas(t *testing.T) (dispatcher, standby *Fleet, clock *manualClock, call func(seq uint64) roster) {
	dispatcher, p, clock := testFleet()
	p.see("e", 7, (30 * time.Second).Microseconds())
	standby = newFleet(clock, newProgress())
	var calls, answers *rollCall
	calls = newRollCall(standby, func(n nudge) { answers.answer(*n.Roll, "standby") })
	var answered []roll
	answers = newRollCall(dispatcher, func(n nudge) { answered = append(answered, *n.Roll) })
	return dispatcher, standby, clock, func(seq uint64) roster {
		q := &question{}
		defer calls.over(q)
		if calls.agreed(q, "e", seq) != nil {
			t.Error("agreed before anything was answered")
		}
		for _, r := range answered {
			if r.To != "standby" {
				t.Errorf("an answer to %q", r.To)
			}
			calls.hear(r)
		}
		return calls.agreed(q, "e", seq)
	}
}

func TestAStandbyKnowsTheTotalOnlyIfItCountsWhomTheDispatcherCounts(t *testing.T) {
	dispatcher, standby, clock, call := replicas(t)
	one, two := proofFrom("cars", "one", clock.now, 0, 3*time.Second), proofFrom("cars", "two", clock.now, 0, 3*time.Second)
	dispatcher.Hear(one)
	if call(7) != nil {
		t.Error("agreed although only the dispatcher counts an instance")
	}
	standby.Hear(one)
	if call(7) == nil {
		t.Error("not agreed although both count the same")
	}
	standby.Hear(two)
	if call(7) != nil {
		t.Error("agreed although the dispatcher doesn't count an instance")
	}
	clock.now = clock.now.Add(4 * time.Second)
	if call(7) == nil {
		t.Error("not agreed although both count nobody")
	}
	if call(8) != nil {
		t.Error("agreed about an event that the dispatcher hasn't numbered")
	}
}

// The dispatcher may have heard an instance later than this process has: so nobody whom they agreed on leaves the total before
// the end of what could have been heard until then.
func TestAStandbyCountsWhomTheDispatcherMayHaveHeardLater(t *testing.T) {
	dispatcher, standby, clock, call := replicas(t)
	standby.Hearing()
	pass := func(d time.Duration) {
		clock.now = clock.now.Add(d)
		standby.StillHearing(clock.now)
	}
	const bound = 2 * time.Minute
	dispatcher.Hear(proofFrom("cars", "one", clock.now, 0, bound))
	standby.Hear(proofFrom("cars", "one", clock.now, 0, bound))
	pass(bound - time.Second)
	dispatcher.Hear(proofFrom("cars", "one", clock.now, 0, bound)) // the bus has lost that on the way to the standby
	agreed := call(7)
	pass(2 * time.Second)
	standby.Hear(proofFrom("cars", "two", clock.now, 7, time.Second)) // which is when those are forgotten that are gone
	if a := standby.Applied("e", 7, agreed); !a.Known || a.Total != 2 || a.Applied != 1 || len(a.Laggards) != 1 || a.Laggards[0].Instance != "one" {
		t.Errorf("%+v", a)
	}
	pass(bound)
	if a := standby.Applied("e", 7, agreed); !a.Known || a.Total != 0 {
		t.Errorf("%+v", a)
	}
}

func TestOnlyADispatcherOfLongStandingAnswersTheRollCall(t *testing.T) {
	dispatcher, _, clock, call := replicas(t)
	dispatcher.progress.end()
	if call(7) != nil {
		t.Error("agreed with one that isn't the dispatcher")
	}
	dispatcher.progress.begin(3, clock.now, false)
	if call(7) != nil {
		t.Error("agreed with one that has just become the dispatcher")
	}
	clock.now = clock.now.Add(time.Minute)
	if call(7) == nil {
		t.Error("not agreed")
	}
}

func TestARollCallIsForOnePosition(t *testing.T) {
	_, standby, _, _ := replicas(t)
	c := newRollCall(standby, func(nudge) {})
	q := &question{epoch: "e", seq: 7, agreed: roster{}}
	if c.agreed(q, "e", 7) == nil || c.agreed(q, "e", 8) != nil {
		t.Error("what was agreed for one position holds for another, or not for itself")
	}
}

func TestInstancesOfAServiceAreCapped(t *testing.T) {
	f, _, clock := testFleet()
	for i := range maxInstances {
		if !f.Hear(proofFrom("cars", fmt.Sprint(i), clock.now, 0, time.Second)) {
			t.Fatal(i)
		}
	}
	if f.Hear(proofFrom("cars", "one too many", clock.now, 0, time.Second)) {
		t.Error("not capped")
	}
	if !f.Hear(proofFrom("cars", "0", clock.now, 1, time.Second)) || !f.Hear(proofFrom("jobs", "one", clock.now, 0, time.Second)) {
		t.Error("a known instance or another service was refused")
	}
}

// scriptedStates is where events stand.
type scriptedStates struct {
	states []store.EventState
	err    error
}

func (s *scriptedStates) EventStates(context.Context, []string) ([]store.EventState, error) {
	return s.states, s.err
}

func TestAReceiptAtItsTimeoutTellsWhatIsKnown(t *testing.T) {
	f, p, clock := testFleet()
	f.Hear(proofFrom("cars", "a", clock.now, 5, 10*time.Second))
	states := &scriptedStates{}
	r := &Receipts{events: states, fleet: f, progress: p}
	wait := func(w Wait, ids ...string) Receipt {
		t.Helper()
		got, err := r.Wait(t.Context(), ids, w, time.Millisecond)
		if !errors.Is(err, states.err) {
			t.Fatal(err)
		}
		return got
	}
	p.see("e", 9, 0)

	states.states = []store.EventState{{ID: "x"}}
	if got := wait(WaitFleet, "x"); *got.EventID != "x" || got.Seq != nil || got.Published || got.Fleet.Applied != 0 || len(got.Fleet.Laggards) != 1 {
		t.Errorf("not numbered: %+v", got)
	}
	states.states = []store.EventState{{ID: "y", Epoch: "e", Seq: 5, Published: true}, {ID: "x", Epoch: "e", Seq: 4}}
	if got := wait(WaitFleet, "x", "y"); *got.EventID != "y" || *got.Seq != 5 || *got.Epoch != "e" || got.Published || got.Fleet.Applied != 1 {
		t.Errorf("one is not published: %+v", got)
	}
	p.publish("e", 4)
	if got := wait(WaitPublished, "x", "y"); !got.Published || got.Fleet != nil {
		t.Errorf("both are published: %+v", got)
	}
	states.states = nil
	if got := wait(WaitPublished, "x"); !got.Published || got.Seq != nil || *got.EventID != "x" {
		t.Errorf("lapsed: %+v", got)
	}
	states.err = store.ErrUnavailable
	if got := wait(WaitPublished, "x"); got.Published || *got.EventID != "x" {
		t.Errorf("no database: %+v", got)
	}
}

// recovering can't be asked at first.
type recovering struct {
	failures atomic.Int64
	scriptedStates
}

func (s *recovering) EventStates(ctx context.Context, ids []string) ([]store.EventState, error) {
	if s.failures.Add(-1) >= 0 {
		return nil, store.ErrUnavailable
	}
	return s.scriptedStates.EventStates(ctx, ids)
}

// The call has time: that the database can't be asked for a moment doesn't end its wait.
func TestAReceiptWaitsThroughALossOfTheDatabase(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, p, _ := testFleet()
		p.see("e", 5, 0)
		states := &recovering{scriptedStates: scriptedStates{states: []store.EventState{{ID: "x", Epoch: "e", Seq: 5, Published: true}}}}
		states.failures.Store(20)
		r := &Receipts{events: states, fleet: f, progress: p}
		for _, wait := range []Wait{WaitPublished, WaitFleet} {
			states.failures.Store(20)
			got, err := r.Wait(t.Context(), []string{"x"}, wait, 10*time.Second)
			if err != nil || !got.Published || got.Seq == nil || *got.Seq != 5 {
				t.Errorf("%s: %+v, %v", wait, got, err)
			}
		}
		states.failures.Store(1)
		if _, err := r.Wait(t.Context(), []string{"x"}, WaitNone, 10*time.Second); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("who waits for nothing: %v", err)
		}
		states.failures.Store(1_000_000)
		if _, err := r.Wait(t.Context(), []string{"x"}, WaitPublished, time.Second); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("a loss that lasts: %v", err)
		}
	})
}

func TestAReceiptReturnsAsSoonAsAllHaveApplied(t *testing.T) {
	f, p, clock := testFleet()
	f.Hearing()
	clock.now = clock.now.Add(time.Millisecond)
	p.begin(1, clock.now, true)
	p.see("e", 5, 0)
	p.publish("e", 5)
	f.Hear(proofFrom("cars", "a", clock.now, 4, time.Hour))
	r := &Receipts{events: &scriptedStates{states: []store.EventState{{ID: "x", Epoch: "e", Seq: 5}}}, fleet: f, progress: p}
	got := make(chan Receipt, 1)
	go func() {
		receipt, err := r.Wait(context.WithoutCancel(t.Context()), []string{"x"}, WaitFleet, time.Hour)
		if err != nil {
			t.Error(err)
		}
		got <- receipt
	}()
	for !p.fleetAwaited() {
		time.Sleep(time.Millisecond)
	}
	f.Hear(proofFrom("cars", "a", clock.now, 5, time.Hour))
	p.wake()
	if receipt := <-got; receipt.Fleet.Applied != 1 {
		t.Errorf("%+v", receipt)
	}
	if p.fleetAwaited() {
		t.Error("somebody still waits")
	}
}

// scriptedPages is a feed of events of a size, whose reads can be held up.
type scriptedPages struct {
	head    uint64
	size    int
	pruned  uint64 // up to which there are no events any more
	entered chan struct{}
	hold    chan struct{}
	reads   atomic.Int64
}

func (s *scriptedPages) FeedStanding(context.Context) (store.Lease, error) {
	if s.entered != nil {
		s.entered <- struct{}{}
		<-s.hold
	}
	return store.Lease{FeedPosition: store.FeedPosition{Epoch: pageEpoch, Head: s.head}, Floor: 1}, nil
}

const pageEpoch = "01920000-0000-7000-8000-00000000000e"

func (s *scriptedPages) FeedRange(_ context.Context, issuer, epoch string, from, to uint64) (prev events.Hash, rows []store.FeedRow, err error) {
	s.reads.Add(1)
	chain := events.ChainStart(issuer, epoch)
	for seq := uint64(1); seq <= min(to, s.head); seq++ {
		body := fmt.Appendf(nil, `{"seq":%d,"type":"token.revoked","at":1,"until":2,"jti":"01920000-0000-7000-8000-000000000001","x":"%0*d"}`, seq, s.size, 0)
		if seq == from {
			prev = chain
		}
		chain = chain.Next(body)
		if seq >= from && from > s.pruned {
			rows = append(rows, store.FeedRow{Seq: seq, Type: events.TypeTokenRevoked, Body: body, Chain: chain})
		}
	}
	if len(rows) == 0 {
		err = store.ErrNotFound
	}
	return prev, rows, err
}

func (s *scriptedPages) FeedChain(ctx context.Context, issuer, epoch string, seq uint64) (events.Hash, error) {
	if seq == 0 {
		return events.ChainStart(issuer, epoch), nil
	}
	_, rows, err := s.FeedRange(ctx, issuer, epoch, seq, seq)
	if err != nil {
		return events.Hash{}, err
	}
	return rows[0].Chain, nil
}

func (s *scriptedPages) FeedBodies(ctx context.Context, epoch string, from, to uint64, each func(uint64, []byte) (bool, error)) error {
	_, rows, err := s.FeedRange(ctx, "i", epoch, from, to)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	for _, r := range rows {
		if more, err := each(r.Seq, r.Body); err != nil || !more {
			return err
		}
	}
	return err
}

func testPages(s *scriptedPages) *Pages {
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	signer := events.NewSigner("i", key)
	return NewPages(s, func() *events.Signer { return signer }, "i")
}

func TestPagesCoverTheFeedWithinTheLimitsOfABatch(t *testing.T) {
	s := &scriptedPages{head: 1234, size: 2000}
	p := testPages(s)
	next := uint64(1)
	for next <= s.head {
		m, err := p.Page(t.Context(), pageEpoch, next)
		if err != nil {
			t.Fatal(err)
		}
		b, err := events.DecodeBatch(m.Body)
		if err != nil || b.FirstSeq() > next || b.LastSeq() < next {
			t.Fatalf("%d: %v", next, err)
		}
		next = b.LastSeq() + 1
	}
	s.reads.Store(0)
	for _, from := range []uint64{1, 500, 501, 1000} {
		if _, err := p.Page(t.Context(), pageEpoch, from); err != nil {
			t.Fatal(err)
		}
	}
	if s.reads.Load() != 0 {
		t.Error("a complete page was made again")
	}
	if _, err := p.Page(t.Context(), pageEpoch, 1001); err != nil || s.reads.Load() != 1 {
		t.Error("an incomplete page was kept")
	}
	for _, from := range []uint64{0, 1235, 1501} {
		if _, err := p.Page(t.Context(), pageEpoch, from); !errors.Is(err, ErrGone) {
			t.Errorf("%d: %v", from, err)
		}
	}
	if _, err := p.Page(t.Context(), "01920000-0000-7000-8000-00000000000f", 1); !errors.Is(err, ErrGone) {
		t.Errorf("another epoch: %v", err)
	}
}

func TestPagesAreMadeOnceAndFewAtATime(t *testing.T) {
	s := &scriptedPages{head: 5000, entered: make(chan struct{}), hold: make(chan struct{})}
	p := testPages(s)
	results := make(chan error, 4)
	ask := func(from uint64) {
		_, err := p.Page(context.WithoutCancel(t.Context()), pageEpoch, from)
		results <- err
	}
	go ask(1)
	<-s.entered
	go ask(600)
	<-s.entered
	if _, err := p.Page(t.Context(), pageEpoch, 1200); !errors.Is(err, ErrBusy) {
		t.Errorf("a third: %v", err)
	}
	go ask(2) // waits for the first
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.Page(ctx, pageEpoch, 3); !errors.Is(err, context.Canceled) {
		t.Errorf("who gives up waiting: %v", err)
	}
	close(s.hold)
	for range 3 {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
}

func TestTheCacheOfPagesIsBounded(t *testing.T) {
	p := testPages(&scriptedPages{head: 2000, size: 400})
	for from := uint64(1); from < 2000; from += pageSize {
		if _, err := p.Page(t.Context(), pageEpoch, from); err != nil {
			t.Fatal(err)
		}
	}
	if p.recent.Len() != 4 {
		t.Errorf("%d pages", p.recent.Len())
	}
	p.keep(&page{key: pageKey{first: 1}, size: pageCacheBytes})
	if p.size > pageCacheBytes || p.recent.Len() != 1 || len(p.byKey) != 1 {
		t.Errorf("%d bytes in %d pages", p.size, p.recent.Len())
	}
}

// While the stream is away for longer than events live, the floor passes what is still to be published. A dispatcher, and
// the next one too, reads on from there, for which it needs the chain before it.
func TestPruningKeepsTheChainBeforeWhatIsNotPublished(t *testing.T) {
	for _, now := range []store.Lease{
		{Floor: 1, Unpublished: 1}, {Floor: 1, Unpublished: 901}, {Floor: 700, Unpublished: 901}, {Floor: 901, Unpublished: 901},
		{Floor: 1001, Unpublished: 301}, {Floor: 1001, Unpublished: 500}, {Floor: 1001, Unpublished: 501}, {Floor: 1501, Unpublished: 1},
		{Floor: 9001, Unpublished: 8000}, {Floor: 9001, Unpublished: 8001}, {Floor: 8001, Unpublished: 1},
	} {
		below, marked := prunable(now), now.Unpublished-1
		if below > marked {
			t.Errorf("%+v: seq %d is gone", now, marked)
		}
		if page := pageOf(now.Floor); page > 1 && below > page-1 {
			t.Errorf("%+v: seq %d, before the floor's page, is gone", now, page-1)
		}
	}
	if below := prunable(store.Lease{Floor: 9001, Unpublished: 9501}); below != 8000 {
		t.Errorf("only what is below %d is pruned", below)
	}
	if below := prunable(store.Lease{Floor: 9001}); below != 0 {
		t.Errorf("what is below %d is pruned though nobody has said what is published", below)
	}
}

func FuzzNudge(f *testing.F) {
	f.Add([]byte(`{"from":"x","epoch":"01920000-0000-7000-8000-00000000000e","published":3}`))
	f.Add([]byte(`{"from":"x","ack":true}`))
	f.Add([]byte(`{"from":"x","free":true}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		n, err := decodeNudge(body)
		if err != nil {
			return
		}
		if _, err := events.ParseID(n.Epoch); n.Published > 0 && err != nil {
			t.Errorf("%q says what is published without an epoch", body)
		}
		again, err := json.Marshal(n)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := decodeNudge(again); err == nil && back != n {
			t.Errorf("%+v became %+v", n, back)
		}
	})
}

// The database's clock may have been set back at any time since the backup, and messages of the stream repeat.
func TestTheTokenKeysThatWereAnnouncedLastHaveTheHighestNumber(t *testing.T) {
	backup, planned, emergency := announced(1), announced(2), announced(3)
	type said struct {
		epoch string
		events.Event
	}
	for name, c := range map[string]struct {
		said []said
		want []events.Hash
	}{
		"nothing since the backup": {said: []said{{"d", backup(9, 90)}, {"e", backup(4, 100)}}},
		"the clock went back before it": {
			said: []said{{"e", backup(4, 100)}, {"e", emergency(5, 50)}},
			want: []events.Hash{{3}},
		},
		"the clock went back after it": {
			said: []said{{"e", planned(5, 100)}, {"e", emergency(6, 50)}, {"e", planned(5, 100)}},
			want: []events.Hash{{3}},
		},
		"announced again in the epoch of this import": {
			said: []said{{"e", emergency(6, 150)}, {"f", backup(1, 200)}, {"g", backup(1, 300)}},
			want: []events.Hash{{1}, {3}},
		},
	} {
		r := reader{task: ImportTask{Epoch: "g", Since: 100, After: store.FeedPlace{Epoch: "e", Seq: 4}}, announced: map[string]announcement{}}
		for _, s := range c.said {
			r.noteKeys(s.epoch, s.Event)
		}
		got := r.keysAnnounced()
		slices.SortFunc(got, func(a, b events.Hash) int { return bytes.Compare(a[:], b[:]) })
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %x, want %x", name, got, c.want)
		}
	}
}

// announced makes events that announce a set of token keys.
func announced(set byte) func(seq uint64, at int64) events.Event {
	return func(seq uint64, at int64) events.Event {
		return events.Event{Seq: seq, At: at, Payload: events.KeysChanged{Hash: events.Hash{set}}}
	}
}

// Whoever gives its term up because of what the stream tells isn't the dispatcher any more, for receipts either: another may
// be by the time it has looked again.
func TestWhoGivesItsTermUpCountsNobody(t *testing.T) {
	const epoch = "01920000-0000-7000-8000-00000000000e"
	tail := &events.Batch{Epoch: epoch, Events: []events.Event{{Seq: 7}}}
	for name, blind := range map[string]bool{"late evidence": true, "evidence": false} {
		d := NewDispatcher(DispatcherConfig{Log: slog.New(slog.DiscardHandler)})
		d.term, d.blind = &term{at: store.FeedPosition{Epoch: epoch, Head: 3}}, blind
		d.progress.begin(1, time.Unix(0, 0), false)
		d.Observe(StreamState{Tail: tail})
		if d.term != nil || d.progress.standing().tenure.holding {
			t.Errorf("%s: term %v, holding %v", name, d.term, d.progress.standing().tenure.holding)
		}
	}
}
