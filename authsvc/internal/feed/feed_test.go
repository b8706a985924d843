package feed_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/tocsin-auth/tocsin/authsvc/internal/bus"
	"github.com/tocsin-auth/tocsin/authsvc/internal/feed"
	"github.com/tocsin-auth/tocsin/authsvc/internal/feed/feedtest"
	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/authsvc/internal/store/storetest"
	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/test/pgtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(pgtest.Main{M: m}) }

const (
	within   = time.Minute // for what hangs, not for what is slow
	freshFor = bound * time.Microsecond
)

// site is a real store and a real NATS for any number of replicas.
type site struct {
	testing.TB
	url string
	// change alters what its replicas are started with; nil: nothing.
	change func(*feed.Config)
	// options are those of its replicas' databases.
	options []store.Option
	// join connects as a user: auth_feed, auth_reply, or a service.
	join func(user string, opts ...nats.Option) (*nats.Conn, error)
}

// newSite has the embedded NATS with the permission set that ships, for the service cars and others.
func newSite(t testing.TB, url string, others ...string) *site {
	dataDir := t.TempDir()
	var services []bus.Service
	for _, name := range append([]string{"cars"}, others...) {
		service, err := bus.LocalService(dataDir, name)
		if err != nil {
			t.Fatal(err)
		}
		services = append(services, service)
	}
	b, err := bus.Start(t.Context(), bus.Config{DataDir: dataDir, Listen: "127.0.0.1:0", Log: slog.New(slog.DiscardHandler),
		Patience: time.Hour}, services)
	if err != nil {
		t.Fatal(err)
	}
	s := &site{TB: t, url: url}
	s.join = func(user string, opts ...nats.Option) (*nats.Conn, error) {
		seed := strings.Replace(user, "auth_", "authsvc.", 1)
		option, err := nats.NkeyOptionFromSeed(bus.SeedFile(dataDir, seed))
		if err != nil {
			return nil, err
		}
		return nats.Connect(b.URL(), append(opts, option, nats.CustomInboxPrefix("_INBOX_"+user), nats.Timeout(within))...)
	}
	t.Cleanup(func() { s.close(b.Close) })
	return s
}

// newOpenSite has a NATS on which everybody may do everything.
func newOpenSite(t testing.TB, url string) *site {
	ns, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	ns.Start()
	t.Cleanup(func() { ns.Shutdown(); ns.WaitForShutdown() })
	if !ns.ReadyForConnections(within) {
		t.Fatal("nats-server isn't ready")
	}
	s := &site{TB: t, url: url}
	s.join = func(_ string, opts ...nats.Option) (*nats.Conn, error) {
		return nats.Connect(ns.ClientURL(), append(opts, nats.Timeout(within))...)
	}
	return s
}

// connect joins until the test's end.
func (s *site) connect(user string) *nats.Conn {
	s.Helper()
	closed := make(chan struct{})
	nc, err := s.join(user, nats.ReconnectBufSize(-1), nats.ClosedHandler(func(*nats.Conn) { close(closed) }))
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { nc.Close(); <-closed })
	return nc
}

func (s *site) close(close func(context.Context) error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.Context()), within)
	defer cancel()
	if err := close(ctx); err != nil {
		s.Error(err)
	}
}

// replica is one authsvc's part in the feed.
type replica struct {
	*site
	*feed.Feed
	db    *store.DB
	feeds *nats.Conn
}

func (s *site) replica() *replica {
	s.Helper()
	r := &replica{site: s, db: storetest.Open(s, s.url, s.options...), feeds: s.connect("auth_feed")}
	cfg := feed.Config{DB: r.db, Feed: r.feeds, Reply: s.connect("auth_reply"), Issuer: issuer,
		Signer: theSigner, Keys: func() events.KeySet { return keySet }, Log: slog.New(slog.DiscardHandler)}
	if s.change != nil {
		s.change(&cfg)
	}
	var err error
	r.Feed, err = feed.Start(s.Context(), cfg)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { s.close(r.Feed.Close) })
	return r
}

