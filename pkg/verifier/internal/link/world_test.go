package link

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/clock"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/revset"
)

const (
	testIssuer  = "https://auth.example.com"
	testService = "cars"
)

// authority is authsvc as one sees it on the bus: a log of signed events, proofs, keys, a stream and snapshots.
type authority struct {
	mu     sync.Mutex
	signer *events.Signer
	epoch  string
	raws   [][]byte
	chains []events.Hash // chains[n] is chain(n)
	floor  uint64
	tokens []ed25519.PublicKey

	silent   bool // isn't there: questions come back
	deaf     bool // is there, and answers no questions
	lostKeys int  // so many questions for the token keys go to a replica that is silent
	// Answers of the stream, and pages, that get lost from now on.
	lostBatches, lostPages int
	mute                   bool // the stream takes requests and never answers
	stuck                  int  // so many requests the stream answers with nothing but that there is more
	badProofs              bool // signs proofs with a key that nobody knows
	stream                 []uint64
	mapped                 bool // the stream answers on the mapped subject, else on the plain one
	pageSize               uint64
	busy                   int                       // snapshot requests to refuse
	compact                bool                      // it makes compact pages
	spoil                  func(*nats.Msg) *nats.Msg // what becomes of those
	asked                  map[string]int
	streamFrom             []events.StreamRead
}

func newKey(seed byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed([]byte(strings.Repeat(string(rune(seed)), 32)))
}

func newAuthority() *authority {
	a := &authority{
		signer: events.NewSigner(testIssuer, newKey('f')), floor: 1, pageSize: 5, mapped: true, asked: map[string]int{},
		spoil: func(m *nats.Msg) *nats.Msg { return m },
	}
	a.open(1)
	a.rotate('t')
	return a
}

func (a *authority) open(n byte) {
	a.epoch = events.ID{5: n, 6: 0x70, 8: 0x80}.String()
	a.raws, a.chains, a.stream = nil, []events.Hash{events.ChainStart(testIssuer, a.epoch)}, nil
}

func (a *authority) rotate(seeds ...byte) {
	a.tokens = nil
	for _, seed := range seeds {
		a.tokens = append(a.tokens, newKey(seed).Public().(ed25519.PublicKey))
	}
}

func (a *authority) keySetHash() events.Hash {
	var kids []string
	for _, k := range a.tokens {
		kids = append(kids, events.Thumbprint(k))
	}
	return events.KeySetHash(kids)
}

func jwks(keys []ed25519.PublicKey) json.RawMessage {
	list := []map[string]string{}
	for _, k := range keys {
		list = append(list, map[string]string{
			"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "kid": events.Thumbprint(k), "x": b64(k),
		})
	}
	b, err := json.Marshal(map[string]any{"keys": list})
	if err != nil {
		panic(err)
	}
	return b
}

// revoke commits and numbers the revocation of a token, and returns its message.
func (a *authority) revoke(jti events.ID) *nats.Msg {
	return a.add(events.TokenRevoked{JTI: jti.String()})
}

func (a *authority) add(p events.Payload) *nats.Msg {
	payload, err := events.EncodePayload(p)
	if err != nil {
		panic(err)
	}
	return a.say(p.Type(), payload)
}

// say commits and numbers an event of any type.
func (a *authority) say(typ events.Type, payload []byte) *nats.Msg {
	seq, now := uint64(len(a.raws)+1), time.Now().UnixMicro()
	raw, err := events.EncodeEvent(seq, typ, now, now+time.Hour.Microseconds(), payload)
	if err != nil {
		panic(err)
	}
	a.raws = append(a.raws, raw)
	a.chains = append(a.chains, a.chains[seq-1].Next(raw))
	a.stream = append(a.stream, seq)
	return a.batch(seq, seq, false)
}

func (a *authority) batch(first, last uint64, ack bool) *nats.Msg {
	body, err := events.EncodeBatch(a.epoch, first, a.chains[first-1], a.floor, ack, a.raws[first-1:last])
	if err != nil {
		panic(err)
	}
	return a.signed(events.KindFeed, body)
}

