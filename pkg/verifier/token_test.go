package verifier

import (
	"context"
	"encoding/base64"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/clock"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/link"
)

func TestGoodTokenGivesItsPrincipal(t *testing.T) {
	r := newRig(t)
	p := r.want("", Bearer(mint(claims{"custom": map[string]int{"a": 1}})))
	want := &Principal{
		Subject: alice, Roles: []string{"user"}, Method: MethodBearer, Mode: ModeLive, SessionID: aliceSession, TokenID: aliceToken,
		ClientID: "tocsin", AuthTime: began, AuthMethods: []string{"pwd"}, Expires: began.Add(15 * time.Minute),
	}
	if diff := cmp.Diff(want, p, cmpopts.IgnoreUnexported(Principal{})); diff != "" {
		t.Error(diff)
	}
	var custom map[string]int
	if err := p.Claim("custom", &custom); err != nil || custom["a"] != 1 {
		t.Error(custom, err)
	}
	if err := p.Claim("other", &custom); !errors.Is(err, ErrNoClaim) {
		t.Error(err)
	}
}

func TestEveryTokenRefusal(t *testing.T) {
	good := mint(nil)
	other := base64.RawURLEncoding.EncodeToString(make([]byte, 64))
	for name, tc := range map[string]struct {
		raw   string
		world func(*rig)
		opts  []RouteOption
		want  Code
	}{
		"good":                       {raw: good},
		"with the role":              {raw: good, opts: []RouteOption{Role("user")}},
		"with one of the roles":      {raw: good, opts: []RouteOption{AnyRole("admin", "user")}},
		"empty":                      {raw: "", want: CodeMalformed},
		"no token":                   {raw: "hello", want: CodeMalformed},
		"longer than accepted":       {raw: strings.Repeat("a", 9000), want: CodeMalformed},
		"signature of something":     {raw: good[:strings.LastIndex(good, ".")+1] + other, want: CodeInvalidToken},
		"not an access token":        {raw: mintWith(claims{"typ": "JWT"}, nil), want: CodeInvalidToken},
		"critical header":            {raw: mintWith(claims{"crit": []string{"x"}}, nil), want: CodeInvalidToken},
		"unknown kid":                {raw: mintWith(claims{"kid": "k9"}, nil), want: CodeInvalidToken},
		"no kid":                     {raw: mintWith(claims{"kid": ""}, nil), want: CodeInvalidToken},
		"another issuer":             {raw: mint(claims{"iss": "https://auth.example.com/"}), want: CodeInvalidToken},
		"another audience":           {raw: mint(claims{"aud": "boats"}), want: CodeWrongAudience},
		"no jti":                     {raw: mint(claims{"jti": nil}), want: CodeInvalidToken},
		"not yet valid":              {raw: mint(claims{"nbf": began.Add(31 * time.Second).Unix()}), want: CodeInvalidToken},
		"issued by a clock ahead":    {raw: mint(claims{"iat": began.Add(20 * time.Minute).Unix(), "exp": began.Add(35 * time.Minute).Unix()})},
		"nbf within the leeway":      {raw: mint(claims{"nbf": began.Add(30 * time.Second).Unix()})},
		"expired within the leeway":  {raw: mint(claims{"exp": began.Add(-29 * time.Second).Unix()})},
		"expired":                    {raw: mint(claims{"exp": began.Add(-30 * time.Second).Unix()}), want: CodeExpired},
		"test token":                 {raw: mint(claims{"mode": "test"}), want: CodeWrongMode},
		"role missing":               {raw: good, opts: []RouteOption{Role("admin")}, want: CodeForbidden},
		"one of two roles":           {raw: good, opts: []RouteOption{Role("user"), Role("admin")}, want: CodeForbidden},
		"jti revoked":                {raw: good, world: revoked(events.TokenRevoked{JTI: aliceToken}), want: CodeRevoked},
		"session revoked":            {raw: good, world: revoked(events.TokenRevoked{SessionID: aliceSession}), want: CodeRevoked},
		"user version revoked":       {raw: good, world: revoked(events.TokenRevoked{UserID: alice, TV: 101}), want: CodeRevoked},
		"user version of the token":  {raw: good, world: revoked(events.TokenRevoked{UserID: alice, TV: 100})},
		"another user revoked":       {raw: good, world: revoked(events.TokenRevoked{UserID: bob, TV: 101})},
		"everything earlier revoked": {raw: good, world: revoked(events.TokenRevoked{Before: began.UnixMilli()}), want: CodeRevoked},
		"user disabled":              {raw: good, world: revoked(events.RoleChanged{UserID: alice, RV: 101, Disabled: true}), want: CodeRevoked},
		"user disabled long ago":     {raw: good, world: revoked(events.RoleChanged{UserID: alice, RV: 99, Disabled: true})},
		"parent's jti revoked":       {raw: derived(), world: revoked(events.TokenRevoked{JTI: parentToken}), want: CodeRevoked},
		"parent's user revoked":      {raw: derived(), world: revoked(events.TokenRevoked{UserID: bob, TV: 8}), want: CodeRevoked},
		"parent's user disabled":     {raw: derived(), world: revoked(events.RoleChanged{UserID: bob, RV: 1, Disabled: true}), want: CodeRevoked},
		"parent's key suspended":     {raw: derived(), world: revoked(suspend(aliceKey, true, 7)), want: CodeRevoked},
		"nothing about the parents":  {raw: derived()},
		"stale":                      {raw: good, world: func(r *rig) { r.clock.Advance(30*time.Second + 1) }, want: CodeStale},
		"fresh to the last":          {raw: good, world: func(r *rig) { r.clock.Advance(30 * time.Second) }},
		"stale for this route":       {raw: good, world: func(r *rig) { r.clock.Advance(2 * time.Second) }, opts: []RouteOption{MaxStaleness(time.Second)}, want: CodeStale},
		"stale by one clock":         {raw: good, world: func(r *rig) { r.clock.Move(-time.Hour, 31*time.Second) }, want: CodeStale},
		"nothing proven yet":         {raw: good, world: func(r *rig) { r.link.proof.Store(nil) }, want: CodeStale},
		"neither proof nor keys":     {raw: good, world: func(r *rig) { r.link.proof.Store(nil); r.link.keys.Store(keySet()) }, want: CodeStale},
		"key retired":                {raw: good, world: func(r *rig) { r.link.keys.Store(keySet("k2")) }, want: CodeInvalidToken},
	} {
		t.Run(name, func(t *testing.T) {
			for _, seenBefore := range []bool{false, true} {
				r := newRig(t)
				if seenBefore {
					_, _ = r.verify(Bearer(tc.raw))
				}
				if tc.world != nil {
					tc.world(r)
				}
				r.want(tc.want, Bearer(tc.raw), tc.opts...)
				r.want(tc.want, Bearer(tc.raw), tc.opts...)
			}
		})
	}
}

