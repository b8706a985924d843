package model

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/tocsin-auth/tocsin/authsvc/internal/feed"
	"github.com/tocsin-auth/tocsin/authsvc/internal/feed/feedtest"
	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/pkg/events"
)

var (
	feedKey  = ed25519.NewKeyFromSeed(slices.Repeat([]byte{1}, ed25519.SeedSize))
	alienKey = ed25519.NewKeyFromSeed(slices.Repeat([]byte{2}, ed25519.SeedSize))
	signer   = events.NewSigner(issuer, feedKey)
	alien    = events.NewSigner(issuer, alienKey)
)

// defects are defences that the model itself takes away; those of the verifier are switched by a build tag.
type defects struct {
	feedtest.JournalDefects
	publishLater  bool // events aren't in the transaction of their change
	lateQuestions bool // questions are answered from a transaction that began before they came
	cachedClock   bool // verifiers read a clock that somebody moves on now and then
}

// world is everything there is.
type world struct {
	defects defects
	clock   *feedtest.Clock // the database's and the dispatchers'
	elapsed time.Duration   // what really passed
	wrong   time.Duration   // by how much the database's clock is, since setDatabase
	journal *feedtest.Journal
	backup  *feedtest.Journal
	bus     *feedtest.Bus
	pages   *feed.Pages
	auth    *authority

	replicas []*replica
	names    int
	// What was ever sent.
	messages []feed.Message
	requests []feed.Request
	answers  []feed.Message
	given    []feed.Message // pages
	// again, if not 0, is which of those, from 1, answers the next question for a page.
	again int
	// noCompact: authsvc is of a release that makes no compact pages.
	noCompact bool
	// lag is how many messages of the stream's end a replica of it doesn't show.
	lag int

	machines []*machine
	restored bool // the database lost commits at least once
}

func newWorld(d defects) *world {
	clock := feedtest.NewClock()
	w := &world{defects: d, clock: clock, journal: feedtest.NewJournal(clock), bus: feedtest.NewBus(clock)}
	w.journal.Defects = d.JournalDefects
	w.auth = newAuthority(w)
	w.journal.Until = func(now int64) int64 { return store.Until(now, tokenLife.Microseconds(), w.auth.ceiling) }
	w.journal.Keys = w.auth.keySetHash()
	w.pages = feed.NewPages(w.journal, func() *events.Signer { return signer }, issuer)
	w.bus.OnLive = func(m feed.Message) { w.messages = append(w.messages, m) }
	w.bus.OnAnswer = func(r feed.Request, m feed.Message) {
		r.Reply.(*machine).answered = true
		w.answers = append(w.answers, m)
	}
	w.backup = w.journal.Backup()
	return w
}

func (w *world) advance(d time.Duration) {
	w.elapsed += d
	w.clock.Advance(d)
	for _, m := range w.machines {
		m.clock.Advance(d)
	}
	w.auth.dawn(false)
}

// leap sets the database's clock forward, for good.
func (w *world) leap(d time.Duration) {
	w.clock.Advance(d)
	w.auth.dawn(true)
}

// setDatabase sets the database's clock wrong by an amount.
func (w *world) setDatabase(wrong time.Duration) {
	w.clock.Advance(wrong - w.wrong)
	w.wrong = wrong
	w.auth.dawn(true)
}

// replica is a process of authsvc and its dispatcher.
type replica struct {
	*feedtest.Process
	*feed.Dispatcher
	frozen bool
}

func (w *world) replica(iss string) *replica {
	w.names++
	p := feedtest.NewProcess(w.journal, w.bus)
	sign := events.NewSigner(iss, feedKey)
	return &replica{Process: p, Dispatcher: p.Dispatcher(feed.DispatcherConfig{
		Signer: func() *events.Signer { return sign }, Issuer: iss, Instance: fmt.Sprint("replica ", w.names), Log: slog.New(slog.DiscardHandler),
	})}
}

// step lets a replica do a round for requests that have arrived. meanwhile, if given, happens while it is frozen
// before or after its n-th call.
func (w *world) step(r *replica, requests []feed.Request, n int, meanwhile func()) error {
	if r.frozen {
		return errFrozen
	}
	batch := make([]feed.Request, len(requests))
	for i, q := range requests {
		q.Arrived = w.clock.Now()
		batch[i] = q
	}
	r.frozen, r.Between = true, func() {
		if n--; n == 0 && meanwhile != nil {
			meanwhile()
			w.refresh(batch)
		}
	}
	defer func() { r.frozen, r.Between = false, nil }()
	return r.Step(context.Background(), batch)
}

var errFrozen = errors.New("frozen")

// refresh is the defect lateQuestions: each instance's newest question takes the place of its earlier one, although the
// round has begun.
func (w *world) refresh(batch []feed.Request) {
	if !w.defects.lateQuestions {
		return
	}
	for i := range batch {
		for _, q := range w.requests {
			if q.Reply == batch[i].Reply {
				q.Arrived = w.clock.Now()
				batch[i] = q
			}
		}
	}
}

// look lets a replica look at the stream.
func (w *world) look(r *replica) {
	state := w.bus.State()
	state.Since = r.StreamSeq()
	r.Observe(state)
}

// lose sets the database back to the last backup.
func (w *world) lose() {
	w.journal.Restore(w.backup)
	w.restored = true
	w.auth.restored()
}

// forge sends, with a key that nobody trusts, the events that an honest feed would have next.
func (w *world) forge() {
	position := w.position()
	payload, err := events.EncodePayload(events.KeysChanged{Hash: events.HashOf([]byte("forged"))})
	if err != nil {
		panic(err)
	}
	now := w.clock.Now()
	raw, err := events.EncodeEvent(position.Head+1, events.TypeKeysChanged, now.UnixMicro(), now.Add(eventLife).UnixMicro(), payload)
	if err != nil {
		panic(err)
	}
	body, err := events.EncodeBatch(position.Epoch, position.Head+1, position.Chain, 1, false, [][]byte{raw})
	if err != nil {
		panic(err)
	}
	w.messages = append(w.messages, forged(events.KindFeed, body))
}

func forged(kind events.Kind, body []byte) feed.Message {
	return feed.Message{Body: body, Key: alien.KeyID(), Signature: alien.Sign(kind, body)}
}

// forgeAnswer claims that nothing has happened since nothing ever had.
func (w *world) forgeAnswer(q feed.Request) {
	at := w.position()
	w.answers = append(w.answers, forged(events.KindProof, encode(events.ProofAnswer{
		Nonce: q.Proof.Nonce, Request: events.HashOf(q.Body), Epoch: at.Epoch, Term: 1, Floor: 1, Head: 0,
		Chain: events.ChainStart(issuer, at.Epoch), Keys: w.journal.Keys, Now: w.clock.Now().UnixMicro(),
	})))
}

// position returns the feed's end.
func (w *world) position() store.FeedPosition {
	l, err := w.journal.FeedStanding(context.Background())
	if err != nil {
		const none = "00000000-0000-7000-8000-000000000001"
		return store.FeedPosition{Epoch: none, Chain: events.ChainStart(issuer, none)}
	}
	return l.FeedPosition
}

// populate starts verifiers and replicas, and issues something to begin with.
func (w *world) populate(machines, replicas int) {
	for i := range machines {
		w.machine(fmt.Sprint("verifier ", i+1))
	}
	for range replicas {
		w.replicas = append(w.replicas, w.replica(issuer))
	}
	for _, u := range w.auth.users {
		w.auth.mint(u, 1)
		w.auth.makeKey(u)
	}
}

func (w *world) close() {
	for _, m := range w.machines {
		m.stop()
	}
}
