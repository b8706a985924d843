package verifier

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/pkg/events/apikey"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/link"
)

func TestKeyIsResolvedOnceAndGivesItsPrincipal(t *testing.T) {
	r, a, key := newRig(t), newAuth(), newKey(ModeLive)
	end := began.Add(time.Hour).UnixMicro()
	a.key.NotAfter = &end
	r.serve(a)
	p := r.want("", key)
	want := &Principal{
		Subject: alice, Roles: []string{"user", "editor"}, Method: MethodAPIKey, Mode: ModeLive, Plan: "free", KeyID: aliceKey,
		Expires: began.Add(time.Hour),
	}
	if diff := cmp.Diff(want, p, cmpopts.IgnoreUnexported(Principal{})); diff != "" {
		t.Error(diff)
	}
	r.unserve()
	r.want("", key)
	if n := r.link.requests(events.KindResolve); n != 1 {
		t.Errorf("%d questions", n)
	}
}

func TestKeyRefusals(t *testing.T) {
	past, soon := began.UnixMicro(), began.UnixMicro()+1
	for name, tc := range map[string]struct {
		auth  func(*auth)
		world func(*rig)
		opts  []RouteOption
		want  Code
	}{
		"good":                          {},
		"with the role":                 {opts: []RouteOption{Role("editor")}},
		"unknown":                       {auth: func(a *auth) { a.found = false }, want: CodeUnknownKey},
		"test key":                      {auth: func(a *auth) { a.key.Mode = ModeTest }, want: CodeWrongMode},
		"suspended":                     {auth: func(a *auth) { a.key.Suspended = true }, want: CodeRevoked},
		"user disabled":                 {auth: func(a *auth) { a.user.Disabled = true }, want: CodeRevoked},
		"expired":                       {auth: func(a *auth) { a.key.NotAfter = &past }, want: CodeExpired},
		"about to expire":               {auth: func(a *auth) { a.key.NotAfter = &soon }},
		"role missing":                  {opts: []RouteOption{Role("admin")}, want: CodeForbidden},
		"role narrowed away":            {auth: func(a *auth) { a.key.Scopes = []string{"user"} }, opts: []RouteOption{Role("editor")}, want: CodeForbidden},
		"scope beyond the user's":       {auth: func(a *auth) { a.key.Scopes = []string{"admin"} }, opts: []RouteOption{Role("admin")}, want: CodeForbidden},
		"suspended by the feed":         {world: revoked(suspend(aliceKey, true, 101)), want: CodeRevoked},
		"suspended and resumed since":   {world: revoked(suspend(aliceKey, true, 99))},
		"resumed by the feed":           {auth: func(a *auth) { a.key.Suspended = true }, world: revoked(suspend(aliceKey, false, 101))},
		"deleted by the feed":           {world: revoked(events.APIKeyRotated{KeyID: aliceKey, NotAfter: &past}), want: CodeRevoked},
		"user's keys revoked":           {world: revoked(events.TokenRevoked{UserID: alice, TV: 101, Keys: true}), want: CodeRevoked},
		"user's tokens revoked":         {world: revoked(events.TokenRevoked{UserID: alice, TV: 101})},
		"all earlier keys revoked":      {world: revoked(events.TokenRevoked{Before: began.UnixMilli(), Keys: true}), want: CodeRevoked},
		"user disabled by the feed":     {world: revoked(events.RoleChanged{UserID: alice, RV: 101, Disabled: true}), want: CodeRevoked},
		"user enabled by the feed":      {auth: func(a *auth) { a.user.Disabled = true }, world: revoked(events.RoleChanged{UserID: alice, RV: 101, Roles: []string{"user"}})},
		"role given by the feed":        {world: revoked(events.RoleChanged{UserID: alice, RV: 101, Roles: []string{"admin"}}), opts: []RouteOption{Role("admin")}},
		"role taken by the feed":        {world: revoked(events.RoleChanged{UserID: alice, RV: 101}), opts: []RouteOption{Role("user")}, want: CodeForbidden},
		"role changed before resolving": {world: revoked(events.RoleChanged{UserID: alice, RV: 99}), opts: []RouteOption{Role("user")}},
		"stale":                         {world: func(r *rig) { r.clock.Advance(time.Minute) }, want: CodeStale},
	} {
		t.Run(name, func(t *testing.T) {
			for _, seenBefore := range []bool{false, true} {
				r, a, key := newRig(t), newAuth(), newKey(ModeLive)
				if tc.auth != nil {
					tc.auth(a)
				}
				r.serve(a)
				if seenBefore {
					_, _ = r.verify(key)
				}
				if tc.world != nil {
					tc.world(r)
				}
				r.want(tc.want, key, tc.opts...)
			}
		})
	}
}

