package verifier

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"go.uber.org/goleak"

	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/pkg/events/apikey"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/clock"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/follower"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/link"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/revset"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	testIssuer   = "https://auth.example.com"
	testAudience = "tocsin"
	alice        = "01980000-0000-7000-8000-00000000a11c"
	bob          = "01980000-0000-7000-8000-000000000b0b"
	aliceSession = "01980000-0000-7000-8000-0000000005e5"
	aliceToken   = "01980000-0000-7000-8000-00000000070c"
	aliceKey     = "01980000-0000-7000-8000-000000000ce1"
)

var began = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

var tokenPublic, tokenPrivate, _ = ed25519.GenerateKey(rand.Reader)

// fakeLink is the link as a test wants it. Nothing happens unless the test says so.
type fakeLink struct {
	proof     atomic.Pointer[follower.Freshness]
	keys      atomic.Pointer[link.TokenKeys]
	refreshed atomic.Int64

	mu      sync.Mutex
	refresh func(context.Context) error
	answer  func(ctx context.Context, kind events.Kind, body []byte) ([]byte, error)
	asked   []events.Kind
	told    []events.Used
	deaf    bool // nothing can be told
	bounds  [][2]time.Duration
}

func (l *fakeLink) Fresh() *follower.Freshness { return l.proof.Load() }
func (l *fakeLink) Keys() *link.TokenKeys      { return l.keys.Load() }
func (l *fakeLink) Stats() link.Stats          { return link.Stats{} }
func (l *fakeLink) Close() error               { return nil }

func (l *fakeLink) RefreshKeys(ctx context.Context, _ string) error {
	l.refreshed.Add(1)
	l.mu.Lock()
	refresh := l.refresh
	l.mu.Unlock()
	if refresh == nil {
		return nil
	}
	return refresh(ctx)
}

func (l *fakeLink) Request(ctx context.Context, kind events.Kind, subject string, body []byte) ([]byte, error) {
	l.mu.Lock()
	l.asked = append(l.asked, kind)
	answer := l.answer
	l.mu.Unlock()
	if subject != "tocsin.v1."+string(kind)+".cars" || answer == nil {
		return nil, link.ErrUnavailable
	}
	return answer(ctx, kind, body)
}

func (l *fakeLink) Tell(subject string, body []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	used, err := events.DecodeUsed(body)
	if subject != "tocsin.v1.used.cars" || err != nil || l.deaf {
		return link.ErrUnavailable
	}
	l.told = append(l.told, used)
	return nil
}

func (l *fakeLink) SetBounds(smallest, largest time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.bounds = append(l.bounds, [2]time.Duration{smallest, largest})
}

func (l *fakeLink) Ready(bound time.Duration) error {
	if l.proof.Load() == nil {
		return errors.New("nothing proven")
	}
	return nil
}

// requests returns how many questions of a kind were asked.
func (l *fakeLink) requests(kind events.Kind) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, k := range l.asked {
		if k == kind {
			n++
		}
	}
	return n
}

// rig is a verifier whose world the test controls.
type rig struct {
	*Verifier

	t     testing.TB
	link  *fakeLink
	clock *clock.Fake
	set   *revset.Set
	seq   uint64
}

func newRig(t testing.TB, opts ...Option) *rig {
	t.Helper()
	cfg := Config{Issuer: testIssuer, Audience: testAudience, Service: "cars", NATSURL: "nats://127.0.0.1:4222"}
	s, err := newSettings(cfg, append([]Option{WithLogger(slog.New(slog.DiscardHandler))}, opts...))
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, link: &fakeLink{}, clock: clock.NewFake(began), set: revset.New()}
	r.Verifier = newVerifier(t.Context(), s, r.clock, r.set)
	r.link.keys.Store(keySet("k1"))
	r.run(r.link)
	t.Cleanup(func() { _ = r.Close() })
	r.prove()
	return r
}

func keySet(kids ...string) *link.TokenKeys {
	keys := &link.TokenKeys{ByKID: map[string]link.TokenKey{}, Hash: events.KeySetHash(kids)}
	for _, kid := range kids {
		keys.ByKID[kid] = link.TokenKey{Alg: "EdDSA", Key: tokenPublic}
	}
	return keys
}

// prove has the verifier accept a proof asked for at this moment.
func (r *rig) prove() {
	now := r.clock.Now()
	r.link.proof.Store(&follower.Freshness{Since: now, Now: now.Micros()})
}

// apply puts an event into the set, as the feed would.
func (r *rig) apply(p events.Payload) {
	r.seq++
	now := r.clock.Now().Micros()
	r.set.Apply(events.Event{Seq: r.seq, At: now, Until: now + time.Hour.Microseconds(), Payload: p}, 0)
}

