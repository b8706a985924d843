package storetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/pkg/events"
)

const (
	feedIssuer = "https://issuer.example"
	leaseLife  = 10 * time.Minute // none ends because a machine stands still
)

// RunFeed runs the numbering part of the suite, whose databases have clocks that can be moved.
func RunFeed(t *testing.T, engine store.Engine) {
	type test struct {
		name string
		test func(*testing.T, *feedTest)
	}
	tests := []test{
		{"numbers are dense whatever the order of ids", numbersAreDense},
		{"parallel: what committed before a round is in it", roundSeesEveryCommit},
		{"parallel: one of many candidates begins the first term", oneBeginsTheFirstTerm},
		{"a zombie of an older term is refused", zombieIsRefused},
		{"a lease ends by time, by release or for who is alone", leaseEnds},
		{"a lease ends though the clock goes back", leaseEndsThoughTheClockGoesBack},
		{"a holder that doesn't know its last commit is refused", unknownCommitIsRefused},
		{"a quiet round writes nothing", quietRoundWritesNothing},
		{"the largest bound is recorded", boundIsRecorded},
		{"events outlive every credential that they concern", untilCoversCredentials},
		{"the floor follows time and never falls", floorNeverFalls},
		{"a clock that is ahead by KeyRetention passes over nothing that lives", leapPassesOverNothing},
		{"the key set's hash is that of the token keys", keySetHash},
		{"marks tell what is published", marksTellWhatIsPublished},
		{"the backlog is what isn't numbered and published", backlogIsCounted},
		{"a lost commit opens a greater epoch with the live events", lostCommitOpensEpoch},
		{"a lost commit asks for an import until it is through", lostCommitAsksForAnImport},
		{"events after the backup aren't its end", eventsAfterTheBackupAreNotItsEnd},
		{"an imported pile is numbered", importedPileIsNumbered},
		{"another issuer opens a greater epoch", otherIssuerOpensEpoch},
		{"a stream that ends with an unknown key's message opens a greater epoch and asks for an import", unknownTailKeyAsksForAnImport},
		{"a pile of events takes several rounds", pileTakesRounds},
		{"a range needs all of its rows", rangeNeedsAllRows},
		{"the bytes of a range are given in order, until no more are wanted, and chains one by one", bodiesAreGivenInOrder},
		{"pruning keeps what is needed", pruningKeeps},
		{"pruning keeps revoked tokens for a day", pruningKeepsRevokedTokensForADay},
	}
	if engine == store.Postgres { // SQLite's transactions commit in the order in which they begin
		tests = append(tests, test{"a transaction that commits late is numbered", lateCommitIsNumbered})
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := &feedTest{T: t}
			f.DB = Open(t, URL(t, engine), f.clock.Option())
			tt.test(t, f)
		})
	}
}

// feedTest is a database and a dispatcher's view of it.
type feedTest struct {
	*testing.T
	*store.DB
	clock Clock
	lease store.Lease
	at    store.FeedPosition
	carry bool
}

func (f *feedTest) acquire(holder string, known store.FeedPosition) {
	f.Helper()
	lease, err := f.AcquireFeed(f.Context(), store.LeaseRequest{Holder: holder, Issuer: feedIssuer, Life: leaseLife, Known: known})
	if err != nil {
		f.Fatal(err)
	}
	f.lease, f.at, f.carry = lease, lease.FeedPosition, true
}

func (f *feedTest) request() store.NumberRequest {
	return store.NumberRequest{Term: f.lease.Term, At: f.at, Life: leaseLife, CarryOver: f.carry}
}

func (f *feedTest) number() store.Numbered {
	f.Helper()
	return f.numberWith(f.request())
}