func TestKeysThatCannotBeAreNeverAskedAbout(t *testing.T) {
	r := newRig(t)
	r.serve(newAuth())
	good := apikey.New(ModeLive)
	for name, raw := range map[string]string{
		"empty": "", "cut": good[:len(good)-1], "longer": good + "0", "swapped prefix": "tcs_test_" + good[9:],
		"changed case": good[:12] + swapCase(good[12:]), "spaces": strings.Repeat(" ", len(good)), "a token": mint(nil),
	} {
		t.Run(name, func(t *testing.T) {
			r.want(CodeMalformed, APIKey(raw))
			r.want(CodeMalformed, APIKey(raw), Elite())
		})
	}
	if len(r.link.asked) != 0 {
		t.Errorf("asked %v", r.link.asked)
	}
}

func swapCase(s string) string {
	return strings.Map(func(c rune) rune {
		if 'a' <= c && c <= 'z' {
			return c - 32
		}
		if 'A' <= c && c <= 'Z' {
			return c + 32
		}
		return c
	}, s)
}

func TestUnknownKeyIsRememberedBriefly(t *testing.T) {
	r, a, key := newRig(t), newAuth(), newKey(ModeLive)
	a.found = false
	r.serve(a)
	for range 3 {
		r.want(CodeUnknownKey, key)
	}
	r.want(CodeUnknownKey, key, Elite())
	if n := len(r.link.asked); n != 1 {
		t.Errorf("%d questions", n)
	}
	a.found = true
	r.clock.Advance(unknownLife)
	r.prove()
	r.want("", key)
}

func TestFloodOfUnknownKeysLeavesKnownOnes(t *testing.T) {
	r, a, key := newRig(t, WithKeyCacheSize(1)), newAuth(), newKey(ModeLive)
	r.serve(a)
	r.want("", key)
	a.found = false
	for range 200 {
		r.want(CodeUnknownKey, newKey(ModeLive))
	}
	r.unserve()
	r.want("", key)
	if r.unknown.Len() > r.unknown.Slots() {
		t.Error("unknown keys are not bounded")
	}
}

func TestAnswersThatAreNotToTheQuestionCountAsNone(t *testing.T) {
	for name, forge := range map[string]func(nonce string, request events.Hash) string{
		"other nonce":   func(_ string, h events.Hash) string { return answerText(events.NewNonce(), h) },
		"other request": func(n string, _ events.Hash) string { return answerText(n, events.HashOf(nil)) },
		"no JSON":       func(string, events.Hash) string { return "yes" },
		"no user": func(n string, h events.Hash) string {
			return `{"nonce":"` + n + `","request":"` + h.String() + `","found":true}`
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.link.answer = func(_ context.Context, _ events.Kind, body []byte) ([]byte, error) {
				q, err := events.DecodeResolveRequest(body)
				return []byte(forge(q.Nonce, events.HashOf(body))), err
			}
			r.want(CodeAuthUnavailable, newKey(ModeLive))
			r.want(CodeAuthUnavailable, newKey(ModeLive), Elite())
		})
	}
}

func answerText(nonce string, request events.Hash) string {
	return `{"nonce":"` + nonce + `","request":"` + request.String() + `","found":true,"active":true,"now":1,` +
		`"user":{"id":"` + alice + `","roles":["user"],"rv":1},"key":{"id":"` + aliceKey + `","mode":"live"}}`
}

func TestSameKeyAtOnceIsOneQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, a, key := newRig(t), newAuth(), newKey(ModeLive)
		held := make(chan struct{})
		a.before = func() { <-held }
		r.serve(a)
		var callers sync.WaitGroup
		for range 20 {
			callers.Go(func() { r.want("", key) })
		}
		synctest.Wait()
		close(held)
		callers.Wait()
		if n := r.link.requests(events.KindResolve); n != 1 {
			t.Errorf("%d questions", n)
		}
		_ = r.Close()
	})
}

func TestResolveWaitsNoLongerThanItsTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.link.answer = func(ctx context.Context, _ events.Kind, _ []byte) ([]byte, error) {
			<-ctx.Done()
			return nil, link.ErrUnavailable
		}
		start := time.Now()
		r.want(CodeAuthUnavailable, newKey(ModeLive))
		if waited := time.Since(start); waited != time.Second {
			t.Errorf("waited %v", waited)
		}
		start = time.Now()
		r.want(CodeAuthUnavailable, newKey(ModeLive), Elite())
		if waited := time.Since(start); waited != time.Second {
			t.Errorf("elite: waited %v", waited)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		if _, err := r.Verify(ctx, newKey(ModeLive), nil); !errors.Is(err, ErrAuthUnavailable) {
			t.Error(err)
		}
		_ = r.Close()
	})
}

func TestKeyRevokedWhileItIsResolvedIsDead(t *testing.T) {
	r, a, key := newRig(t), newAuth(), newKey(ModeLive)
	a.before = func() { r.apply(events.TokenRevoked{UserID: alice, TV: 101, Keys: true}) }
	r.serve(a)
	r.want(CodeRevoked, key)
	r.want(CodeRevoked, key)
}

func TestFeedThatLeapsVoidsResolutions(t *testing.T) {
	r, a, key := newRig(t), newAuth(), newKey(ModeLive)
	r.serve(a)
	r.want("", key)
	r.forgetKeys()
	a.found = false
	r.want(CodeUnknownKey, key)
}

func TestFeedThatLeapsDuringAResolutionVoidsIt(t *testing.T) {
	r, a, key := newRig(t), newAuth(), newKey(ModeLive)
	leaps := 1
	a.before = func() {
		if leaps > 0 {
			leaps--
			r.forgetKeys()
		}
	}
	r.serve(a)
	r.want("", key)
	if n := r.link.requests(events.KindResolve); n != 2 {
		t.Errorf("%d questions, want a second one after the leap", n)
	}
	leaps = 2
	r.forgetKeys()
	r.want(CodeAuthUnavailable, key)
}

func TestResolutionLivesHalfTheRetentionByEitherClock(t *testing.T) {
	for name, age := range map[string]func(*rig){
		"both clocks": func(r *rig) { r.clock.Advance(keyLife) },
		"wall clock":  func(r *rig) { r.clock.Move(keyLife, 0) },
		"boot clock":  func(r *rig) { r.clock.Move(-time.Hour, keyLife) },
	} {
		t.Run(name, func(t *testing.T) {
			r, key := newRig(t), newKey(ModeLive)
			r.serve(newAuth())
			r.want("", key)
			age(r)
			r.prove()
			r.unserve()
			r.want(CodeAuthUnavailable, key)
		})
	}
	if 2*keyLife > events.KeyRetention || renewAfter+events.MaxBound > keyLife || dropAfter+events.MaxBound > keyLife {
		t.Error("the lives of resolutions don't fit the retention and the largest bound")
	}
}

func TestKeysInUseAreRenewedBeforeTheyAreNeeded(t *testing.T) {
	r, a, key := newRig(t), newAuth(), newKey(ModeLive)
	r.serve(a)
	r.want("", key)
	r.want("", key) // used again: it will be wanted
	r.clock.Advance(renewAfter - 1)
	r.tendKeys(t.Context())
	if n := r.link.requests(events.KindResolve); n != 1 {
		t.Fatalf("renewed early: %d questions", n)
	}
	r.clock.Advance(1)
	a.user.Plan = "pro"
	r.tendKeys(t.Context())
	r.unserve()
	r.clock.Advance(keyLife - 1)
	r.prove()
	if p := r.want("", key); p != nil && p.Plan != "pro" {
		t.Error("not what was resolved last")
	}
}

func TestRenewalThatFailsLeavesTheKeyUntilItsEnd(t *testing.T) {
	r, key := newRig(t), newKey(ModeLive)
	r.serve(newAuth())
	r.want("", key)
	r.want("", key)
	r.unserve()
	r.clock.Advance(keyLife - time.Second)
	r.prove()
	r.tendKeys(t.Context())
	r.want("", key)
}

