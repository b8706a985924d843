package verifier

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/pkg/events/apikey"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/clock"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/follower"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/revset"
)

// leaps is an issuer and a verifier whose clocks are set, and nothing else goes wrong but that the verifier is cut off
// or restarted. Here the verifier is the real follower, set and judgement without the link; package model has it whole.
type leaps struct {
	t   failer
	ttl time.Duration // of access tokens

	// The issuer. right is the right time.
	right    time.Time
	wrong    time.Duration // by how much the database's clock is
	greatest int64         // time that it ever showed
	ceiling  int64         // greatest exp ever issued
	epoch    string
	log      [][]byte
	chains   []events.Hash // by seq, from 0
	untils   []int64       // by seq, from 1
	floor    uint64
	issued   []*issuedHere
	byHash   map[events.Hash]*issuedHere

	// The verifier.
	*Verifier
	own      *clock.Fake
	ownWrong time.Duration
	link     *fakeLink
	follower *follower.Follower
	route    *Route
	known    int // issued revocations that the last proof covers
}

// failer is what tests and drawn schedules have in common.
type failer interface {
	Fatal(...any)
	Fatalf(string, ...any)
}

// issuedHere is a token or an API key.
type issuedHere struct {
	raw     Credential
	id      events.ID
	isKey   bool
	expires int64 // of a token, with leeway
	revoked int   // the how manyth revocation ended it; 0: none
}

func newLeaps(t failer, ttl, wrong time.Duration) *leaps {
	w := &leaps{t: t, ttl: ttl, right: began, floor: 1, epoch: events.ID{5: 1, 6: 0x70, 8: 0x80}.String(), own: clock.NewFake(began), byHash: map[events.Hash]*issuedHere{}}
	w.chains = []events.Hash{events.ChainStart(testIssuer, w.epoch)}
	w.setDatabase(wrong)
	w.start()
	w.exchange()
	return w
}

// start starts the verifier's process. It has no goroutines.
func (w *leaps) start() {
	cfg := Config{Issuer: testIssuer, Audience: testAudience, Service: "cars", NATSURL: "nats://127.0.0.1:4222"}
	s, err := newSettings(cfg, []Option{WithLogger(slog.New(slog.DiscardHandler))})
	if err != nil {
		w.t.Fatal(err)
	}
	set := revset.New()
	w.link, w.known = &fakeLink{answer: w.resolve}, 0
	w.link.keys.Store(keySet("k1"))
	w.Verifier = newVerifier(context.Background(), s, w.own, set)
	w.Verifier.link = w.link
	keys := w.link.Keys().Hash
	w.follower = follower.New(follower.Config{
		Instance: "test", StartNonce: events.NewNonce(), Bound: s.bound, KeySetHash: func() events.Hash { return keys }, Skipped: w.forgetKeys,
		Apply: func(all []events.Event) []uint64 {
			return set.ApplyAll(all, func() int64 { return w.link.Fresh().KeysUntil(w.own.Now()) })
		},
	})
	w.route = &w.base
}

// now is the database's time.
func (w *leaps) now() int64 { return w.right.Add(w.wrong).UnixMicro() }

func (w *leaps) setDatabase(wrong time.Duration) {
	w.wrong = wrong
	w.greatest = max(w.greatest, w.now())
}

func (w *leaps) setOwn(wrong time.Duration) {
	w.own.Move(wrong-w.ownWrong, 0)
	w.ownWrong = wrong
}

func (w *leaps) pass(d time.Duration) {
	w.right = w.right.Add(d)
	w.own.Advance(d)
	w.setDatabase(w.wrong)
}

func (w *leaps) newID() events.ID {
	ms, n := w.now()/1000, len(w.issued)
	return events.ID{byte(ms >> 40), byte(ms >> 32), byte(ms >> 24), byte(ms >> 16), byte(ms >> 8), byte(ms), 6: 0x70, 8: 0x80, 14: byte(n >> 8), 15: byte(n)}
}