// numberWith runs a round and checks what every round must keep.
func (f *feedTest) numberWith(r store.NumberRequest) store.Numbered {
	f.Helper()
	n, err := f.NumberEvents(f.Context(), r)
	if err != nil {
		f.Fatal(err)
	}
	chain, head := f.at.Chain, f.at.Head
	same(f.T, chain, n.Prev)
	for _, row := range n.Rows {
		head++
		chain = chain.Next(row.Body)
		event, err := events.DecodeEvent(row.Body)
		if err != nil || event.Seq != head || row.Seq != head || row.Chain != chain {
			f.Fatalf("seq %d or chain of %s at place %d: %v", row.Seq, row.Body, head, err)
		}
	}
	same(f.T, store.FeedPosition{Epoch: f.at.Epoch, Head: head, Chain: chain}, n.FeedPosition)
	f.at, f.carry = n.FeedPosition, f.carry && n.More
	return n
}

// commit writes n events, each in a transaction of its own.
func (f *feedTest) commit(n int) (ids []string) {
	f.Helper()
	for range n {
		update(f, f.DB, func(tx *store.Tx) error {
			id, err := insertFeedEvent(f.Context(), tx)
			ids = append(ids, id)
			return err
		})
	}
	return ids
}

func insertFeedEvent(ctx context.Context, tx *store.Tx) (string, error) {
	session := tx.NewID()
	return tx.InsertEvent(ctx, store.NewEvent{Payload: events.TokenRevoked{SessionID: session}, Target: "session:" + session, Actor: "system"})
}

func rowIDs(n store.Numbered) (ids []string) {
	for _, row := range n.Rows {
		ids = append(ids, row.ID)
	}
	return ids
}

func numbersAreDense(t *testing.T, f *feedTest) {
	f.acquire("a", store.FeedPosition{})
	if !f.lease.First || !f.lease.Opened || f.lease.Term != 1 || f.lease.Unpublished != 1 || f.lease.Floor != 1 {
		t.Errorf("first lease: %+v", f.lease)
	}
	same(t, events.ChainStart(feedIssuer, f.lease.Epoch), f.lease.Chain)
	late := f.commit(3)
	same(t, late, rowIDs(f.number()))
	f.clock.Advance(-time.Hour)
	early := f.commit(2)
	if early[0] > late[0] {
		t.Fatal("the clock doesn't go back")
	}
	same(t, early, rowIDs(f.number()))
	same(t, uint64(5), f.at.Head)
	same(t, 0, len(f.number().Rows))
}

func lateCommitIsNumbered(t *testing.T, f *feedTest) {
	f.acquire("a", store.FeedPosition{})
	inserted, release, done := make(chan string), make(chan struct{}), make(chan error, 1)
	go func() {
		done <- f.Update(context.WithoutCancel(t.Context()), func(tx *store.Tx) error {
			id, err := insertFeedEvent(t.Context(), tx)
			inserted <- id
			<-release
			return err
		})
	}()
	early := <-inserted
	late := f.commit(1)
	same(t, late, rowIDs(f.number()))
	close(release)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if early >= late[0] {
		t.Fatalf("%s isn't below %s", early, late[0])
	}
	same(t, []string{early}, rowIDs(f.number()))
}

func roundSeesEveryCommit(t *testing.T, f *feedTest) {
	const writers, each = 6, 15
	f.acquire("a", store.FeedPosition{})
	var mu sync.Mutex
	committed := map[string]bool{}
	var writing sync.WaitGroup
	for range writers {
		writing.Go(func() {
			for range each {
				var id string
				err := f.Update(t.Context(), func(tx *store.Tx) (err error) {
					id, err = insertFeedEvent(t.Context(), tx)
					return err
				})
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				committed[id] = true
				mu.Unlock()
			}
		})
	}
	ended := make(chan struct{})
	go func() { writing.Wait(); close(ended) }()
	numbered := map[string]bool{}
	for running := true; running; {
		select {
		case <-ended:
			running = false
		default:
		}
		mu.Lock()
		before := make([]string, 0, len(committed))
		for id := range committed {
			before = append(before, id)
		}
		mu.Unlock()
		for _, id := range rowIDs(f.number()) {
			if numbered[id] {
				t.Fatalf("%s was numbered twice", id)
			}
			numbered[id] = true
		}
		for _, id := range before {
			if !numbered[id] {
				t.Fatalf("%s was committed before the round and isn't in it", id)
			}
		}
	}
	same(t, uint64(writers*each), f.at.Head)
}