func revoked(p events.Payload) func(*rig) { return func(r *rig) { r.apply(p) } }

func suspend(key string, suspended bool, kv int64) events.Payload {
	return events.APIKeyRotated{KeyID: key, Suspended: &suspended, KV: kv}
}

const parentToken = "01980000-0000-7000-8000-00000000bbbb"

// derived is a token that was exchanged from one of bob's and a key of alice.
func derived() string {
	return mint(claims{
		"jti": "01980000-0000-7000-8000-00000000dddd", "sid": nil, "act": map[string]string{"sub": bob},
		"parents": []any{map[string]any{"jti": parentToken, "sub": bob, "tv": 7}, map[string]any{"sub": alice, "tv": 100, "key_id": aliceKey}},
	})
}

// fault is something that can be wrong with a token's use.
type fault struct {
	code  Code
	claim claims
	world func(*rig)
}

// faults are in the order in which they must be told.
var faults = []fault{
	{CodeInvalidToken, claims{"iss": "https://evil.example"}, nil},
	{CodeWrongAudience, claims{"aud": "boats"}, nil},
	{CodeStale, nil, func(r *rig) { r.link.proof.Store(nil) }},
	{CodeRevoked, nil, revoked(events.TokenRevoked{JTI: aliceToken})},
	{CodeWrongMode, claims{"mode": "test"}, nil},
	{CodeForbidden, claims{"roles": []string{}}, nil},
	{CodeExpired, claims{"exp": began.Add(-time.Hour).Unix()}, nil},
}

func TestOfSeveralFaultsTheEarlierCheckIsTold(t *testing.T) {
	for i, first := range faults {
		for _, second := range faults[i+1:] {
			t.Run(string(first.code+" and "+second.code), func(t *testing.T) {
				r, all := newRig(t), claims{}
				for _, f := range []fault{first, second} {
					maps.Copy(all, f.claim)
					if f.world != nil {
						f.world(r)
					}
				}
				r.want(first.code, Bearer(mint(all)), Role("user"))
			})
		}
	}
}