func (w *leaps) issueToken() *issuedHere {
	exp := (w.now() + w.ttl.Microseconds()) / 1e6
	w.ceiling = max(w.ceiling, exp*1e6)
	c := &issuedHere{id: w.newID(), expires: exp*1e6 + leeway.Microseconds()}
	c.raw = Bearer(mint(claims{"jti": c.id.String(), "iat": w.now() / 1e6, "exp": exp}))
	w.issued = append(w.issued, c)
	return c
}

func (w *leaps) issueKey() *issuedHere {
	raw := apikey.New(events.ModeLive)
	c := &issuedHere{id: w.newID(), isKey: true, raw: APIKey(raw)}
	w.issued, w.byHash[events.HashOf([]byte(raw))] = append(w.issued, c), c
	return c
}

// until is what store.Until says.
func (w *leaps) until() int64 {
	return max(w.ceiling, w.now()+w.ttl.Microseconds()) + (events.KeyRetention + time.Minute).Microseconds()
}

func (w *leaps) revoke(c *issuedHere) {
	now, until := w.now(), w.until()
	var p events.Payload = events.TokenRevoked{JTI: c.id.String()}
	if c.isKey {
		p = events.APIKeyRotated{KeyID: c.id.String(), NotAfter: &now}
	}
	payload, err := events.EncodePayload(p)
	if err != nil {
		w.t.Fatal(err)
	}
	raw, err := events.EncodeEvent(w.head()+1, p.Type(), now, until, payload)
	if err != nil {
		w.t.Fatal(err)
	}
	w.log, w.untils = append(w.log, raw), append(w.untils, until)
	w.chains = append(w.chains, w.chains[len(w.chains)-1].Next(raw))
	c.revoked = len(w.log)
}

func (w *leaps) head() uint64 { return uint64(len(w.log)) }

// hear brings the verifier every event from a seq on.
func (w *leaps) hear(from uint64) {
	for seq := from; seq <= w.head(); seq++ {
		body, err := events.EncodeBatch(w.epoch, seq, w.chains[seq-1], w.floor, false, w.log[seq-1:seq])
		if err != nil {
			w.t.Fatal(err)
		}
		b, err := events.DecodeBatch(body)
		if err != nil {
			w.t.Fatal(err)
		}
		w.follower.Batch(b, w.own.Now())
	}
}

// exchange is a question, its answer, and what the answer needs. The floor passes over what has lapsed, and never falls.
func (w *leaps) exchange() {
	body := w.follower.Ask(w.own.Now())
	for w.floor <= w.head() && w.untils[w.floor-1] <= w.now() {
		w.floor++
	}
	q, err := events.DecodeProofRequest(body)
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err = w.follower.Answer(events.ProofAnswer{
		Nonce: q.Nonce, Request: events.HashOf(body), Epoch: w.epoch, Term: 1, Floor: w.floor, Head: w.head(),
		Chain: w.chains[w.head()], Keys: w.link.Keys().Hash, Now: w.now(),
	}, w.own.Now()); err != nil {
		w.t.Fatal(err)
	}
	w.hear(max(w.floor, min(q.Applied+1, w.head()+1)))
	w.link.proof.Store(w.follower.Fresh())
	w.known = len(w.log)
	if !w.fresh(w.route) {
		w.t.Fatalf("not fresh: %+v", w.follower.Stats())
	}
}

func (w *leaps) resolve(_ context.Context, _ events.Kind, body []byte) ([]byte, error) {
	q, err := events.DecodeResolveRequest(body)
	if err != nil {
		return nil, err
	}
	a := newAuth()
	if c := w.byHash[q.KeyHash]; c != nil {
		a.found, a.key.ID = c.revoked == 0, c.id.String()
	}
	answer := events.ResolveAnswer{Nonce: q.Nonce, Request: events.HashOf(body), Found: a.found, Now: w.now()}
	if a.found {
		answer.User, answer.Key = &a.user, &a.key
	}
	return json.Marshal(answer)
}

func (w *leaps) use(c *issuedHere) { _, _ = w.Verify(context.Background(), c.raw, w.route) }

func (w *leaps) forget() {
	if fresh := w.link.Fresh(); fresh != nil {
		w.set.Forget(fresh.Past(w.own.Now()), fresh.Now)
	}
}