func (a *authority) signed(kind events.Kind, body []byte) *nats.Msg {
	return &nats.Msg{Data: body, Header: nats.Header{
		events.HeaderKey: {a.signer.KeyID()}, events.HeaderSignature: {a.signer.Sign(kind, body)},
	}}
}

func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

// loses reports whether a question goes to a replica that is silent.
func (a *authority) loses(subject string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if subject != events.KeysSubject(testService) || a.lostKeys == 0 {
		return false
	}
	a.lostKeys--
	return true
}

// replies returns what comes back for a request.
func (a *authority) replies(subject string, body []byte) []*nats.Msg {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked[subject]++
	switch subject {
	case events.SubjectStreamGet, events.SubjectDirectGet:
		return a.readStream(subject, body)
	}
	if a.deaf {
		return nil
	}
	if a.silent {
		return []*nats.Msg{status("503")}
	}
	switch subject {
	case events.ProofSubject(testService):
		return []*nats.Msg{a.proof(body)}
	case events.KeysSubject(testService):
		var r events.KeysRequest
		if err := json.Unmarshal(body, &r); err != nil {
			panic(err)
		}
		return []*nats.Msg{a.signed(events.KindKeys, encode(events.KeysAnswer{
			Nonce: r.Nonce, Request: events.HashOf(body), JWKS: jwks(a.tokens), Now: time.Now().UnixMicro(),
		}))}
	case events.SnapshotSubject(testService):
		if a.lostPages > 0 {
			a.lostPages--
			return nil
		}
		return []*nats.Msg{a.page(body)}
	}
	return []*nats.Msg{status("503")}
}

func (a *authority) proof(body []byte) *nats.Msg {
	r, err := events.DecodeProofRequest(body)
	if err != nil {
		panic(err)
	}
	head := uint64(len(a.raws))
	m := a.signed(events.KindProof, encode(events.ProofAnswer{
		Nonce: r.Nonce, Request: events.HashOf(body), Epoch: a.epoch, Term: 1, Floor: a.floor, Head: head,
		Chain: a.chains[head], Keys: a.keySetHash(), Now: time.Now().UnixMicro(),
	}))
	if a.badProofs {
		other := events.NewSigner(testIssuer, newKey('x'))
		m.Header.Set(events.HeaderKey, other.KeyID())
		m.Header.Set(events.HeaderSignature, other.Sign(events.KindProof, m.Data))
	}
	return m
}

func (a *authority) page(body []byte) *nats.Msg {
	r, err := events.DecodeSnapshotRequest(body)
	switch {
	case err != nil:
		panic(err)
	case a.busy > 0:
		a.busy--
		return &nats.Msg{Header: nats.Header{events.HeaderError: {events.ErrorBusy}}}
	case r.Epoch != a.epoch || r.From > uint64(len(a.raws)):
		return &nats.Msg{Header: nats.Header{events.HeaderError: {events.ErrorGone}}}
	}
	if a.compact && r.Compact >= events.CompactForm {
		return a.spoil(a.compactPage(r.From))
	}
	first := (r.From-1)/a.pageSize*a.pageSize + 1
	return a.batch(first, min(first+a.pageSize-1, uint64(len(a.raws))), false)
}

func (a *authority) compactPage(from uint64) *nats.Msg {
	first := (from-1)/events.PageEvents*events.PageEvents + 1
	p, err := events.NewPage(a.epoch, first, a.chains[first-1], a.floor)
	if err != nil {
		panic(err)
	}
	for ok := true; ok && p.LastSeq() < uint64(len(a.raws)); {
		if ok, err = p.Add(a.raws[p.LastSeq()]); err != nil {
			panic(err)
		}
	}
	m := a.signed(events.KindPage, p.Encode())
	m.Header.Set(events.HeaderForm, events.FormCompact)
	return m
}

