package elite

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/tocsin-auth/tocsin/authsvc/internal/bus"
	"github.com/tocsin-auth/tocsin/authsvc/internal/liveness"
	"github.com/tocsin-auth/tocsin/authsvc/internal/quota"
	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/authsvc/internal/store/storetest"
	"github.com/tocsin-auth/tocsin/authsvc/internal/turns"
	"github.com/tocsin-auth/tocsin/pkg/events"
)

// within is for what hangs, not for what is slow.
const within = time.Minute

// scene is a bus with the permission set, responders on it, and two services.
type scene struct {
	*world
	store      *hookedStore
	bus        *bus.Bus
	responders *Responders
	gatherer   *liveness.Gatherer
	cars, jobs *nats.Conn
	outcomes   chan Outcome
}

// hookedStore lets a test break and hold the database.
type hookedStore struct {
	*store.DB
	broken   atomic.Bool
	frozen   atomic.Bool
	badQuery atomic.Bool
	hold     atomic.Pointer[chan struct{}] // queries wait for it
	held     chan struct{}                 // a query waits
}

var errBroken = errors.New("no database")

func (s *hookedStore) Readable(ctx context.Context) error {
	if s.frozen.Load() {
		<-ctx.Done()
		return ctx.Err()
	}
	if s.broken.Load() {
		return errBroken
	}
	return s.DB.Readable(ctx)
}