func (s *site) await(what string, ready func() bool) {
	s.Helper()
	deadline := time.Now().Add(within)
	for !ready() {
		if time.Now().After(deadline) {
			s.Fatalf("no %s within %v", what, within)
		}
		time.Sleep(time.Millisecond) // real processes, real time
	}
}

// revoke commits an event and nudges, as the domain does.
func (r *replica) revoke() (id string) {
	r.Helper()
	session := r.newID()
	return r.say(events.TokenRevoked{SessionID: session}, "session:"+session)
}

func (r *replica) newID() (id string) {
	r.Helper()
	if err := r.db.Update(r.Context(), func(tx *store.Tx) error { id = tx.NewID(); return nil }); err != nil {
		r.Fatal(err)
	}
	return id
}

// say commits an event and nudges.
func (r *replica) say(p events.Payload, target string) (id string) {
	r.Helper()
	err := r.db.Update(r.Context(), func(tx *store.Tx) (err error) {
		id, err = tx.InsertEvent(r.Context(), store.NewEvent{Payload: p, Target: target, Actor: "system"})
		return err
	})
	if err != nil {
		r.Fatal(err)
	}
	r.Nudge()
	return id
}

func (r *replica) receipt(wait feed.Wait, timeout time.Duration, ids ...string) feed.Receipt {
	r.Helper()
	receipt, err := r.Receipts.Wait(r.Context(), ids, wait, timeout)
	if err != nil {
		r.Fatal(err)
	}
	return receipt
}

// listener is a scripted verifier on a connection of its own, with a resource service's rights.
type listener struct {
	*site
	nc *nats.Conn

	mu       sync.Mutex
	verifier *feedtest.Verifier
	acks     int
	deaf     bool
}

func (s *site) listener(instance string) *listener {
	s.Helper()
	l := &listener{site: s, nc: s.connect("cars"), verifier: feedtest.NewVerifier("cars", instance, keySet)}
	if _, err := l.nc.Subscribe(events.LiveSubjects, l.hear); err != nil {
		s.Fatal(err)
	}
	if err := l.nc.Flush(); err != nil {
		s.Fatal(err)
	}
	return l
}

func (l *listener) hear(m *nats.Msg) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.deaf {
		return
	}
	if err := l.verifier.Hear(messageOf(m)); err != nil {
		l.Error(err)
	}
	if b, err := events.DecodeBatch(m.Data); err == nil && b.Ack {
		l.acks++
	}
}

func messageOf(m *nats.Msg) feed.Message {
	return feed.Message{Body: m.Data, Key: m.Header.Get(events.HeaderKey), Signature: m.Header.Get(events.HeaderSignature)}
}

