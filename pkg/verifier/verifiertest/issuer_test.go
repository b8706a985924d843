package verifiertest_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tocsin-auth/tocsin/pkg/verifier"
	"github.com/tocsin-auth/tocsin/pkg/verifier/verifiertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is an issuer and what tests ask of its verifier.
type world struct {
	*verifiertest.Issuer
	t *testing.T
}

func newWorld(t *testing.T, opts ...verifier.Option) world {
	return world{verifiertest.New(t, opts...), t}
}

// ask decides a caller on a route and fails the test unless the refusal has a code; "" is no refusal.
func (w world) ask(want verifier.Code, c verifiertest.Caller, opts ...verifier.RouteOption) *verifier.Principal {
	w.t.Helper()
	route, err := w.Verifier.Route(opts...)
	if err != nil {
		w.t.Fatal(err)
	}
	p, err := w.Verifier.Verify(context.Background(), c.Credential(), route)
	if got := verifier.CodeOf(err); got != want {
		w.t.Errorf("%s: %q (%v), want %q", c.Method, got, err, want)
	}
	return p
}

// both asks on an ordinary and on an elite route.
func (w world) both(want verifier.Code, c verifiertest.Caller) {
	w.t.Helper()
	w.ask(want, c)
	w.ask(want, c, verifier.Elite())
}

func TestHandlersSeeThePrincipalThatWasAskedFor(t *testing.T) {
	w := newWorld(t)
	key := w.Key(verifier.Principal{Roles: []string{"user", "editor", "admin"}, Scopes: []string{"editor"}, Plan: "pro"})
	for name, c := range map[string]verifiertest.Caller{
		"nothing asked": w.Token(verifier.Principal{}),
		"much asked": w.Token(verifier.Principal{
			Subject: verifiertest.UserID("alice"), Roles: []string{"admin"}, Plan: "pro", SessionID: verifiertest.UserID("a session"),
			Expires: w.Now().Add(time.Minute), AuthTime: w.Now().Add(-time.Hour), AuthMethods: []string{"pwd", "otp"}, ClientID: "tocsin",
		}),
		"an actor":   w.Token(verifier.Principal{Actor: verifiertest.UserID("worker")}),
		"a key":      key,
		"of a key":   w.Token(verifier.Principal{Subject: key.Subject, KeyID: key.KeyID, Roles: []string{"editor"}}),
		"a real one": w.Key(verifier.Principal{Expires: w.Now().Add(time.Hour)}),
	} {
		p := w.ask("", c)
		if p == nil {
			continue
		}
		got, want := fmt.Sprintf("%+v", *p), fmt.Sprintf("%+v", c.Principal)
		got, _, _ = strings.Cut(got, " claims:") // what it was signed with
		want, _, _ = strings.Cut(want, " claims:")
		if got != want {
			t.Errorf("%s:\n got %s\nwant %s", name, got, want)
		}
		w.ask("", c, verifier.Elite())
	}
}

func TestWhatIsRevokedIsRefusedWhenTheCallReturns(t *testing.T) {
	for name, end := range map[string]func(w world, token, key verifiertest.Caller){
		"credentials": func(w world, token, key verifiertest.Caller) { w.Revoke(token, key) },
		"user":        func(w world, token, key verifiertest.Caller) { w.RevokeUser(token.Subject) },
		"all":         func(w world, token, key verifiertest.Caller) { w.RevokeAll() },
		"disabled":    func(w world, token, key verifiertest.Caller) { w.Disable(token.Subject) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			token := w.Token(verifier.Principal{})
			key := w.Key(verifier.Principal{Subject: token.Subject})
			derived := w.Token(verifier.Principal{Subject: token.Subject, KeyID: key.KeyID})
			unused := w.Key(verifier.Principal{Subject: token.Subject})
			w.both("", token)
			w.both("", key)
			w.both("", derived)
			end(w, token, key)
			w.both(verifier.CodeRevoked, token)
			w.both(verifier.CodeRevoked, key)
			w.both(verifier.CodeRevoked, derived)
			if name != "credentials" {
				w.both(verifier.CodeRevoked, unused)
			}
			w.both("", w.Token(verifier.Principal{}))
			w.both("", w.Key(verifier.Principal{}))
		})
	}
}