// One key whose resolution fails every time must not keep the others from being renewed, whichever comes first.
func TestRenewalThatFailsForOneKeyDoesNotEndTheRound(t *testing.T) {
	const all = 8
	for n := range all {
		r, a := newRig(t), newAuth()
		r.serve(a)
		var keys []Credential
		for range all {
			key := newKey(ModeLive)
			keys = append(keys, key)
			r.want("", key)
			r.want("", key)
		}
		bad := events.HashOf([]byte(keys[n].value))
		r.link.mu.Lock()
		answer := r.link.answer
		r.link.answer = func(ctx context.Context, kind events.Kind, body []byte) ([]byte, error) {
			if q, err := events.DecodeResolveRequest(body); err != nil || q.KeyHash == bad {
				return nil, link.ErrUnavailable
			}
			return answer(ctx, kind, body)
		}
		r.link.mu.Unlock()
		r.clock.Advance(renewAfter)
		r.tendKeys(t.Context())
		if got := r.link.requests(events.KindResolve) - all; got != all {
			t.Fatalf("%d of %d keys were asked for", got, all)
		}
	}
}

func TestARoundOfRenewalsEndsWhenAuthsvcIsAway(t *testing.T) {
	r := newRig(t)
	r.serve(newAuth())
	for range 3 * maxRenewFailures {
		key := newKey(ModeLive)
		r.want("", key)
		r.want("", key)
	}
	r.unserve()
	r.clock.Advance(renewAfter)
	for range 3 {
		before := r.link.requests(events.KindResolve)
		r.tendKeys(t.Context())
		if n := r.link.requests(events.KindResolve) - before; n != maxRenewFailures {
			t.Fatalf("%d questions to nobody", n)
		}
	}
	for _, h := range r.keys.All() {
		if n := h.failures.Load(); n != 1 {
			t.Errorf("a key was tried %d times while others waited", n)
		}
	}
}

func TestKeyThatIsGoneAtRenewalIsForgotten(t *testing.T) {
	r, a, key := newRig(t), newAuth(), newKey(ModeLive)
	r.serve(a)
	r.want("", key)
	r.want("", key)
	a.found = false
	r.clock.Advance(renewAfter)
	r.prove()
	r.tendKeys(t.Context())
	r.want(CodeUnknownKey, key)
}

func TestUnusedKeysLeaveTheCache(t *testing.T) {
	r := newRig(t)
	r.serve(newAuth())
	r.want("", newKey(ModeLive))
	r.clock.Advance(dropAfter)
	r.tendKeys(t.Context())
	if n := r.keys.Len(); n != 0 {
		t.Errorf("%d keys left", n)
	}
	if n := r.link.requests(events.KindResolve); n != 1 {
		t.Errorf("%d questions", n)
	}
}

func TestScopesNarrowWhatTheFeedGives(t *testing.T) {
	r, a, key := newRig(t), newAuth(), newKey(ModeLive)
	a.key.Scopes = []string{"editor", "admin"}
	r.serve(a)
	if p := r.want("", key); !slices.Equal(p.Roles, []string{"editor"}) {
		t.Errorf("roles %v", p.Roles)
	}
	r.apply(events.RoleChanged{UserID: alice, RV: 101, Roles: []string{"user", "admin"}})
	if p := r.want("", key); !slices.Equal(p.Roles, []string{"admin"}) {
		t.Errorf("roles %v", p.Roles)
	}
}

func TestClosedVerifierResolvesNothing(t *testing.T) {
	r := newRig(t)
	r.serve(newAuth())
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	r.want(CodeAuthUnavailable, newKey(ModeLive))
}

func FuzzAPIKey(f *testing.F) {
	f.Add(apikey.New(ModeLive))
	f.Add("tcs_live_")
	r := newRig(f)
	a := newAuth()
	a.found = false
	r.serve(a)
	f.Fuzz(func(t *testing.T, raw string) {
		p, err := r.Verify(t.Context(), APIKey(raw), nil)
		_, shape := apikey.Parse(raw)
		if p != nil || (shape == nil) != errors.Is(err, ErrUnknownKey) || (shape != nil) != errors.Is(err, ErrMalformed) {
			t.Errorf("%q: %v, %v", raw, p, err)
		}
	})
}
