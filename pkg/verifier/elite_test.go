package verifier

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tocsin-auth/tocsin/pkg/events"
)

func TestEliteIsDecidedByAuth(t *testing.T) {
	disabled := func(a *auth) { a.user.Disabled = true }
	refuse := func(reason events.Reason) func(*auth) {
		return func(a *auth) { a.active, a.reason = false, reason }
	}
	for name, tc := range map[string]struct {
		auth  func(*auth)
		world func(*rig)
		token claims
		opts  []RouteOption
		want  Code
	}{
		"good":                         {},
		"role from the answer":         {opts: []RouteOption{Role("editor")}},
		"role that the token had":      {token: claims{"roles": []string{"admin"}, "rv": 1}, opts: []RouteOption{Role("admin")}, want: CodeForbidden},
		"revoked":                      {auth: refuse(events.ReasonRevoked), want: CodeRevoked},
		"expired":                      {auth: refuse(events.ReasonExpired), want: CodeExpired},
		"kid retired":                  {auth: refuse(events.ReasonInvalidToken), want: CodeInvalidToken},
		"unknown":                      {auth: refuse(events.ReasonUnknownKey), want: CodeUnknownKey},
		"refused without a reason":     {auth: refuse(""), want: CodeAuthUnavailable},
		"refused for a later reason":   {auth: refuse("moon_phase"), want: CodeAuthUnavailable},
		"active but disabled":          {auth: disabled, want: CodeRevoked},
		"of another user":              {auth: func(a *auth) { a.user.ID = bob }, want: CodeAuthUnavailable},
		"wrong mode":                   {token: claims{"mode": "test"}, want: CodeWrongMode},
		"expired by own clock":         {token: claims{"exp": began.Add(-time.Hour).Unix()}, want: CodeExpired},
		"auth's clock is late":         {world: func(r *rig) { r.clock.Advance(time.Hour) }, want: CodeExpired},
		"stale":                        {world: func(r *rig) { r.clock.Advance(time.Minute) }},
		"never proven":                 {world: func(r *rig) { r.link.proof.Store(nil) }},
		"no answer":                    {world: func(r *rig) { r.unserve() }, want: CodeAuthUnavailable},
		"session ended here":           {world: revoked(events.TokenRevoked{SessionID: aliceSession}), want: CodeRevoked},
		"disabled by an older feed":    {world: revoked(events.RoleChanged{UserID: alice, RV: 101, Disabled: true})},
		"role taken by an older feed":  {world: revoked(events.RoleChanged{UserID: alice, RV: 101}), opts: []RouteOption{Role("user")}},
		"bad signature is never asked": {token: claims{"iss": "https://evil.example"}, want: CodeInvalidToken},
	} {
		t.Run(name, func(t *testing.T) {
			r, a := newRig(t), newAuth()
			if tc.auth != nil {
				tc.auth(a)
			}
			r.serve(a)
			if tc.world != nil {
				tc.world(r)
			}
			r.want(tc.want, Bearer(mint(tc.token)), append(tc.opts, Elite())...)
		})
	}
}

func TestEliteAsksEachTimeWithEverythingTheTokenRestsOn(t *testing.T) {
	r, a := newRig(t), newAuth()
	r.serve(a)
	r.want("", Bearer(derived()), Elite())
	r.want("", Bearer(derived()), Elite())
	if n := r.link.requests(events.KindCheck); n != 2 {
		t.Errorf("%d questions", n)
	}
	a.last.Nonce = ""
	want := events.CheckRequest{
		Kid: "k1", JTI: "01980000-0000-7000-8000-00000000dddd", Subject: alice, TV: 100, Mode: ModeLive,
		Parents: []events.Parent{{JTI: parentToken, Subject: bob, TV: 7}, {Subject: alice, TV: 100, KeyID: aliceKey}},
	}
	if diff := cmp.Diff(want, a.last); diff != "" {
		t.Error(diff)
	}
}