func TestWhatWasIssuedAfterARevocationLives(t *testing.T) {
	w := newWorld(t)
	before := w.Token(verifier.Principal{})
	w.RevokeUser(before.Subject)
	w.both("", w.Token(verifier.Principal{Subject: before.Subject}))
	w.both("", w.Key(verifier.Principal{Subject: before.Subject}))
	w.RevokeAll()
	w.both("", w.Token(verifier.Principal{Subject: before.Subject}))
	w.both("", w.Key(verifier.Principal{Subject: before.Subject}))
}

func TestASessionEndsAlone(t *testing.T) {
	w := newWorld(t)
	one := w.Token(verifier.Principal{})
	same := w.Token(verifier.Principal{Subject: one.Subject, SessionID: one.SessionID})
	other := w.Token(verifier.Principal{Subject: one.Subject})
	w.RevokeSession(one.SessionID)
	w.both(verifier.CodeRevoked, one)
	w.both(verifier.CodeRevoked, same)
	w.both("", other)
}

func TestATokenDiesWithItsActor(t *testing.T) {
	w := newWorld(t)
	worker := w.Token(verifier.Principal{})
	acting := w.Token(verifier.Principal{Actor: worker.Subject})
	w.both("", acting)
	w.Disable(worker.Subject)
	w.both(verifier.CodeRevoked, acting)
}

func TestKeysOfADisabledUserComeBack(t *testing.T) {
	w := newWorld(t)
	token := w.Token(verifier.Principal{})
	key := w.Key(verifier.Principal{Subject: token.Subject})
	w.Disable(token.Subject)
	w.Enable(token.Subject)
	w.both(verifier.CodeRevoked, token)
	w.both("", key)
}

func TestRolesAndPlanChangeForCredentialsThatExist(t *testing.T) {
	w := newWorld(t)
	token := w.Token(verifier.Principal{})
	scoped := w.Key(verifier.Principal{Subject: token.Subject, Scopes: []string{"user"}})
	w.ask(verifier.CodeForbidden, token, verifier.Role("admin"))
	w.SetRoles(token.Subject, "user", "admin")
	w.SetPlan(token.Subject, "pro")
	for _, opts := range [][]verifier.RouteOption{nil, {verifier.Elite()}} {
		if p := w.ask("", token, opts...); !slices.Equal(p.Roles, []string{"user", "admin"}) || p.Plan != "pro" {
			t.Errorf("%+v", p)
		}
		w.ask(verifier.CodeForbidden, scoped, append(opts, verifier.Role("admin"))...)
	}
	w.SetRoles(token.Subject)
	w.ask(verifier.CodeForbidden, token, verifier.Role("user"))
}

func TestModesAreApart(t *testing.T) {
	live, test := newWorld(t), newWorld(t, verifier.WithAllowTest())
	for _, w := range []world{live, test} {
		w.both("", w.Token(verifier.Principal{}))
		w.both("", w.Key(verifier.Principal{}))
	}
	live.both(verifier.CodeWrongMode, live.Token(verifier.Principal{Mode: verifier.ModeTest}))
	test.both(verifier.CodeWrongMode, test.Key(verifier.Principal{Mode: verifier.ModeLive}))
}

func TestAnotherIssuersCredentialsAreUnknown(t *testing.T) {
	w, other := newWorld(t), newWorld(t)
	w.both(verifier.CodeInvalidToken, other.Token(verifier.Principal{}))
	w.both(verifier.CodeUnknownKey, other.Key(verifier.Principal{}))
}

func TestTimePassesOnlyWhenToldAndTheVerifierStaysFresh(t *testing.T) {
	w := newWorld(t)
	token, key := w.Token(verifier.Principal{}), w.Key(verifier.Principal{Expires: w.Now().Add(48 * time.Hour)})
	expired := w.Token(verifier.Principal{Expires: w.Now().Add(-time.Minute)})
	w.both(verifier.CodeExpired, expired)
	w.both("", token)
	w.both("", key)
	w.Advance(16 * time.Minute)
	w.both(verifier.CodeExpired, token)
	w.both("", key)
	w.Advance(48 * time.Hour)
	w.both(verifier.CodeExpired, key)
	if err := w.Verifier.Ready(); err != nil {
		t.Error(err)
	}
}