// ask asks for a proof once. ok is false when nobody answered.
func (l *listener) ask(bound time.Duration) (a events.ProofAnswer, proven, ok bool) {
	l.Helper()
	l.mu.Lock()
	request := l.verifier.Ask(feedtest.NewClock(), bound.Microseconds())
	l.mu.Unlock()
	m, err := l.nc.Request(events.ProofSubject("cars"), request.Body, 250*time.Millisecond)
	if err != nil {
		return a, false, false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	a, proven, err = l.verifier.Check(request, messageOf(m))
	if err != nil {
		l.Fatal(err)
	}
	return a, proven, true
}

func (l *listener) awaitProof(bound time.Duration) (a events.ProofAnswer) {
	l.Helper()
	l.await("proof", func() bool {
		var proven, ok bool
		a, proven, ok = l.ask(freshFor)
		return proven && ok
	})
	return a
}

func TestEventsReachVerifiersAndTheStream(t *testing.T) {
	storetest.EachURL(t, func(t *testing.T, url string) {
		s := newSite(t, url)
		r, l := s.replica(), s.listener("one")
		a := l.awaitProof(freshFor)
		ids := []string{r.revoke(), r.revoke(), r.revoke()}
		got := r.receipt(feed.WaitPublished, within, ids...)
		if !got.Published || got.Seq == nil || *got.Seq != 3 || *got.Epoch != a.Epoch || *got.EventID != ids[2] || got.Fleet != nil {
			t.Fatalf("%+v", got)
		}
		if a := l.awaitProof(freshFor); a.Head != 3 {
			t.Errorf("%+v", a)
		}
		s.await("mark", func() bool {
			states, err := r.db.EventStates(t.Context(), ids)
			return err == nil && states[0].Published && states[1].Published && states[2].Published
		})
		m, err := l.nc.Request(events.SubjectStreamGet, []byte(`{"seq":1,"batch":1,"max_bytes":1000000,"next_by_subj":"tocsin.v1.feed.>"}`), within)
		if err != nil || l.verifier.Hear(messageOf(m)) != nil {
			t.Errorf("the stream's first message: %v", err)
		}
	})
}

func TestReceiptsTellWhatHasHappened(t *testing.T) {
	storetest.EachURL(t, func(t *testing.T, url string) {
		s := newSite(t, url)
		r, l := s.replica(), s.listener("one")
		l.awaitProof(freshFor)

		id := r.revoke()
		if got := r.receipt(feed.WaitNone, time.Hour, id); *got.EventID != id { // at once
			t.Errorf("none: %+v", got)
		}
		if got := r.receipt(feed.WaitPublished, within); got.EventID != nil || got.Seq != nil || !got.Published {
			t.Errorf("nothing changed: %+v", got)
		}

		// The fleet has applied it once the verifier says so, which the event asks for.
		done := r.Receipts.Expect(feed.WaitFleet)
		defer done()
		id = r.revoke()
		stop, asking := make(chan struct{}), sync.WaitGroup{}
		asking.Go(func() {
			for asked := 0; ; {
				select {
				case <-stop:
					return
				case <-time.After(time.Millisecond):
				}
				l.mu.Lock()
				acks := l.acks
				l.mu.Unlock()
				if acks > asked {
					asked = acks
					l.ask(freshFor)
				}
			}
		})
		got := r.receipt(feed.WaitFleet, within, id)
		close(stop)
		asking.Wait()
		if f := got.Fleet; f == nil || !f.Known || f.Total != 1 || f.Applied != 1 || len(f.Laggards) != 0 || !got.Published {
			t.Errorf("fleet: %+v %+v", got, got.Fleet)
		}

		// One that asks and doesn't apply is a laggard.
		l.mu.Lock()
		l.deaf = true
		l.mu.Unlock()
		id = r.revoke()
		r.receipt(feed.WaitPublished, within, id)
		l.ask(freshFor)
		got = r.receipt(feed.WaitFleet, 50*time.Millisecond, id)
		if f := got.Fleet; f.Applied != 0 || f.Total != 1 || len(f.Laggards) != 1 || f.Laggards[0] != (feed.Laggard{Service: "cars", Instance: "one"}) {
			t.Errorf("laggard: %+v", got.Fleet)
		}
		if v := r.Fleet.Verifiers(); len(v) != 1 || v[0].Service != "cars" || v[0].Instance != "one" || v[0].Lag != 1 || v[0].State != events.StateFresh {
			t.Errorf("%+v", v)
		}
	})
}

func TestAReplicaTakesOverAndTheOthersReceiptsAreTrue(t *testing.T) {
	url := storetest.URL(t, store.Postgres)
	s := newSite(t, url)
	first := s.replica()
	s.await("dispatcher", first.Holding)
	second := s.replica()
	l := s.listener("one")
	before := l.awaitProof(freshFor)

	id := second.revoke()
	if got := second.receipt(feed.WaitPublished, within, id); !got.Published {
		t.Errorf("through another replica: %+v", got)
	}
	done := second.Receipts.Expect(feed.WaitFleet)
	second.revoke()
	s.await("ack", func() bool { l.mu.Lock(); defer l.mu.Unlock(); return l.acks > 0 })
	done()

	s.close(first.Feed.Close)
	s.await("new dispatcher", second.Holding)
	after := l.awaitProof(freshFor) // of a later term than the next, if the machine stood still for longer than a lease lasts
	if after.Term <= before.Term || after.Epoch != before.Epoch {
		t.Errorf("%+v after %+v", after, before)
	}
}

// Another replica than the dispatcher counts the fleet, too, as soon as it has heard of everybody.
func TestAnotherReplicaCountsTheFleetWithTheDispatcher(t *testing.T) {
	s := newSite(t, storetest.URL(t, store.Postgres))
	first := s.replica()
	s.await("dispatcher", first.Holding)
	second, l := s.replica(), s.listener("one")
	l.awaitProof(freshFor)
	id := second.revoke()
	s.await("whole fleet", func() bool {
		l.ask(freshFor)
		got := second.receipt(feed.WaitFleet, 200*time.Millisecond, id)
		return got.Fleet.Known && got.Fleet.Total == 1 && got.Fleet.Applied == 1
	})
	s.close(first.Feed.Close)
	s.await("new dispatcher", second.Holding)
	if got := second.receipt(feed.WaitFleet, 10*time.Millisecond, id); got.Fleet.Known {
		t.Errorf("a new dispatcher knows whom the one before had answered: %+v", got.Fleet)
	}
}

func TestADispatcherThatIsCutOffFromNATSIsReplaced(t *testing.T) {
	s := newSite(t, storetest.URL(t, store.Postgres))
	first := s.replica()
	s.await("dispatcher", first.Holding)
	second, l := s.replica(), s.listener("one")
	before := l.awaitProof(freshFor)
	first.feeds.Close()
	second.revoke()
	l.await("proof of another term", func() bool {
		a, proven, _ := l.ask(freshFor)
		return proven && a.Term > before.Term && a.Head == 1
	})
	s.await("lease of who proves", second.Holding)
}

func TestALostStreamIsFilledWhileRunning(t *testing.T) {
	s := newOpenSite(t, storetest.URL(t, store.SQLite))
	r, l := s.replica(), s.listener("one")
	l.awaitProof(freshFor)
	r.receipt(feed.WaitPublished, within, r.revoke(), r.revoke())
	js, err := jetstream.New(l.nc)
	if err != nil {
		t.Fatal(err)
	}
	tail := func() uint64 {
		stream, err := js.Stream(t.Context(), events.StreamName)
		if err != nil {
			return 0
		}
		m, err := stream.GetMsg(t.Context(), stream.CachedInfo().State.LastSeq)
		if err != nil {
			return 0
		}
		b, err := events.DecodeBatch(m.Data)
		if err != nil {
			t.Fatal(err)
		}
		return b.LastSeq()
	}
	if tail() != 2 {
		t.Fatal("the stream isn't complete")
	}
	for name, lose := range map[string]func() error{
		"deleted": func() error { return js.DeleteStream(t.Context(), events.StreamName) },
		"replaced by an empty one": func() error {
			config := jetstream.StreamConfig{Name: events.StreamName, Subjects: []string{events.StreamSubjects}, AllowDirect: true}
			if err := js.DeleteStream(t.Context(), events.StreamName); err != nil {
				return err
			}
			// The server may still be removing the old one's files, and the dispatcher may be quicker than we are.
			s.await("new stream", func() bool {
				_, err := js.CreateStream(t.Context(), config)
				return err == nil || errors.Is(err, jetstream.ErrStreamNameAlreadyInUse)
			})
			return nil
		},
	} {
		if err := lose(); err != nil {
			t.Fatal(err)
		}
		s.await("stream that is complete again after it was "+name, func() bool { return tail() == 2 })
	}
	if a := l.awaitProof(freshFor); a.Head != 2 {
		t.Errorf("%+v", a)
	}
}

// Whoever administers the bus may change the stream under authsvc: it brings back what the feed needs, and what was lost.
func TestAStreamWithAnotherConfigurationIsPutRight(t *testing.T) {
	s := newOpenSite(t, storetest.URL(t, store.SQLite))
	r, l := s.replica(), s.listener("one")
	l.awaitProof(freshFor)
	for range 3 {
		r.receipt(feed.WaitPublished, within, r.revoke()) // a message each
	}
	js, err := jetstream.New(l.nc)
	if err != nil {
		t.Fatal(err)
	}
	right := func() bool {
		stream, err := js.Stream(t.Context(), events.StreamName)
		if err != nil {
			return false
		}
		info := stream.CachedInfo()
		return info.Config.AllowDirect && info.Config.DenyPurge && info.Config.MaxMsgs == -1 && info.Config.MaxAge == feed.DefaultMaxAge &&
			info.State.LastSeq > 3 && covers(t, stream, 3)
	}
	for name, change := range map[string]func(*jetstream.StreamConfig){
		"limits that remove messages": func(c *jetstream.StreamConfig) { c.MaxMsgs = 1 },
		"an age that removes them":    func(c *jetstream.StreamConfig) { c.MaxAge, c.Duplicates = 100*time.Millisecond, 100*time.Millisecond },
		"nobody may read directly":    func(c *jetstream.StreamConfig) { c.AllowDirect = false },
	} {
		stream, err := js.Stream(t.Context(), events.StreamName)
		if err != nil {
			t.Fatal(err)
		}
		config := stream.CachedInfo().Config
		change(&config)
		if _, err := js.UpdateStream(t.Context(), config); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		s.await("stream that is as it should be after: "+name, right)
	}
}

// covers reports whether the stream holds every event up to a seq.
func covers(t *testing.T, stream jetstream.Stream, head uint64) bool {
	t.Helper()
	seen := map[uint64]bool{}
	state := stream.CachedInfo().State
	for seq := max(state.FirstSeq, 1); seq <= state.LastSeq; seq++ {
		m, err := stream.GetMsg(t.Context(), seq)
		if err != nil {
			continue
		}
		b, err := events.DecodeBatch(m.Data)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range b.Events {
			seen[e.Seq] = true
		}
	}
	return uint64(len(seen)) >= head
}

func TestSnapshotPagesAreOrdinaryMessages(t *testing.T) {
	storetest.EachURL(t, func(t *testing.T, url string) {
		s := newSite(t, url)
		r := s.replica()
		err := r.db.Update(t.Context(), func(tx *store.Tx) error {
			for range 1100 {
				session := tx.NewID()
				if _, err := tx.InsertEvent(t.Context(), store.NewEvent{Payload: events.TokenRevoked{SessionID: session}, Target: "x", Actor: "system"}); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		s.await("events", func() bool { return r.Stats().Published == 1100 })
		v := feedtest.NewVerifier("cars", "new", keySet)
		for _, applied := v.Applied(); applied < 1100; _, applied = v.Applied() {
			m, err := r.Pages.Page(t.Context(), r.Stats().Epoch, applied+1)
			if err != nil {
				t.Fatal(err)
			}
			if err := v.Hear(m); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestBadProofRequestsAreIgnored(t *testing.T) {
	s := newSite(t, storetest.URL(t, store.SQLite))
	r, l := s.replica(), s.listener("one")
	for _, body := range []string{"", "{}", "null", `{"instance":"x"}`, string(make([]byte, 20<<10))} {
		if _, err := l.nc.Request(events.ProofSubject("cars"), []byte(body), 50*time.Millisecond); err == nil {
			t.Errorf("%.20q was answered", body)
		}
	}
	good, err := json.Marshal(l.verifier.Ask(feedtest.NewClock(), bound).Proof)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.nc.PublishRequest(events.ProofSubject("cars"), events.FeedSubject(events.TypeTokenRevoked), good); err != nil {
		t.Fatal(err)
	}
	l.awaitProof(freshFor)
	if r.Stats().Repairs != 0 {
		t.Error("something was written to the stream")
	}
}
