package model

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/tocsin-auth/tocsin/authsvc/internal/feed"
	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/pkg/verifier"
	"github.com/tocsin-auth/tocsin/pkg/verifier/verifiermodel"
)

// The bounds of the routes.
const (
	bound      = 30 * time.Second
	shortBound = 5 * time.Second
)

var bounds = []time.Duration{bound, shortBound}

// machine is where a verifier runs. Its clock outlives the process.
type machine struct {
	*verifiermodel.Process
	w        *world
	name     string
	clock    *verifiermodel.Clock
	set      time.Duration // by how much its wall clock is wrong
	cached   verifiermodel.Reading
	answered bool // a dispatcher has answered this start
	routes   map[time.Duration]*verifier.Route
	said     claim
	denied   map[*credential]bool // it refused them as revoked, for good
	// offline: questions to authsvc fail. meanwhile happens after authsvc has answered one, and before that arrives.
	offline   bool
	meanwhile func()
}

// claim is what a question told of the feed's end.
type claim struct {
	epoch   string
	applied uint64
}

func (w *world) machine(name string) *machine {
	m := &machine{w: w, name: name, clock: verifiermodel.NewClock(w.clock.Now())}
	m.start()
	w.machines = append(w.machines, m)
	return m
}

// start starts the process anew; it knows nothing.
func (m *machine) start() {
	m.stop()
	m.answered, m.said, m.denied = false, claim{}, map[*credential]bool{}
	var err error
	m.Process, err = verifiermodel.Start(context.Background(), verifiermodel.Config{
		Issuer: issuer, Audience: audience, Service: "cars", Instance: m.name, Bound: bound, Clock: m.clocks(), FeedKeys: jwks(feedKey), Bus: wire{m},
	})
	if err != nil {
		panic(err)
	}
	m.routes = map[time.Duration]*verifier.Route{}
	for _, b := range bounds {
		if m.routes[b], err = m.Verifier.Route(verifier.MaxStaleness(b)); err != nil {
			panic(err)
		}
	}
}

func (m *machine) stop() {
	if m.Process != nil {
		if err := m.Process.Close(); err != nil {
			panic(err)
		}
	}
}

// clocks is what the process reads.
func (m *machine) clocks() verifiermodel.Clocks {
	if m.w.defects.cachedClock {
		m.cached = m.clock.Now()
		return cachedClock{m}
	}
	return m.clock
}

// cachedClock is the defect: somebody should have moved it on, but the whole process was frozen.
type cachedClock struct{ m *machine }

func (c cachedClock) Now() verifiermodel.Reading { return c.m.cached }

// awake is the process having had time to do what is due.
func (m *machine) awake() { m.cached = m.clock.Now() }

// setWall sets the wall clock wrong by an amount.
func (m *machine) setWall(wrong time.Duration) {
	m.clock.Move(wrong-m.set, 0)
	m.set = wrong
}

func message(m feed.Message) *nats.Msg {
	header := nats.Header{events.HeaderKey: {m.Key}, events.HeaderSignature: {m.Signature}}
	if m.Form != "" {
		header.Set(events.HeaderForm, m.Form)
	}
	return &nats.Msg{Data: m.Body, Header: header}
}

func (m *machine) hear(messages ...feed.Message) {
	m.awake()
	for _, one := range messages {
		m.Live(message(one))
	}
}

// take gives it an answer; replays and strangers are refused.
func (m *machine) take(answers ...feed.Message) {
	m.awake()
	for _, one := range answers {
		_ = m.Answer(message(one))
	}
}

// ask returns the question that it has sent.
func (m *machine) ask() feed.Request {
	m.awake()
	m.Ask()
	return m.w.requests[len(m.w.requests)-1]
}

// wire is what a machine has of NATS. Nothing on it waits.
type wire struct{ m *machine }

var errNothing = errors.New("nothing comes")

func (b wire) Publish(subject, reply string, body []byte) error {
	w := b.m.w
	switch subject {
	case events.ProofSubject("cars"):
		proof, err := events.DecodeProofRequest(body)
		if err != nil {
			panic(err)
		}
		b.m.said = claim{proof.Epoch, proof.Applied}
		w.requests = append(w.requests, feed.Request{Service: "cars", Body: body, Proof: proof, Reply: b.m})
	case events.SubjectStreamGet:
		pending[reply] = w.directGet(body)
	default:
		return errNothing
	}
	return nil
}

// pending holds what waits for subscriptions, by subject; read at once by who asked.
var pending = map[string][]*nats.Msg{}

type subscription string

func (b wire) Subscribe(subject string) (verifiermodel.Subscription, error) {
	return subscription(subject), nil
}

func (s subscription) Next(context.Context) (*nats.Msg, error) {
	list := pending[string(s)]
	if len(list) == 0 {
		return nil, errNothing
	}
	pending[string(s)] = list[1:]
	return list[0], nil
}

func (s subscription) Unsubscribe() { delete(pending, string(s)) }

func (b wire) Flush(context.Context) error { return nil }
func (b wire) Inbox() string               { return "_INBOX_" + b.m.name }
func (b wire) Connected() bool             { return true }
func (b wire) Fault() error                { return nil }
func (b wire) Close()                      {}