func TestRolesAreTheHigherVersions(t *testing.T) {
	token := Bearer(mint(claims{"roles": []string{"user"}, "rv": 100}))
	for name, tc := range map[string]struct {
		feed  events.RoleChanged
		roles []string
		plan  string
	}{
		"feed knows later": {events.RoleChanged{UserID: alice, RV: 101, Roles: []string{"admin"}, Plan: "pro"}, []string{"admin"}, "pro"},
		"the same version": {events.RoleChanged{UserID: alice, RV: 100, Roles: []string{"user"}, Plan: "pro"}, []string{"user"}, "pro"},
		"token is later":   {events.RoleChanged{UserID: alice, RV: 99, Roles: []string{"admin"}, Plan: "pro"}, []string{"user"}, ""},
		"someone else":     {events.RoleChanged{UserID: bob, RV: 101, Roles: []string{"admin"}}, []string{"user"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			before := r.want("", token)
			r.apply(tc.feed)
			p := r.want("", token)
			if !slices.Equal(p.Roles, tc.roles) || p.Plan != tc.plan {
				t.Errorf("roles %v, plan %q", p.Roles, p.Plan)
			}
			if !slices.Equal(before.Roles, []string{"user"}) {
				t.Error("an earlier request's principal was changed")
			}
		})
	}
}

func TestDerivedTokenDoesNotGrowWithItsUser(t *testing.T) {
	r := newRig(t)
	token := Bearer(derived())
	r.apply(events.RoleChanged{UserID: alice, RV: 101, Roles: []string{"user", "admin"}})
	if p := r.want("", token); !slices.Equal(p.Roles, []string{"user"}) || p.Actor != bob {
		t.Errorf("%+v", p)
	}
	r.apply(events.RoleChanged{UserID: alice, RV: 102, Roles: []string{"admin"}})
	if p := r.want("", token); len(p.Roles) != 0 {
		t.Errorf("roles %v", p.Roles)
	}
}

// What an actor may do no more it may do for nobody.
func TestDerivedTokenLosesTheRolesThatItsActorLoses(t *testing.T) {
	r := newRig(t)
	token := Bearer(derived())
	r.apply(events.RoleChanged{UserID: bob, RV: 1, Roles: []string{"admin"}})
	if p := r.want("", token); len(p.Roles) != 0 || p.Actor != bob {
		t.Errorf("%+v", p)
	}
	r.want(CodeForbidden, token, Role("user"))
	r.apply(events.RoleChanged{UserID: bob, RV: 2, Roles: []string{"admin", "user"}})
	if p := r.want("", token, Role("user")); !slices.Equal(p.Roles, []string{"user"}) {
		t.Errorf("%+v", p)
	}
}

func TestParentKeyEndsTheDerivedTokenInTime(t *testing.T) {
	r := newRig(t)
	end := began.Add(10 * time.Second).UnixMicro()
	r.apply(events.APIKeyRotated{KeyID: aliceKey, NotAfter: &end})
	r.want("", Bearer(derived()))
	r.clock.Advance(10*time.Second - time.Microsecond)
	r.want("", Bearer(derived()))
	r.clock.Advance(time.Microsecond)
	r.want(CodeExpired, Bearer(derived()))
}

func TestSignedTimeOverrulesASlowClock(t *testing.T) {
	r := newRig(t)
	token := Bearer(mint(nil))
	r.want("", token)
	proof := *r.link.proof.Load()
	proof.Now += (15*time.Minute + 30*time.Second).Microseconds()
	r.link.proof.Store(&proof)
	r.want(CodeExpired, token)
}

func TestTokenOfAFutureClockIsGoodWhenTheIssuerSaysSo(t *testing.T) {
	r := newRig(t)
	token := Bearer(mint(claims{"nbf": began.Add(time.Hour).Unix(), "exp": began.Add(2 * time.Hour).Unix()}))
	r.want(CodeInvalidToken, token)
	proof := *r.link.proof.Load()
	proof.Now += time.Hour.Microseconds()
	r.link.proof.Store(&proof)
	r.want("", token)
}

// sleepy is a clock on which a process was stopped for a while just before it read it.
type sleepy struct{ *clock.Fake }

func (s sleepy) Now() clock.Reading {
	s.Advance(time.Minute)
	return s.Fake.Now()
}

func TestProcessThatSleptBetweenTheLoadsRefuses(t *testing.T) {
	r := newRig(t)
	token := Bearer(mint(claims{"exp": began.Add(time.Hour).Unix()}))
	r.want("", token)
	r.Verifier.clock = sleepy{r.clock}
	r.want(CodeStale, token)
}

func TestABurstOfNewTokensDoesNotHoldUpThoseSeenBefore(t *testing.T) {
	r := newRig(t)
	known, burst := Bearer(mint(nil)), Bearer(mint(claims{"jti": parentToken}))
	r.want("", known)
	for range cap(r.verifying) {
		r.verifying <- struct{}{} // as many as there are processors
	}
	r.want("", known)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Verify(ctx, burst, r.route()); CodeOf(err) != CodeAuthUnavailable || !errors.Is(err, context.Canceled) {
		t.Errorf("a request that is given up: %v", err)
	}
	<-r.verifying
	r.want("", burst)
}