func TestEliteKeyIsDecidedByAuth(t *testing.T) {
	past := began.UnixMicro()
	for name, tc := range map[string]struct {
		auth func(*auth)
		opts []RouteOption
		want Code
	}{
		"good":                  {},
		"narrowed":              {auth: func(a *auth) { a.key.Scopes = []string{"user"} }, opts: []RouteOption{Role("editor")}, want: CodeForbidden},
		"unknown":               {auth: func(a *auth) { a.active, a.reason = false, events.ReasonUnknownKey }, want: CodeUnknownKey},
		"revoked":               {auth: func(a *auth) { a.active, a.reason = false, events.ReasonRevoked }, want: CodeRevoked},
		"test key":              {auth: func(a *auth) { a.key.Mode = ModeTest }, want: CodeWrongMode},
		"active but suspended":  {auth: func(a *auth) { a.key.Suspended = true }, want: CodeRevoked},
		"active but disabled":   {auth: func(a *auth) { a.user.Disabled = true }, want: CodeRevoked},
		"active but ended":      {auth: func(a *auth) { a.key.NotAfter = &past }, want: CodeExpired},
		"ids that are no UUIDs": {auth: func(a *auth) { a.key.ID = "7" }, want: CodeAuthUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			r, a, key := newRig(t), newAuth(), newKey(ModeLive)
			if tc.auth != nil {
				tc.auth(a)
			}
			r.serve(a)
			p := r.want(tc.want, key, append(tc.opts, Elite())...)
			if hash := events.HashOf([]byte(key.value)); a.last.KeyHash == nil || *a.last.KeyHash != hash {
				t.Error("asked about something else than the hash of the key")
			}
			if p != nil && (p.KeyID != aliceKey || p.Method != MethodAPIKey || p.Subject != alice) {
				t.Errorf("%+v", p)
			}
		})
	}
}

func TestKeyWithoutDescriptionIsNotAccepted(t *testing.T) {
	r, a, key := newRig(t), newAuth(), newKey(ModeLive)
	r.serve(a)
	answer := r.link.answer
	r.link.answer = func(ctx context.Context, kind events.Kind, body []byte) ([]byte, error) {
		full, err := answer(ctx, kind, body)
		return slices.Concat(full[:len(full)-1], []byte(`,"key":null}`)), err
	}
	r.want(CodeAuthUnavailable, key, Elite())
}

func TestAnEliteQuestionThatIsLostIsAskedOnceMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, a, key := newRig(t), newAuth(), newKey(ModeLive)
		r.serve(a)
		answer, asked := r.link.answer, map[string]bool{}
		r.link.answer = func(ctx context.Context, kind events.Kind, body []byte) ([]byte, error) {
			q, err := events.DecodeCheckRequest(body)
			if err != nil {
				t.Error(err)
			}
			asked[q.Nonce] = true
			if len(asked) == 1 {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return answer(ctx, kind, body)
		}
		start := time.Now()
		r.want("", key, Elite())
		if waited := time.Since(start); len(asked) != 2 || waited != askAgainAfter {
			t.Errorf("%d questions with a nonce of their own, after %v", len(asked), waited)
		}
		_ = r.Close()
	})
}

func TestAskIsDecidedByAuthOnlyWhileStale(t *testing.T) {
	r, a, key := newRig(t, WithStalePolicy(Ask)), newAuth(), newKey(ModeLive)
	r.serve(a)
	token := Bearer(mint(nil))
	r.want("", token)
	r.want("", key)
	if n := r.link.requests(events.KindCheck); n != 0 {
		t.Errorf("asked %d times while fresh", n)
	}
	r.clock.Advance(time.Minute)
	r.want("", token)
	r.want("", key)
	if n := r.link.requests(events.KindCheck); n != 2 {
		t.Errorf("asked %d times while stale", n)
	}
	r.want(CodeStale, token, OnStale(Deny))
	r.unserve()
	r.want(CodeAuthUnavailable, token)
	r.want(CodeAuthUnavailable, key)
}

func TestAskIsBoundedInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, a := newRig(t, WithStalePolicy(Ask), WithAskLimit(2)), newAuth()
		held := make(chan struct{})
		a.before = func() { <-held }
		r.serve(a)
		r.clock.Advance(time.Minute)
		token := Bearer(mint(nil))
		for range 2 {
			go r.want("", token)
		}
		synctest.Wait()
		r.want(CodeStale, token)
		close(held)
		synctest.Wait()
		r.want("", token)
		_ = r.Close()
	})
}