// readStream answers Direct Get with batches of at most three messages. The stream's seq is the place in the list.
func (a *authority) readStream(subject string, body []byte) []*nats.Msg {
	if a.lostBatches > 0 {
		a.lostBatches--
		return nil
	}
	if a.mute {
		return nil
	}
	if a.mapped != (subject == events.SubjectStreamGet) {
		return []*nats.Msg{status("503")}
	}
	if a.stuck > 0 {
		a.stuck--
		more := status("204")
		more.Header.Set(events.HeaderPending, "5")
		return []*nats.Msg{more}
	}
	var r events.StreamRead
	if err := json.Unmarshal(body, &r); err != nil {
		panic(err)
	}
	a.streamFrom = append(a.streamFrom, r)
	start := int(r.Seq)
	if r.StartTime != nil {
		for start = 1; start <= len(a.stream) && a.at(a.stream[start-1]) < r.StartTime.UnixMicro(); start++ {
		}
	}
	if start > len(a.stream) {
		return []*nats.Msg{status("404")}
	}
	var list []*nats.Msg
	end := min(start+2, len(a.stream))
	for n := start; n <= end; n++ {
		m := a.batch(a.stream[n-1], a.stream[n-1], false)
		m.Header.Set(events.HeaderStreamSeq, fmt.Sprint(n))
		list = append(list, m)
	}
	eob := status("204")
	eob.Header.Set(events.HeaderPending, fmt.Sprint(len(a.stream)-end))
	return append(list, eob)
}

func (a *authority) at(seq uint64) int64 {
	e, err := events.DecodeEvent(a.raws[seq-1])
	if err != nil {
		panic(err)
	}
	return e.At
}

func status(code string) *nats.Msg {
	return &nats.Msg{Header: nats.Header{events.HeaderStatus: {code}}}
}

// load makes the authority a source of feed keys.
func (a *authority) load(context.Context) ([]byte, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked["feed keys"]++
	if a.silent {
		return nil, errors.New("connection refused")
	}
	return jwks([]ed25519.PublicKey{newKey('f').Public().(ed25519.PublicKey)}), nil
}

// wire is a bus in memory between one link and the authority.
type wire struct {
	authority *authority
	noticed   func(notice, error)

	mu        sync.Mutex
	connected bool
	closed    bool
	failing   bool // it takes nothing, though it seems to stand
	subs      map[string]*wireSubscription
	inboxes   int
	flushes   int
}

type wireSubscription struct {
	wire    *wire
	subject string
	queue   chan *nats.Msg
	mu      sync.Mutex
	dropped bool
}

func (w *wire) Publish(subject, reply string, body []byte) error {
	if !w.Connected() {
		return nats.ErrReconnectBufExceeded
	}
	for _, m := range w.authority.replies(subject, body) {
		w.deliver(reply, m)
	}
	return nil
}

func (w *wire) Subscribe(subject string) (subscription, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil, nats.ErrConnectionClosed
	}
	s := &wireSubscription{wire: w, subject: subject, queue: make(chan *nats.Msg, 64)}
	w.subs[subject] = s
	return s, nil
}

func (w *wire) Request(ctx context.Context, subject string, body []byte) (*nats.Msg, error) {
	if !w.Connected() || w.fails() {
		return nil, nats.ErrReconnectBufExceeded
	}
	if w.authority.loses(subject) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	replies := w.authority.replies(subject, body)
	if len(replies) == 0 {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	m := replies[0]
	if m.Header.Get(events.HeaderStatus) != "" {
		return nil, nats.ErrNoResponders
	}
	return m, ctx.Err()
}

func (w *wire) Flush(context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.flushes++
	return nil
}

func (w *wire) Inbox() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.inboxes++
	return fmt.Sprint("inbox.", w.inboxes)
}

func (w *wire) Fault() error { return nil }

func (w *wire) Connected() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.connected
}

func (w *wire) fails() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.failing
}

func (w *wire) Close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.connected, w.closed = false, true
}

// deliver puts a message into a subscription, or drops it if that is full or gone.
func (w *wire) deliver(subject string, m *nats.Msg) {
	w.mu.Lock()
	s, connected := w.subs[subject], w.connected
	w.mu.Unlock()
	if s == nil || !connected {
		return
	}
	select {
	case s.queue <- m:
	default:
		s.mu.Lock()
		s.dropped = true
		s.mu.Unlock()
		w.noticed(noticeDropped, nats.ErrSlowConsumer)
	}
}

// live delivers a message of the live feed.
func (w *wire) live(m *nats.Msg) { w.deliver(events.LiveSubjects, m) }