func oneBeginsTheFirstTerm(t *testing.T, f *feedTest) {
	errs := make(chan error, 4)
	for i := range cap(errs) {
		go func() {
			_, err := f.AcquireFeed(t.Context(), store.LeaseRequest{Holder: fmt.Sprint(i), Issuer: feedIssuer, Life: time.Minute})
			errs <- err
		}()
	}
	won := 0
	for range cap(errs) {
		switch err := <-errs; {
		case err == nil:
			won++
		case !errors.Is(err, store.ErrLeaseHeld):
			t.Error(err)
		}
	}
	same(t, 1, won)
}

func zombieIsRefused(t *testing.T, f *feedTest) {
	f.acquire("a", store.FeedPosition{})
	f.commit(1)
	f.number()
	zombie := f.request()
	f.clock.Advance(2 * leaseLife)
	f.acquire("b", store.FeedPosition{})
	same(t, zombie.Term+1, f.lease.Term)
	f.commit(1)
	if _, err := f.NumberEvents(t.Context(), zombie); !errors.Is(err, store.ErrFenced) {
		t.Fatalf("%v", err)
	}
	same(t, 1, len(f.number().Rows))
	// Its own next term is no longer the present one either.
	if err := f.ReleaseFeed(t.Context(), zombie.Term); err != nil {
		t.Fatal(err)
	}
	_, err := f.AcquireFeed(t.Context(), store.LeaseRequest{Holder: "a", Issuer: feedIssuer, Life: leaseLife})
	if !errors.Is(err, store.ErrLeaseHeld) {
		t.Fatalf("%v", err)
	}
}

func leaseEnds(t *testing.T, f *feedTest) {
	request := store.LeaseRequest{Holder: "b", Issuer: feedIssuer, Life: leaseLife}
	f.acquire("a", store.FeedPosition{})
	f.commit(1)
	f.number()
	held, err := f.AcquireFeed(t.Context(), request)
	if !errors.Is(err, store.ErrLeaseHeld) || held.FeedPosition != f.at || held.Until <= held.Now {
		t.Fatalf("%v: %+v", err, held)
	}
	if err := f.ReleaseFeed(t.Context(), f.lease.Term); err != nil {
		t.Fatal(err)
	}
	f.acquire("b", store.FeedPosition{})
	request.Holder, request.Alone = "c", true
	if _, err := f.AcquireFeed(t.Context(), request); err != nil {
		t.Fatal(err)
	}
}

// A lease lasts as long as it was asked for, not until a time that the clock reaches again some day.
func leaseEndsThoughTheClockGoesBack(t *testing.T, f *feedTest) {
	f.acquire("a", store.FeedPosition{})
	request := store.LeaseRequest{Holder: "b", Issuer: feedIssuer, Life: leaseLife}
	f.clock.Advance(-leaseLife / 2)
	if _, err := f.AcquireFeed(t.Context(), request); !errors.Is(err, store.ErrLeaseHeld) {
		t.Errorf("a small step of the clock: %v", err)
	}
	f.clock.Advance(-time.Hour)
	if _, err := f.AcquireFeed(t.Context(), request); err != nil {
		t.Errorf("nobody can take over for an hour: %v", err)
	}
	if _, err := f.NumberEvents(t.Context(), f.request()); !errors.Is(err, store.ErrFenced) {
		t.Errorf("the holder before: %v", err)
	}
}