// Request asks authsvc, whose answer may be old when it arrives.
func (b wire) Request(_ context.Context, subject string, body []byte) (*nats.Msg, error) {
	if b.m.offline {
		return nil, errNothing
	}
	w := b.m.w
	var reply *nats.Msg
	switch subject {
	case events.SnapshotSubject("cars"):
		reply = w.page(body)
	case events.KeysSubject("cars"):
		var q events.KeysRequest
		if err := json.Unmarshal(body, &q); err != nil {
			panic(err)
		}
		reply = signed(events.KindKeys, encode(events.KeysAnswer{
			Nonce: q.Nonce, Request: events.HashOf(body), JWKS: jwks(w.auth.keys...), Now: w.clock.Now().UnixMicro()}))
	case events.ResolveSubject("cars"):
		reply = signed(events.KindResolve, w.auth.resolve(body))
	default:
		return nil, errNothing
	}
	if happens := b.m.meanwhile; happens != nil {
		b.m.meanwhile = nil
		happens()
	}
	return reply, nil
}

func signed(kind events.Kind, body []byte) *nats.Msg {
	return message(feed.Message{Body: body, Key: signer.KeyID(), Signature: signer.Sign(kind, body)})
}

func (w *world) page(body []byte) *nats.Msg {
	q, err := events.DecodeSnapshotRequest(body)
	if err != nil {
		panic(err)
	}
	if n := w.again; n > 0 {
		w.again = 0
		return message(w.given[n-1])
	}
	page := w.pages.Page
	if q.Compact > 0 && !w.noCompact {
		page = w.pages.Compact
	}
	m, err := page(context.Background(), q.Epoch, q.From)
	w.given = append(w.given, m)
	if err != nil {
		w.given = w.given[:len(w.given)-1]
		return &nats.Msg{Header: nats.Header{events.HeaderError: {events.ErrorGone}}}
	}
	return message(m)
}

// directGet gives a batch of the stream as one of its replicas has it.
func (w *world) directGet(body []byte) []*nats.Msg {
	var q struct {
		Seq uint64 `json:"seq"`
	}
	if err := json.Unmarshal(body, &q); err != nil {
		panic(err)
	}
	const most = 3
	kept := w.bus.Stream[:max(0, len(w.bus.Stream)-w.lag)]
	first := int(max(q.Seq, 1)) - 1
	if first >= len(kept) {
		return []*nats.Msg{{Header: nats.Header{"Status": {"404"}}}}
	}
	end := min(first+most, len(kept))
	var batch []*nats.Msg
	for i, one := range kept[first:end] {
		m := message(one)
		m.Header.Set("Nats-Sequence", strconv.Itoa(first+i+1))
		batch = append(batch, m)
	}
	eob := &nats.Msg{Header: nats.Header{"Status": {"204"}, "Nats-Num-Pending": {strconv.Itoa(len(kept) - end)}}}
	return append(batch, eob)
}

// violation is a broken promise.
type violation struct{ promise, text string }

func (v *violation) Error() string { return v.promise + ": " + v.text }

// call asks the verifier about a credential on a route, and compares what it says with the truth.
func (m *machine) call(c *credential, b time.Duration) (accepted bool, broken error) {
	p, err := m.Verifier.Verify(context.Background(), c.raw, m.routes[b])
	if err != nil {
		if errors.Is(err, verifier.ErrRevoked) && c.killed(m.w.elapsed) && !c.wavers() {
			m.denied[c] = true
		}
		return false, nil
	}
	return true, m.judge(c, b, p.Roles)
}

// judge is the oracle: it knows when calls returned and what time it is, and nothing of how the verifier works.
func (m *machine) judge(c *credential, b time.Duration, roles []string) error {
	now := m.w.elapsed
	broken := func(promise, format string, args ...any) error {
		return &violation{promise, fmt.Sprintf("%s accepts %s: ", m.name, c.name) + fmt.Sprintf(format, args...)}
	}
	switch {
	case !m.answered:
		return broken("NotReadyUntilProven", "no dispatcher has answered it")
	case c.murky():
		return nil
	case c.deadThroughout(now-b, now):
		return broken("BoundedAcceptance", "dead for longer than %v", b)
	case m.denied[c]:
		return broken("Monotone", "it was refused as revoked before")
	case m.said.covers(m.w, c):
		return broken("TrueReceipts", "it said that it had applied %d", m.said.applied)
	}
	if least := c.user.leastRole(now - b); len(roles) != 1 || roleVersion(roles[0]) < least {
		return broken("BoundedAcceptance", "roles %v, when %s is older than %v", roles, roleName(least), b)
	}
	return nil
}

// covers reports whether a claim holds an event that has ended a credential. After the database was set back, two
// branches may share a number, and claims are about one of them.
func (s claim) covers(w *world, c *credential) bool {
	return !w.restored && slices.ContainsFunc(c.kills, func(f *fact) bool {
		if f.event == "" || f.at > w.elapsed || f.leapt {
			return false
		}
		row := w.journal.Row(f.event)
		return row.Seq > 0 && row.Epoch == s.epoch && row.Seq <= s.applied && row.Until > w.clock.Now().UnixMicro()
	})
}

// judge asks every verifier about every credential, on what it knows by itself.
func (w *world) judge() error {
	for _, m := range w.machines {
		m.offline = true
		for _, c := range w.auth.credentials {
			for _, b := range bounds {
				if _, err := m.call(c, b); err != nil {
					return err
				}
			}
		}
		m.offline = false
	}
	return nil
}