func TestAStaleVerifierHearsNothingAndElitePathsAreDecidedByTheTruth(t *testing.T) {
	w := newWorld(t)
	good, dead := w.Token(verifier.Principal{}), w.Token(verifier.Principal{})
	w.ask("", dead)
	w.GoStale()
	if w.Verifier.Ready() == nil || w.Verifier.Stats().State != "stale" {
		t.Error("ready")
	}
	w.Revoke(dead)
	serve, ask := verifier.OnStale(verifier.ServeStale(time.Hour)), verifier.OnStale(verifier.Ask)
	for _, c := range []verifiertest.Caller{good, dead} {
		w.ask(verifier.CodeStale, c)
		w.ask("", c, serve)
	}
	w.ask("", good, verifier.Elite())
	w.ask("", good, ask)
	w.ask(verifier.CodeRevoked, dead, verifier.Elite())
	w.ask(verifier.CodeRevoked, dead, ask)
	w.Freshen()
	w.both("", good)
	w.both(verifier.CodeRevoked, dead)
	w.ask(verifier.CodeRevoked, dead, serve)
}

func TestServingStaleHasItsEnd(t *testing.T) {
	w := newWorld(t)
	key := w.Key(verifier.Principal{})
	w.ask("", key)
	w.GoStale()
	serve := verifier.OnStale(verifier.ServeStale(time.Minute))
	w.ask("", key, serve)
	w.Advance(31 * time.Second) // the bound is 30 s
	w.ask(verifier.CodeStale, key, serve)
}

func TestWithoutAuthOnlyWhatMustAskIsRefused(t *testing.T) {
	w := newWorld(t)
	token, used, unused := w.Token(verifier.Principal{}), w.Key(verifier.Principal{}), w.Key(verifier.Principal{})
	w.ask("", used)
	w.StopAuth()
	w.ask("", token)
	w.ask("", used)
	w.ask(verifier.CodeAuthUnavailable, unused)
	w.ask(verifier.CodeAuthUnavailable, token, verifier.Elite())
	w.Revoke(token)
	w.ask(verifier.CodeRevoked, token)
	w.StartAuth()
	w.ask("", unused)
	w.ask("", used, verifier.Elite())
}

func TestLongAnswersHaveEndedWhenTheCallReturns(t *testing.T) {
	for name, end := range map[string]func(world, verifiertest.Caller){
		"revoked": func(w world, c verifiertest.Caller) { w.Revoke(c) },
		"stale":   func(w world, c verifiertest.Caller) { w.GoStale() },
		"expired": func(w world, c verifiertest.Caller) { w.Advance(time.Hour) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			c := w.Token(verifier.Principal{})
			for range 20 {
				ctx, release, err := w.Verifier.Live(t.Context(), c.Credential(), nil)
				if err != nil {
					t.Fatal(err)
				}
				defer release()
				defer func() {
					if got := verifier.CodeOf(context.Cause(ctx)); string(got) != name {
						t.Errorf("ended by %q", got)
					}
				}()
			}
			end(w, c)
		})
	}
}

func TestClaimsOfTheServicesOwn(t *testing.T) {
	w := newWorld(t)
	var tenant string
	p := w.ask("", w.TokenWith(verifier.Principal{}, map[string]any{"tenant": "acme"}))
	if err := p.Claim("tenant", &tenant); err != nil || tenant != "acme" {
		t.Error(tenant, err)
	}
}

func TestManyMayUseAnIssuerAtOnce(t *testing.T) {
	w := newWorld(t)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 20 {
				token, key := w.Token(verifier.Principal{}), w.Key(verifier.Principal{})
				w.both("", token)
				w.both("", key)
				w.Revoke(token)
				w.RevokeUser(key.Subject)
				w.both(verifier.CodeRevoked, token)
				w.both(verifier.CodeRevoked, key)
				w.Advance(100 * time.Millisecond) // less than the bound altogether: who stands still in a check meanwhile isn't stale
			}
		})
	}
	all.Wait()
}

func TestIdsOfNamesStay(t *testing.T) {
	if got := verifiertest.UserID("alice"); got != "020257cd-0888-70af-9a1f-c3328fa763a9" {
		t.Error(got)
	}
}

func TestWaitReadyReturnsWhenFreshAgain(t *testing.T) {
	w := newWorld(t)
	w.GoStale()
	done := make(chan error)
	go func() { done <- w.Verifier.WaitReady(t.Context()) }()
	w.Freshen()
	if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