// burst delivers messages of the live feed faster than anybody can read.
func (w *wire) burst(all []*nats.Msg) {
	w.mu.Lock()
	s := w.subs[events.LiveSubjects]
	w.mu.Unlock()
	s.mu.Lock() // so that the reader takes no more than the one that it waits for
	for _, m := range all {
		select {
		case s.queue <- m:
		default:
			s.dropped = true
		}
	}
	dropped := s.dropped
	s.mu.Unlock()
	if dropped {
		w.noticed(noticeDropped, nats.ErrSlowConsumer)
	}
}

func (w *wire) cut() {
	w.mu.Lock()
	w.connected = false
	w.mu.Unlock()
	w.noticed(noticeDisconnected, errors.New("cut"))
}

// fail is a connection that is broken before the client has said so.
func (w *wire) fail() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failing = true
}

func (w *wire) mend() {
	w.mu.Lock()
	w.connected, w.failing = true, false
	w.mu.Unlock()
	w.noticed(noticeReconnected, nil)
}

func (s *wireSubscription) Next(ctx context.Context) (*nats.Msg, error) {
	s.mu.Lock()
	dropped := s.dropped
	s.dropped = false
	s.mu.Unlock()
	if dropped {
		return nil, errDropped
	}
	select {
	case m := <-s.queue:
		return m, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (s *wireSubscription) Unsubscribe() {
	s.wire.mu.Lock()
	defer s.wire.mu.Unlock()
	delete(s.wire.subs, s.subject)
}

// bubbleClock reads the time of the synctest bubble.
type bubbleClock struct{}

func (bubbleClock) Now() clock.Reading {
	now := time.Now().UnixNano()
	return clock.Reading{Wall: now, Boot: now}
}

// scene is a link that was started against an authority.
type scene struct {
	*testing.T
	*authority
	wire  *wire
	link  *Link
	set   *revset.Set
	skips int
}

// inScene runs a test in a bubble, where time passes only while everybody waits.
func inScene(t *testing.T, prepare func(*authority), test func(*scene)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority()
		if prepare != nil {
			prepare(a)
		}
		s := &scene{T: t, authority: a, set: revset.New()}
		s.link = newLink(Config{
			Issuer: testIssuer, Service: testService, Instance: "test", Smallest: 30 * time.Second, Largest: 30 * time.Second,
			Clock: bubbleClock{}, Set: s.set, Skipped: func() { s.skips++ }, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		}, a)
		s.wire = &wire{authority: a, noticed: s.link.noticed, connected: true, subs: map[string]*wireSubscription{}}
		s.link.dial = func(context.Context) (bus, error) { return s.wire, nil }
		s.link.tasks.Go(s.link.own)
		defer func() {
			if err := s.link.Close(); err != nil {
				t.Error(err)
			}
			synctest.Wait()
		}()
		test(s)
	})
}

// pass lets time go by and everybody finish what is due.
func (s *scene) pass(d time.Duration) {
	time.Sleep(d) // of the bubble
	synctest.Wait()
}

func (s *scene) change(f func(*authority)) {
	s.authority.mu.Lock()
	defer s.authority.mu.Unlock()
	f(s.authority)
}

func (s *scene) mustBeReady() {
	s.Helper()
	if err := s.link.Ready(30 * time.Second); err != nil {
		s.Fatalf("not ready: %v; %+v", err, s.link.Stats())
	}
}

func (s *scene) mustNotBeReady() {
	s.Helper()
	if err := s.link.Ready(30 * time.Second); err == nil {
		s.Fatalf("ready: %+v", s.link.Stats())
	}
}

func (s *scene) mustHave(first, last int) {
	s.Helper()
	for n := first; n <= last; n++ {
		if !s.set.Token(revset.Credential{JTI: jti(n)}).Revoked {
			s.Fatalf("revocation %d is missing", n)
		}
	}
}

func (s *scene) times(subject string) int {
	s.authority.mu.Lock()
	defer s.authority.mu.Unlock()
	return s.asked[subject]
}

func jti(n int) events.ID { return events.ID{6: 0x70, 8: 0x80, 14: byte(n >> 8), 15: byte(n)} }

// revokeAll prepares a log of n revocations.
func revokeAll(n int) func(*authority) {
	return func(a *authority) {
		for i := range n {
			a.revoke(jti(i + 1))
		}
	}
}