// forgetWhileOwnIs is a wall clock that is wrong for a moment, in which no credential is judged.
func (w *leaps) forgetWhileOwnIs(wrong time.Duration) {
	before := w.ownWrong
	w.setOwn(wrong)
	w.forget()
	w.setOwn(before)
}

// judged is the oracle at any time: what was revoked before the last proof isn't accepted.
func (w *leaps) judged() error {
	for i, c := range w.issued {
		if c.revoked == 0 || c.revoked > w.known {
			continue
		}
		if _, err := w.Verify(context.Background(), c.raw, w.route); err == nil {
			return fmt.Errorf("credential %d is accepted, which revocation %d has ended: %+v", i, c.revoked, *c)
		}
	}
	return nil
}

// exact is the oracle of a moment in which all is known: accepted is what wasn't revoked and hasn't expired by the later of
// own wall time and the database's, or, where that was set back by more than KeyRetention, by what it has shown less that.
func (w *leaps) exact() error {
	now := max(w.own.Now().Micros(), w.now())
	for i, c := range w.issued {
		_, err := w.Verify(context.Background(), c.raw, w.route)
		live := c.revoked == 0 && (c.isKey || now < c.expires)
		spared := live && !c.isKey && w.greatest-events.KeyRetention.Microseconds() >= c.expires
		if live != (err == nil) && !spared {
			return fmt.Errorf("credential %d: %v, while its clocks say %v: %+v", i, err, live, *c)
		}
	}
	return nil
}

// actions are what may happen, with the database's clock wrong by some times.
func (w *leaps) actions(wrong, passing []time.Duration) map[string]func(*rapid.T) {
	must := func(err error) {
		if err != nil {
			w.t.Fatal(err)
		}
	}
	pick := func(t *rapid.T) *issuedHere {
		if len(w.issued) == 0 {
			t.Skip("nothing issued")
		}
		return w.issued[max(0, len(w.issued)-1-rapid.IntRange(0, 5).Draw(t, "credential"))]
	}
	setDatabase := func(t *rapid.T) { w.setDatabase(rapid.SampledFrom(wrong).Draw(t, "wrong")) }
	revoke := func(t *rapid.T) {
		if c := pick(t); c.revoked == 0 {
			w.revoke(c)
		}
	}
	drawOwn := func(t *rapid.T) time.Duration {
		return rapid.SampledFrom([]time.Duration{0, 0, -time.Hour, -5 * time.Minute, 5 * time.Minute, time.Hour}).Draw(t, "wrong")
	}
	return map[string]func(*rapid.T){
		"token":    func(*rapid.T) { w.issueToken() },
		"key":      func(*rapid.T) { w.issueKey() },
		"use":      func(t *rapid.T) { w.use(pick(t)) },
		"revoke":   revoke,
		"hear":     func(*rapid.T) { w.hear(w.floor) },
		"time":     func(t *rapid.T) { w.pass(rapid.SampledFrom(passing).Draw(t, "time")) },
		"database": setDatabase,
		"revoke while the clock is wrong": func(t *rapid.T) {
			before := w.wrong
			setDatabase(t)
			revoke(t)
			w.hear(w.floor)
			w.setDatabase(before)
		},
		"own wall clock": func(t *rapid.T) { w.setOwn(drawOwn(t)) },
		"forget while the own wall clock is wrong": func(t *rapid.T) { w.forgetWhileOwnIs(drawOwn(t)) },
		"exchange": func(*rapid.T) { w.exchange(); must(w.exact()) },
		"forget":   func(*rapid.T) { w.forget() },
		"":         func(*rapid.T) { must(w.judged()) },
	}
}

var someTimes = []time.Duration{time.Second, 20 * time.Second, 2 * time.Minute, 2 * time.Minute, 14 * time.Minute, 20 * time.Minute}

func drawLeaps(t *rapid.T, wrong []time.Duration) (*leaps, map[string]func(*rapid.T)) {
	ttl := rapid.SampledFrom([]time.Duration{time.Minute, 15 * time.Minute, time.Hour}).Draw(t, "ttl")
	w := newLeaps(t, ttl, rapid.SampledFrom(wrong).Draw(t, "wrong"))
	return w, w.actions(wrong, someTimes)
}