func (s *hookedStore) Ask(ctx context.Context, questions []store.Question) ([]store.State, error) {
	if s.broken.Load() || s.badQuery.Load() {
		return nil, errBroken
	}
	if hold := s.hold.Load(); hold != nil {
		s.held <- struct{}{}
		select {
		case <-*hold:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return s.DB.Ask(ctx, questions)
}

func newScene(t testing.TB, change func(cfg *Config), gathering ...turns.Shares) *scene {
	t.Helper()
	return newSceneOn(t, store.SQLite, change, gathering...)
}

func newSceneOn(t testing.TB, engine store.Engine, change func(cfg *Config), gathering ...turns.Shares) *scene {
	t.Helper()
	s := &scene{world: newWorld(t, engine), outcomes: make(chan Outcome, 1000)}
	s.store = &hookedStore{DB: s.db, held: make(chan struct{}, 1000)}
	dir := t.TempDir()
	var services []bus.Service
	for _, name := range []string{"cars", "jobs"} {
		service, err := bus.LocalService(dir, name)
		if err != nil {
			t.Fatal(err)
		}
		services = append(services, service)
	}
	var err error
	log := slog.New(slog.DiscardHandler)
	s.bus, err = bus.Start(t.Context(), bus.Config{DataDir: dir, Listen: "127.0.0.1:0", Log: log, Patience: time.Hour}, services)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.closeBus(t) })
	shares := liveness.DefaultShares
	if len(gathering) > 0 {
		shares = gathering[0]
	}
	s.gatherer = liveness.NewGatherer(s.store, shares)
	s.gatherer.Patience = time.Hour
	cfg := Config{Conn: s.bus.Reply(), Store: s.store, Gather: s.gatherer, Ring: testRing(), Pages: pages{}, Quotas: quota.NewLedger(s.db), Log: log,
		Observe: func(_ Question, o Outcome, _ time.Duration) {
			select {
			case s.outcomes <- o:
			default:
			}
		},
		patience: time.Hour, quotaPatience: time.Hour, probeInterval: 5 * time.Millisecond, probeTimeout: time.Hour}
	if change != nil {
		change(&cfg)
	}
	if s.responders, err = Start(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	s.cars, s.jobs = s.join(t, dir, "cars"), s.join(t, dir, "jobs")
	return s
}

func (s *scene) join(t testing.TB, dir, service string) *nats.Conn {
	t.Helper()
	seed, err := nats.NkeyOptionFromSeed(bus.SeedFile(dir, service))
	if err != nil {
		t.Fatal(err)
	}
	closed := make(chan struct{})
	nc, err := nats.Connect(s.bus.URL(), seed, nats.CustomInboxPrefix("_INBOX_"+service), nats.NoReconnect(), nats.Timeout(within),
		nats.ClosedHandler(func(*nats.Conn) { close(closed) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close(); <-closed })
	return nc
}

func (s *scene) closeBus(t testing.TB) {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	if s.responders != nil && s.responders.queries.Err() == nil {
		if err := s.responders.Close(ctx); err != nil {
			t.Error(err)
		}
	}
	if err := s.gatherer.Close(ctx); err != nil {
		t.Error(err)
	}
	if err := s.bus.Close(ctx); err != nil {
		t.Error(err)
	}
}

// ask sends a question and returns the answer, or the code of its refusal.
func ask(t *testing.T, nc *nats.Conn, subject string, body []byte) (*nats.Msg, string) {
	t.Helper()
	m, err := nc.Request(subject, body, within)
	if err != nil {
		t.Fatalf("%s: %v", subject, err)
	}
	return m, m.Header.Get(events.HeaderError)
}

func (s *scene) resolveBody(t *testing.T) []byte {
	t.Helper()
	body, err := json.Marshal(events.ResolveRequest{Nonce: events.NewNonce(), KeyHash: events.Hash(s.key.Hash)})
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func TestQuestionsAreAnsweredOverTheBus(t *testing.T) {
	s := newScene(t, nil)
	check := s.token()
	check.Nonce = events.NewNonce()
	checkBody, err := json.Marshal(check)
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range []struct {
		subject string
		kind    events.Kind
		body    string
	}{
		{events.CheckSubject("cars"), events.KindCheck, string(checkBody)},
		{events.ResolveSubject("cars"), events.KindResolve, string(s.resolveBody(t))},
		{events.KeysSubject("cars"), events.KindKeys, `{"nonce":"` + events.NewNonce() + `"}`},
		{events.SnapshotSubject("cars"), events.KindFeed, `{"epoch":"` + testEpoch + `","from":1}`},
	} {
		m, code := ask(t, s.cars, q.subject, []byte(q.body))
		if code != "" {
			t.Errorf("%s: %s", q.subject, code)
			continue
		}
		if err := feedKeys().Verify(q.kind, m.Header.Get(events.HeaderKey), m.Header.Get(events.HeaderSignature), m.Data); err != nil {
			t.Errorf("%s: %v", q.subject, err)
		}
	}
}

func TestWhatCannotBeReadIsRefused(t *testing.T) {
	s := newScene(t, nil)
	nonce := events.NewNonce()
	id := `"` + s.user.ID + `"`
	for _, q := range []struct{ subject, body, want string }{
		{"check", ``, "invalid"}, {"check", `null`, "invalid"}, {"check", `[]`, "invalid"}, {"check", `{}`, "invalid"},
		{"check", `{"nonce":"` + nonce + `"}`, "invalid"},
		{"check", `{"nonce":"` + nonce + `","kid":"k","jti":"*","sub":` + id + `,"mode":"live"}`, "invalid"},
		{"check", `{"nonce":"` + nonce + `","kid":"k","jti":` + id + `,"sub":"x","mode":"live"}`, "invalid"},
		{"check", `{"nonce":"` + nonce + `","kid":"k","jti":` + id + `,"sub":` + id + `,"mode":"LIVE"}`, "invalid"},
		{"check", `{"nonce":"` + nonce + `","kid":"k","jti":` + id + `,"sub":` + id + `,"mode":"live","parents":[{},{},{},{},{},{},{},{},{}]}`, "invalid"},
		{"check", `{"nonce":"` + nonce + `","kid":"` + strings.Repeat("k", 20<<10) + `"}`, "invalid"},
		{"resolve", `{"nonce":"` + nonce + `"}`, "invalid"}, {"resolve", `{"nonce":"x","key_hash":"00"}`, "invalid"},
		{"resolve", "\xff\xfe", "invalid"}, {"keys", `{}`, "invalid"}, {"keys", `{"nonce":1}`, "invalid"},
		{"snapshot", `{"epoch":"x","from":1}`, "invalid"}, {"snapshot", `{"epoch":"` + testEpoch + `","from":-1}`, "invalid"},
		{"snapshot", `{"epoch":"` + testEpoch + `","from":0}`, "invalid"},
		{"snapshot", `{"epoch":` + id + `,"from":1}`, "gone"},
		{"snapshot", `{"epoch":"` + testEpoch + `","from":11}`, "busy"},
		{"snapshot", `{"epoch":"` + testEpoch + `","from":9}`, "busy"},
	} {
		m, code := ask(t, s.cars, "tocsin.v1."+q.subject+".cars", []byte(q.body))
		if code != q.want || len(m.Data) != 0 || m.Header.Get(events.HeaderSignature) != "" {
			t.Errorf("%s %.80q: %q with %d bytes, want %q", q.subject, q.body, code, len(m.Data), q.want)
		}
	}
	// A question without a reply subject has nobody to answer.
	if err := s.cars.Publish(events.KeysSubject("cars"), []byte(`{}`)); err != nil {
		t.Fatal(err)
	}
	if _, code := ask(t, s.cars, events.KeysSubject("cars"), []byte(`{"nonce":"`+nonce+`"}`)); code != "" {
		t.Errorf("after all that: %s", code)
	}
}

func TestAFloodFromOneServiceLeavesOthersTheirShare(t *testing.T) {
	s := newScene(t, nil, turns.Shares{Workers: 3, Running: 2, Queued: 4, Total: 100, Batch: 1})
	hold := make(chan struct{})
	s.store.hold.Store(&hold)
	inbox := s.cars.NewRespInbox()
	answers, err := s.cars.SubscribeSync(inbox)
	if err != nil {
		t.Fatal(err)
	}
	flood := func(n int) {
		for range n {
			if err := s.cars.PublishRequest(events.ResolveSubject("cars"), inbox, s.resolveBody(t)); err != nil {
				t.Fatal(err)
			}
		}
	}
	flood(2)
	<-s.store.held
	<-s.store.held // both of the share run
	flood(10)
	for range 6 { // four are queued, the others come back
		m, err := answers.NextMsg(within)
		if err != nil || m.Header.Get(events.HeaderError) != events.ErrorBusy {
			t.Fatalf("%v, %v", m, err)
		}
	}
	if _, code := ask(t, s.jobs, events.KeysSubject("jobs"), []byte(`{"nonce":"`+events.NewNonce()+`"}`)); code != "" {
		t.Errorf("another service during the flood: %s", code)
	}
	s.store.hold.Store(nil)
	close(hold)
	for range 6 {
		if m, err := answers.NextMsg(within); err != nil || m.Header.Get(events.HeaderError) != "" {
			t.Errorf("%v, %v", m, err)
		}
	}
}

// slowRing signs when it may; it stands in for a bus that has gone silent, too, which holds up who sends.
type slowRing struct {
	ring
	waiting chan struct{}
	may     chan struct{}
}

func (r slowRing) FeedSigner() *events.Signer {
	r.waiting <- struct{}{}
	<-r.may
	return r.ring.FeedSigner()
}

func TestAnswersThatCannotBeSentKeepNoCallerOfOursWaiting(t *testing.T) {
	slow := slowRing{testRing(), make(chan struct{}, 1000), make(chan struct{})}
	s := newScene(t, func(cfg *Config) { cfg.Ring = slow }, turns.Shares{Workers: 2, Running: 2, Queued: 100, Total: 100, Batch: 1})
	defer close(slow.may)
	for range 20 {
		if err := s.cars.PublishRequest(events.ResolveSubject("cars"), s.cars.NewRespInbox(), s.resolveBody(t)); err != nil {
			t.Fatal(err)
		}
	}
	<-slow.waiting
	<-slow.waiting // as many as can read at once
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	if _, err := s.gatherer.Ask(ctx, liveness.Callers, store.Question{Credentials: []store.Credential{{KeyID: s.key.ID}}}); err != nil {
		t.Error(err)
	}
}

// until waits for a state that a goroutine of the responders brings about.
func until(t *testing.T, what string, reached func() bool) {
	t.Helper()
	limit := time.After(within)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !reached() {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("never: %s", what)
		}
	}
}

func TestRespondersAreWithdrawnWhileTheDatabaseCannotBeRead(t *testing.T) {
	s := newScene(t, nil)
	subject := events.ResolveSubject("cars")
	for range 2 {
		if _, code := ask(t, s.cars, subject, s.resolveBody(t)); code != "" {
			t.Fatal(code)
		}
		s.store.broken.Store(true)
		until(t, "withdrawn", func() bool {
			m, err := s.cars.Request(subject, s.resolveBody(t), within)
			if err == nil && m.Header.Get(events.HeaderError) != events.ErrorBusy {
				t.Fatalf("answered without a database: %v", m)
			}
			return errors.Is(err, nats.ErrNoResponders)
		})
		if s.responders.Serving() {
			t.Error("serving without a database")
		}
		s.store.broken.Store(false)
		until(t, "back", func() bool {
			m, err := s.cars.Request(subject, s.resolveBody(t), within)
			return err == nil && m.Header.Get(events.HeaderError) == ""
		})
	}
}

func TestOneFailingQuestionDoesNotSilenceTheResponders(t *testing.T) {
	s := newScene(t, nil)
	s.store.badQuery.Store(true)
	for range 50 {
		if _, code := ask(t, s.cars, events.ResolveSubject("cars"), s.resolveBody(t)); code != events.ErrorBusy {
			t.Fatalf("got %q, want busy", code)
		}
		if _, code := ask(t, s.jobs, events.KeysSubject("jobs"), []byte(`{"nonce":"`+events.NewNonce()+`"}`)); code != "" {
			t.Fatalf("another service: %s", code)
		}
	}
}

func TestRespondersAreWithdrawnWhileTheDatabaseHangs(t *testing.T) {
	s := newScene(t, func(cfg *Config) { cfg.probeTimeout = probeTimeout })
	s.store.frozen.Store(true)
	until(t, "withdrawn", func() bool {
		_, err := s.cars.Request(events.ResolveSubject("cars"), s.resolveBody(t), within)
		return errors.Is(err, nats.ErrNoResponders)
	})
	s.store.frozen.Store(false)
	until(t, "back", s.responders.Serving)
}

// EliteLinearizable, as far as this package can keep it: a question that is sent after a change has committed is decided
// with it, however busy the responders are.
func TestAnAnswerKnowsWhatCommittedBeforeItsQuestion(t *testing.T) {
	for _, engine := range []store.Engine{store.SQLite, store.Postgres} {
		t.Run(string(engine), func(t *testing.T) {
			s := newSceneOn(t, engine, nil)
			stop, stopped := make(chan struct{}), make(chan struct{})
			go func() { // keeps the workers and the database's caches busy with the same rows
				defer close(stopped)
				body := s.resolveBody(t)
				for {
					select {
					case <-stop:
						return
					default:
						s.jobs.Request(events.ResolveSubject("jobs"), body, within)
					}
				}
			}()
			defer func() { close(stop); <-stopped }()
			for range 20 {
				session := storetest.AddSession(t, s.db, s.user)
				r := s.token()
				r.SessionID, r.JTI = session.ID, session.ID
				if a := s.askCheck(t, r); !a.Active {
					t.Fatalf("before: %s", a.Reason)
				}
				s.update(t, func(ctx context.Context, tx *store.Tx) error { _, err := tx.EndSession(ctx, session.ID); return err })
				if a := s.askCheck(t, r); a.Reason != events.ReasonRevoked {
					t.Fatalf("after: %q", a.Reason)
				}
			}
		})
	}
}

func (s *scene) askCheck(t *testing.T, r events.CheckRequest) events.CheckAnswer {
	t.Helper()
	r.Nonce = events.NewNonce()
	body, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	m, code := ask(t, s.cars, events.CheckSubject("cars"), body)
	if code != "" {
		t.Fatal(code)
	}
	a, err := events.DecodeCheckAnswer(m.Data)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestStartWithoutADatabaseServesWhenItComes(t *testing.T) {
	s := newScene(t, func(cfg *Config) { cfg.Store.(*hookedStore).broken.Store(true) })
	if s.responders.Serving() {
		t.Fatal("serving without a database")
	}
	s.store.broken.Store(false)
	until(t, "serving", s.responders.Serving)
}

func TestCloseAnswersWhatHasArrived(t *testing.T) {
	s := newScene(t, nil, turns.Shares{Workers: 2, Running: 2, Queued: 10, Total: 100, Batch: 4})
	hold := make(chan struct{})
	s.store.hold.Store(&hold)
	inbox := s.cars.NewRespInbox()
	answers, err := s.cars.SubscribeSync(inbox)
	if err != nil {
		t.Fatal(err)
	}
	for range 8 {
		if err := s.cars.PublishRequest(events.ResolveSubject("cars"), inbox, s.resolveBody(t)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.cars.Flush(); err != nil {
		t.Fatal(err)
	}
	<-s.store.held
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	closed := make(chan error, 1)
	go func() { closed <- s.responders.Close(ctx) }()
	until(t, "withdrawn", func() bool { return !s.responders.Serving() })
	close(hold)
	for range 8 {
		if m, err := answers.NextMsg(within); err != nil || m.Header.Get(events.HeaderError) != "" {
			t.Errorf("%v, %v", m, err)
		}
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if _, err := s.cars.Request(events.ResolveSubject("cars"), nil, within); !errors.Is(err, nats.ErrNoResponders) {
		t.Errorf("after Close: %v", err)
	}
}

func TestCloseInAHurryEndsRunningQueries(t *testing.T) {
	s := newScene(t, nil)
	hold := make(chan struct{})
	defer close(hold) // for the read, which is the gatherer's to end
	s.store.hold.Store(&hold)
	if err := s.cars.PublishRequest(events.ResolveSubject("cars"), s.cars.NewRespInbox(), s.resolveBody(t)); err != nil {
		t.Fatal(err)
	}
	<-s.store.held
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.responders.Close(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Close: %v", err)
	}
}

func TestQuestionsThatWaitedTooLongAreDropped(t *testing.T) {
	s := newScene(t, nil)
	s.responders.work(arrival{Keys, &nats.Msg{Data: s.resolveBody(t)}, time.Now().Add(-2 * s.responders.cfg.patience)})
	if o := <-s.outcomes; o != Late {
		t.Errorf("%s, want late", o)
	}
}

// A reply subject is the asker's choice. On a NATS without accounts, answering would be writing wherever it likes.
func TestAnswersGoToInboxesOnly(t *testing.T) {
	seen := make(chan Outcome, 8)
	r := &Responders{cfg: Config{Log: slog.New(slog.DiscardHandler), Observe: func(_ Question, o Outcome, _ time.Duration) { seen <- o }},
		queries: t.Context()}
	for _, reply := range []string{"", "tocsin.v1.live.role.changed", "tocsin.v1.nudge", "$JS.API.STREAM.PURGE.TOCSIN", "_INBOX_cars.1"} {
		r.take(Check, &nats.Msg{Subject: events.CheckSubject("cars"), Reply: reply, Data: []byte("{")})
	}
	if len(seen) != 1 {
		t.Errorf("%d questions were taken, want the one with an inbox", len(seen))
	}
}
