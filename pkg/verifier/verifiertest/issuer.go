package verifiertest

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/pkg/verifier"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/clock"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/revset"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/seam"
)

// What every verifier of this package is configured with.
const (
	URL      = "https://auth.example.com" // iss
	Audience = "tocsin"
	Service  = "test" // also the realm of challenges
)

const kid = "verifiertest"

// began is when each issuer's clock begins: far from now, so that no test can rest on the machine's.
var began = time.Date(2040, 1, 2, 3, 4, 5, 0, time.UTC)

// Issuer is authsvc in memory: it issues credentials, and ends them. Make one for each test with [New].
type Issuer struct {
	// Verifier follows the issuer. It is fresh, until [Issuer.GoStale], and is closed with the test.
	Verifier *verifier.Verifier

	t     testing.TB
	key   ed25519.PrivateKey
	mode  events.Mode
	bound time.Duration
	look  func() // has the verifier look at long answers again

	recall func() // has it ask again about quotas
	clock  *clock.Fake
	link   *link

	mu      sync.Mutex // guards all below, and orders what is changed
	truth   *revset.Set
	heard   *revset.Set // what the verifier knows of it
	unheard []events.Event
	stale   bool
	away    bool
	seq     uint64
	version int64
	users   map[events.ID]*user
	keys    map[events.Hash]*key

	accounts map[accountKey]*account // that have a limit
}

// New returns an issuer, and the verifier that follows it, made with the options that the service uses. Those that concern the
// connection mean nothing here. A wrong option ends the test.
func New(t testing.TB, opts ...verifier.Option) *Issuer {
	t.Helper()
	if !testing.Testing() {
		panic("verifiertest: not in a test")
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatalf("verifiertest: %v", err)
	}
	i := &Issuer{
		t: t, key: private, clock: clock.NewFake(began), truth: revset.New(), heard: revset.New(),
		users: map[events.ID]*user{}, keys: map[events.Hash]*key{}, accounts: map[accountKey]*account{},
	}
	i.link = newLink(i, public)
	i.prove(i.clock.Now())
	fed, err := seam.NewFed(context.WithoutCancel(t.Context()), seam.FedConfig{
		Issuer: URL, Audience: Audience, Service: Service, Clock: i.clock, Set: i.heard, Link: i.link,
		Options: append([]verifier.Option{verifier.WithLogger(slog.New(slog.DiscardHandler))}, opts...),
	})
	if err != nil {
		t.Fatalf("verifiertest: %v", err)
	}
	i.Verifier, i.mode, i.bound, i.look = fed.Verifier.(*verifier.Verifier), fed.Mode, fed.Bound, fed.Look
	i.recall = fed.Recall
	t.Cleanup(func() { _ = i.Verifier.Close() }) // there is no connection whose end could fail
	return i
}

// Now returns the time of issuer and verifier.
func (i *Issuer) Now() time.Time { return time.Unix(0, i.clock.Now().Wall).UTC() }

// Advance lets time pass. Credentials expire in it; the verifier stays fresh all the while, unless it has gone stale, and then
// what it knows gets older.
func (i *Issuer) Advance(d time.Duration) {
	i.t.Helper()
	if d < 0 {
		i.t.Fatalf("verifiertest: advance by %v: time doesn't go back", d)
	}
	i.change(func() { i.pass(d) })
}

// GoStale ends what makes the verifier fresh, at once: its last proof is now just too old for its bound. From then on it hears
// of no revocation, routes do what their [verifier.StalePolicy] says, and elite routes are still decided, by the truth.
// [verifier.ServeStale] ends when time is advanced far enough.
func (i *Issuer) GoStale() {
	i.change(func() {
		if i.stale {
			return
		}
		i.stale = true
		since := i.clock.Now()
		since.Wall -= int64(i.bound) + 1
		since.Boot -= int64(i.bound) + 1
		i.prove(since)
	})
}

// Freshen ends [Issuer.GoStale]: the verifier hears of all that it has missed, and is fresh again.
func (i *Issuer) Freshen() {
	i.change(func() {
		i.stale = false
		for _, e := range i.unheard {
			i.heard.Apply(e, 0)
		}
		i.unheard = nil
		i.prove(i.clock.Now())
	})
}

// StopAuth makes the issuer give no more answers, as if no authsvc could be reached: elite routes, API keys that are used for the
// first time, and the policy [verifier.Ask] are refused with [verifier.ErrAuthUnavailable]. It goes on to tell of
// revocations.
func (i *Issuer) StopAuth() { i.change(func() { i.away = true }) }

// StartAuth ends [Issuer.StopAuth].
func (i *Issuer) StartAuth() { i.change(func() { i.away = false }) }

// change does something to the world, and returns when long answers have felt it.
func (i *Issuer) change(what func()) {
	func() {
		i.mu.Lock()
		defer i.mu.Unlock()
		what()
	}()
	i.look() // without the lock: what it ends may ask the issuer
}

// prove has the verifier accept a proof asked for at a moment. Callers hold mu, or are alone.
func (i *Issuer) prove(since clock.Reading) { i.link.prove(since) }

// pass moves the clock. The proof comes first, so that nobody finds the verifier stale in between.
func (i *Issuer) pass(d time.Duration) {
	if !i.stale {
		then := i.clock.Now()
		then.Wall += int64(d)
		then.Boot += int64(d)
		i.prove(then)
	}
	i.clock.Advance(d)
}

// micros is the time in the unit of the feed.
func (i *Issuer) micros() int64 { return i.clock.Now().Micros() }

// nextVersion returns a version of a user or a key, as authsvc makes them. Callers hold mu.
func (i *Issuer) nextVersion() int64 {
	i.version = max(i.version+1, i.micros())
	return i.version
}