func TestUnknownKidIsLookedForOnceAndFound(t *testing.T) {
	r := newRig(t)
	r.link.refresh = func(context.Context) error {
		r.link.keys.Store(keySet("k1", "k2"))
		return nil
	}
	r.want("", Bearer(mintWith(claims{"kid": "k2"}, nil)))
	if n := r.link.refreshed.Load(); n != 1 {
		t.Errorf("%d fetches", n)
	}
}

func TestUnknownKidIsNotTheTokensFaultWhileStale(t *testing.T) {
	r := newRig(t)
	r.clock.Advance(time.Minute)
	r.link.refresh = func(context.Context) error { return link.ErrUnavailable }
	token := Bearer(mintWith(claims{"kid": "k2"}, nil))
	r.want(CodeStale, token)
	r.want(CodeStale, token, OnStale(ServeStale(time.Hour)))
	r.want(CodeAuthUnavailable, token, OnStale(Ask))
	r.want(CodeAuthUnavailable, token, Elite())
}

// After an emergency rotation good tokens are signed with a key that a verifier doesn't know which is cut off just then.
func TestUnknownKidIsTheTokensFaultOnlyWhenAuthsvcHasJustSaidSo(t *testing.T) {
	for _, c := range []struct {
		name  string
		fetch error
		proof time.Duration // ago
		want  Code
	}{
		{"fetched", nil, 20 * time.Second, CodeInvalidToken},
		{"not reachable, though fresh", link.ErrUnavailable, 0, CodeAuthUnavailable},
		{"not looked for, though proven just now", link.ErrCrowded, 0, CodeAuthUnavailable},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			r.link.refresh = func(context.Context) error { return c.fetch }
			r.clock.Advance(c.proof)
			r.want(c.want, Bearer(mintWith(claims{"kid": "k2"}, nil)))
		})
	}
}

func TestEmergencyRotationKillsVerifiedTokens(t *testing.T) {
	r := newRig(t)
	token := Bearer(mint(nil))
	r.want("", token)
	r.link.keys.Store(keySet("k2"))
	r.want(CodeInvalidToken, token)
}

func TestServeStaleGoesOnUntilItsLimitAndNoFurther(t *testing.T) {
	r := newRig(t, WithStalePolicy(ServeStale(time.Minute)))
	token := Bearer(mint(nil))
	r.clock.Advance(time.Minute)
	r.want("", token)
	r.want(CodeStale, token, OnStale(Deny))
	r.apply(events.TokenRevoked{JTI: aliceToken})
	r.want(CodeRevoked, token)
	r.clock.Advance(1)
	r.want(CodeStale, token)
	r.link.proof.Store(nil)
	r.want(CodeStale, token)
}

func TestTestVerifierAcceptsTestTokensOnly(t *testing.T) {
	r := newRig(t, WithAllowTest())
	r.want("", Bearer(mint(claims{"mode": "test"})))
	r.want(CodeWrongMode, Bearer(mint(nil)))
}

func TestVersionOfTheSetIsTheOnlyShortCut(t *testing.T) {
	r := newRig(t)
	token := mint(nil)
	r.want("", Bearer(token))
	h, keys := r.tokens.Get(token), r.link.Keys()
	first := h.clean.Load()
	r.want("", Bearer(token))
	if h.clean.Load() != first || h.cleanFor.Load() != keys {
		t.Error("looked up again though nothing changed")
	}
	r.apply(events.TokenRevoked{JTI: parentToken})
	r.want("", Bearer(token))
	if h.clean.Load() == first {
		t.Error("not looked up again after a change of the set")
	}
	another := *keys
	r.link.keys.Store(&another)
	r.want("", Bearer(token))
	if h.cleanFor.Load() != &another {
		t.Error("not looked up again after a change of the keys")
	}
}

func TestRouteWithASmallerBoundAsksMoreOften(t *testing.T) {
	r := newRig(t)
	r.route(MaxStaleness(5 * time.Second))
	r.route(MaxStaleness(10 * time.Second))
	want := [][2]time.Duration{{5 * time.Second, 30 * time.Second}}
	if diff := cmp.Diff(want, r.link.bounds); diff != "" {
		t.Error(diff)
	}
}

func TestNoCredentialIsMissing(t *testing.T) {
	newRig(t).want(CodeMissingCredential, Credential{})
}

func TestNilRouteHasTheDefaults(t *testing.T) {
	r := newRig(t)
	if _, err := r.Verify(t.Context(), Bearer(mint(nil)), nil); err != nil {
		t.Error(err)
	}
}