// The database's clock is set within KeyRetention, and verifiers miss what they like and restart when they like.
func TestLeapsWithinKeyRetentionReviveNothingAndCostNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w, actions := drawLeaps(t, []time.Duration{0, 0, -29 * time.Minute, -10 * time.Minute, time.Minute})
		actions["restart"] = func(*rapid.T) { w.start() }
		t.Repeat(actions)
	})
}

// It leaps by hours: only who starts afterwards, or was cut off meanwhile, can't know better.
func TestGreaterLeapsReviveNothingForWhoSeesThem(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w, actions := drawLeaps(t, []time.Duration{0, 0, -3 * time.Hour, time.Hour, 5 * time.Hour})
		seen := actions["database"]
		actions["database"] = func(t *rapid.T) { w.exchange(); seen(t); w.exchange() }
		delete(actions, "revoke while the clock is wrong")
		t.Repeat(actions)
	})
}

// Each needs one part of the rule.
func TestLeapsOneByOne(t *testing.T) {
	for _, c := range []struct {
		name       string
		ttl, wrong time.Duration
		happens    func(*leaps)
	}{
		{"a running verifier takes new tokens when the clock is right again", 15 * time.Minute, 0, func(w *leaps) {
			w.setDatabase(29 * time.Minute)
			w.exchange()
			w.forget()
			w.setDatabase(0)
			w.issueToken()
		}},
		{"so does one that was started meanwhile", 15 * time.Minute, 29 * time.Minute, func(w *leaps) {
			w.forget()
			w.setDatabase(0)
			w.issueToken()
		}},
		{"who starts afterwards knows what was revoked before the leap", time.Hour, 0, func(w *leaps) {
			w.revoke(w.issueToken())
			w.pass(35 * time.Minute)
			w.setDatabase(29 * time.Minute)
			w.exchange()
			w.setDatabase(0)
			w.start()
		}},
		{"what was forgotten in a greater leap doesn't revive", 15 * time.Minute, 5 * time.Hour, func(w *leaps) {
			w.revoke(w.issueToken())
			w.exchange()
			w.pass(2 * time.Hour)
			w.exchange()
			w.forget()
			w.setDatabase(0)
		}},
		{"what was skipped in a greater leap doesn't revive", 15 * time.Minute, 5 * time.Hour, func(w *leaps) {
			w.revoke(w.issueToken())
			w.pass(2 * time.Hour)
			w.exchange()
			w.setDatabase(0)
		}},
		{"a key that was revoked by a clock set back stays dead", time.Minute, 0, func(w *leaps) {
			w.use(w.issueKey())
			w.setDatabase(-29 * time.Minute)
			w.revoke(w.issued[0])
			w.hear(1)
			w.setDatabase(0)
			w.pass(4 * time.Minute)
			w.exchange()
			w.forget()
		}},
		{"a leap doesn't outpace the resolution of a key", 15 * time.Minute, 0, func(w *leaps) {
			w.use(w.issueKey())
			w.revoke(w.issued[0])
			w.exchange()
			w.setDatabase(5 * time.Hour)
			w.exchange()
			w.forget()
		}},
		{"nor does an own wall clock that is ahead for a while", time.Minute, 0, func(w *leaps) {
			w.use(w.issueKey())
			w.revoke(w.issued[0])
			w.exchange()
			w.setDatabase(29 * time.Minute)
			w.pass(4 * time.Minute)
			w.exchange()
			w.forgetWhileOwnIs(time.Hour)
		}},
		{"nor do both, of hours, after the resolution was asked for by another wall time", time.Minute, 0, func(w *leaps) {
			w.setOwn(5 * time.Minute)
			w.exchange()
			w.use(w.issueKey())
			w.setOwn(-time.Hour)
			w.exchange()
			w.revoke(w.issued[0])
			w.exchange()
			w.setDatabase(5 * time.Hour)
			w.exchange()
			w.setOwn(0)
			w.forgetWhileOwnIs(time.Hour)
			w.setDatabase(time.Hour)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newLeaps(t, c.ttl, c.wrong)
			c.happens(w)
			w.exchange()
			if err := w.exact(); err != nil {
				t.Fatal(err)
			}
		})
	}
}