// verify decides a credential and returns the refusal's code, or "".
func (r *rig) verify(c Credential, opts ...RouteOption) (*Principal, Code) {
	r.t.Helper()
	p, err := r.Verify(context.Background(), c, r.route(opts...))
	if err != nil && CodeOf(err) == "" {
		r.t.Errorf("an error that is no refusal: %v", err)
	}
	if (p == nil) != (err != nil) {
		r.t.Errorf("principal %v with error %v", p, err)
	}
	return p, CodeOf(err)
}

func (r *rig) route(opts ...RouteOption) *Route {
	r.t.Helper()
	route, err := r.Route(opts...)
	if err != nil {
		r.t.Fatal(err)
	}
	return route
}

func (r *rig) want(code Code, c Credential, opts ...RouteOption) *Principal {
	r.t.Helper()
	p, got := r.verify(c, opts...)
	if got != code {
		r.t.Errorf("got %q, want %q", got, code)
	}
	return p
}

type claims map[string]any

// mint signs a token of alice with some claims changed; a nil value removes a claim.
func mint(changes claims) string { return mintWith(nil, changes) }

func mintWith(header, changes claims) string {
	all := jwt.MapClaims{
		"iss": testIssuer, "aud": testAudience, "sub": alice, "jti": aliceToken, "sid": aliceSession, "client_id": "tocsin",
		"iat": began.Unix(), "exp": began.Add(15 * time.Minute).Unix(), "roles": []string{"user"}, "rv": 100, "tv": 100,
		"mode": "live", "auth_time": began.Unix(), "amr": []string{"pwd"},
	}
	t := jwt.NewWithClaims(jwt.SigningMethodEdDSA, all)
	t.Header["typ"], t.Header["kid"] = "at+jwt", "k1"
	maps.Copy(t.Header, header)
	for name, value := range changes {
		if all[name] = value; value == nil {
			delete(all, name)
		}
	}
	raw, err := t.SignedString(tokenPrivate)
	if err != nil {
		panic(err)
	}
	return raw
}

// auth is what the fake authsvc knows of one API key, and how it answers.
type auth struct {
	user events.UserInfo
	key  events.KeyInfo
	// active and reason are the answer to elite questions; found that to resolve.
	active bool
	reason events.Reason
	found  bool
	// ends is the end of what a token rests on; tokenKey has its key described, as a key's is.
	ends     *int64
	tokenKey bool
	// last is the last elite question; mu guards it where questions are asked at once.
	mu   sync.Mutex
	last events.CheckRequest
	// before, if set, runs before an answer is made.
	before func()
}

func newAuth() *auth {
	return &auth{
		user:   events.UserInfo{ID: alice, Roles: []string{"user", "editor"}, Plan: "free", RV: 100},
		key:    events.KeyInfo{ID: aliceKey, Mode: events.ModeLive, TV: 100, KV: 100},
		active: true, found: true,
	}
}

// serve connects the fake authsvc.
func (r *rig) serve(a *auth) {
	r.link.mu.Lock()
	defer r.link.mu.Unlock()
	r.link.answer = func(_ context.Context, kind events.Kind, body []byte) ([]byte, error) {
		if a.before != nil {
			a.before()
		}
		if kind == events.KindResolve {
			return a.resolve(body)
		}
		return a.check(r, body)
	}
}

func (a *auth) resolve(body []byte) ([]byte, error) {
	q, err := events.DecodeResolveRequest(body)
	if err != nil {
		return nil, err
	}
	answer := events.ResolveAnswer{Nonce: q.Nonce, Request: events.HashOf(body), Found: a.found, Now: 1}
	if a.found {
		answer.User, answer.Key = &a.user, &a.key
	}
	return json.Marshal(answer)
}

func (a *auth) check(r *rig, body []byte) ([]byte, error) {
	q, err := events.DecodeCheckRequest(body)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	a.last = q
	a.mu.Unlock()
	answer := events.CheckAnswer{
		Nonce: q.Nonce, Request: events.HashOf(body), Active: a.active, Reason: a.reason, Now: r.clock.Now().Micros(),
	}
	if a.active {
		answer.User = &a.user
		if q.KeyHash != nil || a.tokenKey {
			answer.Key = &a.key
		}
		if q.KeyHash == nil {
			answer.NotAfter = a.ends
		}
	}
	return json.Marshal(answer)
}

// unserve takes authsvc away.
func (r *rig) unserve() {
	r.link.mu.Lock()
	defer r.link.mu.Unlock()
	r.link.answer = nil
}

func newKey(mode events.Mode) Credential { return APIKey(apikey.New(mode)) }