func unknownCommitIsRefused(t *testing.T, f *feedTest) {
	f.acquire("a", store.FeedPosition{})
	before := f.request()
	f.commit(1)
	f.number()
	if _, err := f.NumberEvents(t.Context(), before); !errors.Is(err, store.ErrFenced) {
		t.Fatalf("behind: %v", err)
	}
	ahead := f.request()
	ahead.At.Head++
	other := f.request()
	other.At.Chain[0]++
	future := f.request()
	future.Term++
	for name, r := range map[string]store.NumberRequest{"head": ahead, "chain": other, "term": future} {
		if _, err := f.NumberEvents(t.Context(), r); !errors.Is(err, store.ErrRegressed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func quietRoundWritesNothing(t *testing.T, f *feedTest) {
	f.acquire("a", store.FeedPosition{})
	f.number()
	standing := func() store.Lease {
		l, err := f.FeedStanding(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	until := standing().Until
	f.number()
	same(t, until, standing().Until)
	f.clock.Advance(leaseLife / 2)
	f.number()
	if standing().Until <= until {
		t.Error("the lease wasn't renewed")
	}
}

func boundIsRecorded(t *testing.T, f *feedTest) {
	f.acquire("a", store.FeedPosition{})
	r := f.request()
	r.Bound = 30_000_000
	same(t, r.Bound, f.numberWith(r).MaxBound)
	same(t, r.Bound, f.number().MaxBound)
	f.acquire("a", f.at)
	same(t, r.Bound, f.lease.MaxBound)
}

func untilCoversCredentials(t *testing.T, f *feedTest) {
	f.acquire("a", store.FeedPosition{})
	f.commit(1)
	first := f.number()
	e, _ := events.DecodeEvent(first.Rows[0].Body)
	same(t, first.Now, e.At)
	if e.Until < first.Now+events.KeyRetention.Microseconds() {
		t.Errorf("until %d", e.Until)
	}
	if err := f.Issue(t.Context(), 100*time.Hour, func(*store.Tx, store.Authority) error { return nil }); err != nil {
		t.Fatal(err)
	}
	f.commit(1)
	n := f.number()
	e, _ = events.DecodeEvent(n.Rows[0].Body)
	if e.Until < n.Now+(100*time.Hour+events.KeyRetention).Microseconds() { // so that a clock that leaps by it skips nothing
		t.Errorf("until %d", e.Until)
	}
}

func floorNeverFalls(t *testing.T, f *feedTest) {
	f.acquire("a", store.FeedPosition{})
	f.commit(2)
	same(t, uint64(1), f.number().Floor)
	f.clock.Advance(20 * time.Minute)
	f.commit(1)
	f.number()
	f.clock.Advance(15 * time.Minute) // only the third is live
	same(t, uint64(3), f.number().Floor)
	f.clock.Advance(-15 * time.Minute)
	f.commit(1)
	same(t, uint64(3), f.number().Floor)
	f.acquire("a", f.at)
	same(t, uint64(3), f.lease.Floor)
	f.clock.Advance(10 * time.Hour)
	n := f.number()
	same(t, n.Head+1, n.Floor)
}

func leapPassesOverNothing(t *testing.T, f *feedTest) {
	f.acquire("a", store.FeedPosition{})
	if err := f.Issue(t.Context(), 20*time.Minute, func(*store.Tx, store.Authority) error { return nil }); err != nil {
		t.Fatal(err)
	}
	f.commit(1)
	f.number()
	f.clock.Advance(20*time.Minute + events.KeyRetention)
	same(t, uint64(1), f.number().Floor)
	f.clock.Advance(time.Hour) // the ceiling is above what was issued
	same(t, uint64(2), f.number().Floor)
}

func keySetHash(t *testing.T, f *feedTest) {
	f.acquire("a", store.FeedPosition{})
	same(t, events.KeySetHash(nil), f.number().Keys)
	update(t, f.DB, func(tx *store.Tx) error {
		for _, k := range []store.SigningKey{
			{KID: "t2", Purpose: store.PurposeToken}, {KID: "f1", Purpose: store.PurposeFeed}, {KID: "t1", Purpose: store.PurposeToken},
		} {
			k.Sealed = []byte("x")
			if err := tx.InsertSigningKey(t.Context(), k); err != nil {
				return err
			}
		}
		return nil
	})
	same(t, events.KeySetHash([]string{"t1", "t2"}), f.number().Keys)
}

func marksTellWhatIsPublished(t *testing.T, f *feedTest) {
	f.acquire("a", store.FeedPosition{})
	ids := f.commit(3)
	f.number()
	r := f.request()
	r.PublishedTo = 2
	f.numberWith(r)
	states, err := f.EventStates(t.Context(), append(ids, "01920000-0000-7000-8000-000000000000"))
	if err != nil || len(states) != 3 {
		t.Fatalf("%v %v", states, err)
	}
	for _, s := range states {
		if s.Published != (s.Seq <= 2) || s.Epoch != f.at.Epoch || ids[s.Seq-1] != s.ID {
			t.Errorf("%+v", s)
		}
	}
	f.acquire("a", f.at)
	same(t, uint64(3), f.lease.Unpublished)
	r = f.request()
	r.PublishedTo = 3
	f.numberWith(r)
	f.acquire("a", f.at)
	same(t, uint64(4), f.lease.Unpublished)
}

func backlogIsCounted(t *testing.T, f *feedTest) {
	look := func(unnumbered, unpublished int, oldest time.Duration) {
		t.Helper()
		b, err := f.FeedBacklog(t.Context())
		if err != nil || b.Unnumbered != unnumbered || b.Unpublished != unpublished || b.Oldest.Truncate(time.Minute) != oldest {
			t.Errorf("%+v %v, want %d, %d, %v", b, err, unnumbered, unpublished, oldest)
		}
	}
	look(0, 0, 0)
	f.commit(2)
	f.clock.Advance(time.Minute)
	look(2, 0, time.Minute)
	f.acquire("a", store.FeedPosition{})
	f.number()
	f.clock.Advance(time.Minute)
	f.commit(1)
	look(1, 2, 2*time.Minute)
	f.acquire("a", f.at) // the lease has lapsed
	r := f.request()
	r.PublishedTo = 2
	f.numberWith(r)
	look(0, 1, 0)
}

func lostCommitOpensEpoch(t *testing.T, f *feedTest) {
	f.acquire("a", store.FeedPosition{})
	lapsed := f.commit(1)
	f.number()
	f.clock.Advance(time.Hour)
	live := f.commit(3)
	f.number()
	r := f.request()
	r.PublishedTo = 2
	f.numberWith(r)

	seen, behind := f.at, f.at
	behind.Head, behind.Chain = 2, f.chainAt(2)
	f.acquire("a", behind)
	same(t, false, f.lease.Opened)
	seen.Head++ // an event that isn't there
	waiting := f.commit(1)
	f.acquire("a", seen)
	if !f.lease.Opened || f.lease.First || f.lease.Epoch <= seen.Epoch || f.lease.Head != 0 || f.lease.Floor != 1 || f.lease.Unpublished != 1 {
		t.Fatalf("%+v", f.lease)
	}
	same(t, append(live, waiting...), rowIDs(f.number()))
	same(t, 0, len(f.number().Rows))
	f.acquire("a", f.at)
	same(t, uint64(1), f.lease.Unpublished)
	if more, err := f.PruneEvents(t.Context(), f.at.Epoch, 0); err != nil || more {
		t.Fatal(more, err)
	}
	states, err := f.EventStates(t.Context(), lapsed)
	if err != nil || len(states) != 0 {
		t.Errorf("%v %v", states, err)
	}

	// A fork: the same head with another history.
	fork := f.at
	fork.Chain[0]++
	f.acquire("a", fork)
	same(t, true, f.lease.Opened)
	// A process that has seen a greater epoch.
	later := store.FeedPosition{Epoch: "ffffffff-0000-7000-8000-000000000000"}
	f.acquire("a", later)
	if f.lease.Epoch <= later.Epoch {
		t.Errorf("%s isn't above %s", f.lease.Epoch, later.Epoch)
	}
}

func (f *feedTest) chainAt(seq uint64) events.Hash {
	f.Helper()
	_, rows, err := f.FeedRange(f.Context(), feedIssuer, f.at.Epoch, seq, seq)
	if err != nil {
		f.Fatal(err)
	}
	return rows[0].Chain
}

func otherIssuerOpensEpoch(t *testing.T, f *feedTest) {
	f.acquire("a", store.FeedPosition{})
	ids := f.commit(2)
	f.number()
	lease, err := f.AcquireFeed(t.Context(), store.LeaseRequest{Holder: "a", Issuer: "https://other.example", Life: leaseLife, Known: f.at})
	if err != nil || !lease.Opened || lease.Epoch <= f.at.Epoch {
		t.Fatalf("%v %+v", err, lease)
	}
	same(t, events.ChainStart("https://other.example", lease.Epoch), lease.Chain)
	f.lease, f.at, f.carry = lease, lease.FeedPosition, true
	same(t, ids, rowIDs(f.number()))
}

func unknownTailKeyAsksForAnImport(t *testing.T, f *feedTest) {
	kid := func(c string) string { return strings.Repeat(c, 43) }
	acquire := func(tail, issuer string) store.Lease {
		t.Helper()
		f.clock.Advance(time.Hour)
		lease, err := f.AcquireFeed(t.Context(), store.LeaseRequest{Holder: "a", Issuer: issuer, Life: leaseLife, TailKey: tail})
		if err != nil {
			t.Fatal(err)
		}
		return lease
	}
	if l := acquire(kid("a"), feedIssuer); !l.First || l.ImportFrom != 0 {
		t.Errorf("a database that has lost nothing yet: %+v", l)
	}
	update(t, f.DB, func(tx *store.Tx) error {
		for _, k := range []string{"k", "r"} {
			err := tx.InsertSigningKey(t.Context(), store.SigningKey{KID: kid(k), Purpose: store.PurposeFeed, Alg: "EdDSA", PublicJWK: "{}", Sealed: []byte{1}})
			if err != nil {
				return err
			}
		}
		return tx.RetireSigningKey(t.Context(), kid("r"))
	})
	for _, k := range []string{"k", "r"} {
		if l := acquire(kid(k), feedIssuer); l.Opened || l.ImportFrom != 0 {
			t.Errorf("a key that the database has or had: %+v", l)
		}
	}
	if l := acquire(kid("f"), feedIssuer); !l.Opened || l.ImportFrom == 0 {
		t.Errorf("a key that it lacks: %+v", l)
	}
	if l := acquire(kid("f"), feedIssuer); l.Opened { // who saw it before the epoch was opened, too
		t.Errorf("the same key again: %+v", l)
	}
	if l := acquire(kid("g"), "https://other.example"); !l.Opened || l.ImportFrom == 0 {
		t.Errorf("a key that it lacks, and another issuer: %+v", l)
	}
}

func pileTakesRounds(t *testing.T, f *feedTest) {
	const pile = 2300
	f.acquire("a", store.FeedPosition{})
	update(t, f.DB, func(tx *store.Tx) error {
		for range pile {
			if _, err := insertFeedEvent(t.Context(), tx); err != nil {
				return err
			}
		}
		return nil
	})
	rounds := 0
	for more := true; more; rounds++ {
		more = f.number().More
	}
	same(t, 2, rounds)
	same(t, uint64(pile), f.at.Head)
	// All of them are carried over into a new epoch, in rounds too, and a term that is cut off goes on where it was.
	f.acquire("a", store.FeedPosition{Epoch: f.at.Epoch, Head: pile + 1})
	same(t, true, f.number().More)
	f.acquire("a", f.at)
	same(t, false, f.number().More)
	same(t, uint64(pile), f.at.Head)
}

func rangeNeedsAllRows(t *testing.T, f *feedTest) {
	f.acquire("a", store.FeedPosition{})
	f.commit(10)
	rows := f.number().Rows
	prev, got, err := f.FeedRange(t.Context(), feedIssuer, f.at.Epoch, 1, 4)
	if err != nil || prev != f.lease.Chain {
		t.Fatal(err)
	}
	same(t, rows[:4], got)
	prev, got, err = f.FeedRange(t.Context(), feedIssuer, f.at.Epoch, 5, 500)
	if err != nil || prev != rows[3].Chain {
		t.Fatal(err)
	}
	same(t, rows[4:], got)
	for _, from := range []uint64{11, 12, 600} {
		if _, _, err := f.FeedRange(t.Context(), feedIssuer, f.at.Epoch, from, from+10); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("from %d: %v", from, err)
		}
	}
	if _, err := f.PruneEvents(t.Context(), f.at.Epoch, 5); err != nil {
		t.Fatal(err)
	}
	for from, want := range map[uint64]error{1: store.ErrNotFound, 4: store.ErrNotFound, 5: store.ErrNotFound, 6: nil} {
		if _, _, err := f.FeedRange(t.Context(), feedIssuer, f.at.Epoch, from, 10); !errors.Is(err, want) {
			t.Errorf("pruned, from %d: %v", from, err)
		}
	}
}

func bodiesAreGivenInOrder(t *testing.T, f *feedTest) {
	f.acquire("a", store.FeedPosition{})
	start := f.lease.Chain
	f.commit(10)
	rows := f.number().Rows
	read := func(from, to uint64, most int) (seqs []uint64) {
		err := f.FeedBodies(t.Context(), f.at.Epoch, from, to, func(seq uint64, body []byte) (bool, error) {
			same(t, string(rows[seq-1].Body), string(body))
			seqs = append(seqs, seq)
			return len(seqs) < most, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return seqs
	}
	same(t, []uint64{3, 4, 5}, read(3, 5, 99))
	same(t, []uint64{9, 10}, read(9, 500, 99))
	same(t, []uint64{1, 2}, read(1, 500, 2))
	same(t, []uint64(nil), read(11, 20, 99))
	broken := errors.New("broken")
	err := f.FeedBodies(t.Context(), f.at.Epoch, 1, 9, func(uint64, []byte) (bool, error) { return true, broken })
	if !errors.Is(err, broken) {
		t.Error(err)
	}
	for seq, want := range map[uint64]events.Hash{0: start, 1: rows[0].Chain, 10: rows[9].Chain} {
		if chain, err := f.FeedChain(t.Context(), feedIssuer, f.at.Epoch, seq); err != nil || chain != want {
			t.Errorf("chain(%d): %v, %v", seq, chain, err)
		}
	}
	if _, err := f.FeedChain(t.Context(), feedIssuer, f.at.Epoch, 11); !errors.Is(err, store.ErrNotFound) {
		t.Error(err)
	}
}

// Verifiers need it no more when it has lapsed, but a job grant, which this database judges alone, may live for a day.
func pruningKeepsRevokedTokensForADay(t *testing.T, f *feedTest) {
	f.acquire("a", store.FeedPosition{})
	var jti string
	update(t, f.DB, func(tx *store.Tx) error {
		jti = tx.NewID()
		_, err := tx.InsertEvent(t.Context(), store.NewEvent{Payload: events.TokenRevoked{JTI: jti}, Target: "jti:" + jti, Actor: "system"})
		return err
	})
	other := f.commit(1)
	f.number()
	for _, c := range []struct {
		after time.Duration
		kept  bool
	}{{23 * time.Hour, true}, {2 * time.Hour, false}} {
		f.clock.Advance(c.after)
		f.acquire("a", store.FeedPosition{})
		f.commit(1)
		f.number()
		if more, err := f.PruneEvents(t.Context(), f.at.Epoch, f.at.Head); err != nil || more {
			t.Fatal(more, err)
		}
		states, err := f.EventStates(t.Context(), other)
		if err != nil || len(states) != 0 {
			t.Errorf("%v %v", states, err)
		}
		same(t, c.kept, revoked(t, f.DB, jti))
	}
}

func pruningKeeps(t *testing.T, f *feedTest) {
	f.acquire("a", store.FeedPosition{})
	ids := f.commit(4)
	f.number()
	waiting := f.commit(1)
	if more, err := f.PruneEvents(t.Context(), f.at.Epoch, 3); err != nil || more {
		t.Fatal(more, err)
	}
	states, err := f.EventStates(t.Context(), append(ids, waiting...))
	if err != nil || len(states) != 3 {
		t.Errorf("%v %v", states, err)
	}
	f.number()
	standing, err := f.FeedUnpublished(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	same(t, []any{f.at, uint64(3)}, []any{standing.FeedPosition, standing.Unpublished})
	// A process that saw only what was pruned can still take over: the rows above were checked by those before it.
	f.clock.Advance(10 * time.Hour)
	f.number()
	f.clock.Advance(2 * leaseLife)
	f.acquire("b", store.FeedPosition{Epoch: f.at.Epoch, Head: 1})
	same(t, false, f.lease.Opened)
}
