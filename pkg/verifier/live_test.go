package verifier

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/clock"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/follower"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/revset"
)

// lasting starts a long answer that has to start.
func (r *rig) lasting(c Credential, opts ...RouteOption) context.Context {
	r.t.Helper()
	ctx, end, err := r.Live(r.t.Context(), c, r.route(opts...))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(end)
	return ctx
}

// later moves the clock, and leaves no moment in which the feed isn't fresh.
func (r *rig) later(d time.Duration) {
	then := r.clock.Now()
	then.Wall, then.Boot = then.Wall+int64(d), then.Boot+int64(d)
	r.link.proof.Store(&follower.Freshness{Since: then, Now: then.Micros()})
	r.clock.Advance(d)
}

// look does what the watch does.
func (r *rig) look() { r.lookAt(r.lives.appendTo(nil)) }

// ends waits until a context has ended, and checks why.
func (r *rig) ends(ctx context.Context, want error) {
	r.t.Helper()
	r.look()
	select {
	case <-ctx.Done():
	case <-time.After(time.Minute): // never reached by a watch that works
		r.t.Fatal("the long answer goes on")
	}
	if got := context.Cause(ctx); !errors.Is(got, want) {
		r.t.Errorf("ended by %v, want %v", got, want)
	}
	if got := Alive(ctx); !errors.Is(got, want) {
		r.t.Errorf("alive: %v, want %v", got, want)
	}
}

func TestALongAnswerEndsWithItsCredential(t *testing.T) {
	for name, tc := range map[string]struct {
		event events.Payload
		world func(*rig)
		opts  []RouteOption
		key   bool
		want  error
	}{
		"token":        {event: events.TokenRevoked{JTI: aliceToken}, want: ErrRevoked},
		"session":      {event: events.TokenRevoked{SessionID: aliceSession}, want: ErrRevoked},
		"user":         {event: events.TokenRevoked{UserID: alice, TV: 200}, want: ErrRevoked},
		"disabled":     {event: events.RoleChanged{UserID: alice, RV: 200, Disabled: true}, want: ErrRevoked},
		"role":         {event: events.RoleChanged{UserID: alice, RV: 200}, opts: []RouteOption{Role("user")}, want: ErrForbidden},
		"expiry":       {world: func(r *rig) { r.later(15*time.Minute + leeway) }, want: ErrExpired},
		"freshness":    {world: func(r *rig) { r.clock.Advance(DefaultMaxStaleness + 1) }, want: ErrStale},
		"route's own":  {world: func(r *rig) { r.clock.Advance(time.Second + 1) }, opts: []RouteOption{MaxStaleness(time.Second)}, want: ErrStale},
		"serve-stale":  {world: func(r *rig) { r.clock.Advance(time.Minute + 1) }, opts: []RouteOption{OnStale(ServeStale(time.Minute))}, want: ErrStale},
		"retired key":  {world: func(r *rig) { r.link.keys.Store(keySet("k2")) }, want: ErrInvalidToken},
		"API key":      {event: events.APIKeyRotated{KeyID: aliceKey, NotAfter: new(int64)}, key: true, want: ErrRevoked},
		"key's owner":  {event: events.TokenRevoked{UserID: alice, TV: 200, Keys: true}, key: true, want: ErrRevoked},
		"key's role":   {event: events.RoleChanged{UserID: alice, RV: 200}, key: true, opts: []RouteOption{Role("editor")}, want: ErrForbidden},
		"key's proof":  {world: func(r *rig) { r.clock.Advance(DefaultMaxStaleness + 1) }, key: true, want: ErrStale},
		"elite":        {event: events.TokenRevoked{JTI: aliceToken}, opts: []RouteOption{Elite()}, want: ErrRevoked},
		"key on elite": {event: events.TokenRevoked{UserID: alice, TV: 200, Keys: true}, opts: []RouteOption{Elite()}, key: true, want: ErrRevoked},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.serve(newAuth())
			c := Bearer(mint(nil))
			if tc.key {
				c = newKey(ModeLive)
			}
			ctx := r.lasting(c, tc.opts...)
			if p, ok := FromContext(ctx); !ok || p.Subject != alice {
				t.Errorf("principal %+v", p)
			}
			if err := Alive(ctx); err != nil {
				t.Error(err)
			}
			if tc.event != nil {
				r.apply(tc.event)
			} else {
				tc.world(r)
			}
			r.ends(ctx, tc.want)
			if n := r.lives.len(); n != 0 {
				t.Errorf("%d long answers are still known", n)
			}
			if n := r.counters.endings[codeIndex(tc.want)].Load(); n != 1 {
				t.Errorf("%d counted", n)
			}
		})
	}
}

func TestALongAnswerIsRefusedLikeAnyOther(t *testing.T) {
	r := newRig(t)
	r.apply(events.TokenRevoked{JTI: aliceToken})
	if _, _, err := r.Live(t.Context(), Bearer(mint(nil)), nil); !errors.Is(err, ErrRevoked) {
		t.Error(err)
	}
	if err := Alive(NewContext(t.Context(), &Principal{})); !errors.Is(err, ErrMissingCredential) {
		t.Error(err)
	}
}

func TestAliveJudgesBeforeTheWatchHasNoticed(t *testing.T) {
	r := newRig(t)
	ctx := r.lasting(Bearer(mint(nil)))
	r.clock.Advance(DefaultMaxStaleness + 1) // a thaw: nothing rings
	if err := Alive(ctx); !errors.Is(err, ErrStale) {
		t.Error(err)
	}
	r.prove()
	if err := Alive(ctx); !errors.Is(err, ErrStale) {
		t.Errorf("a long answer that had ended goes on: %v", err)
	}
}

// everyMoment is a clock that lets something happen at its n-th reading.
type everyMoment struct {
	*clock.Fake

	left  atomic.Int64
	event func()
}

func (c *everyMoment) Now() clock.Reading {
	if c.left.Add(-1) == 0 {
		c.event()
	}
	return c.Fake.Now()
}

func TestNoEventBetweenTheFirstCheckAndTheRegistrationIsMissed(t *testing.T) {
	refused, ended := 0, 0
	for moment := int64(1); ; moment++ {
		r := newUnwatchedRig(t)
		c := &everyMoment{Fake: r.clock}
		c.event = func() {
			r.apply(events.TokenRevoked{JTI: aliceToken})
			r.look() // the watch, as quick as can be, and never again
		}
		c.left.Store(moment)
		r.Verifier.clock = c
		ctx, end, err := r.Live(t.Context(), Bearer(mint(nil)), r.route())
		switch {
		case errors.Is(err, ErrRevoked):
			refused++
		case err != nil:
			t.Error(err)
		case c.left.Load() > 0: // it began before the moment came
			end()
			if refused == 0 || ended == 0 {
				t.Errorf("%d were refused, %d were ended", refused, ended)
			}
			return
		case context.Cause(ctx) != ErrRevoked:
			t.Errorf("an event at moment %d was missed", moment)
		default:
			ended++
			end()
		}
	}
}

// newUnwatchedRig has a verifier without goroutines.
func newUnwatchedRig(t *testing.T) *rig {
	t.Helper()
	s, err := newSettings(Config{Issuer: testIssuer, Audience: testAudience, Service: "cars", NATSURL: "none"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, link: &fakeLink{}, clock: clock.NewFake(began), set: revset.New()}
	r.Verifier = newVerifier(t.Context(), s, r.clock, r.set)
	r.Verifier.link = r.link
	r.link.keys.Store(keySet("k1"))
	r.prove()
	return r
}

func TestManyLongAnswersBeginAndEndWhileEventsCome(t *testing.T) {
	r := newRig(t)
	tokens := make([]Credential, 64)
	ids := make([]string, len(tokens))
	for i := range tokens {
		ids[i] = events.ID{1, 2, 3, 4, 5, 6, 0x70, 1, 0x80, byte(i)}.String()
		tokens[i] = Bearer(mint(claims{"jti": ids[i]}))
	}
	var wg sync.WaitGroup
	for i, c := range tokens {
		wg.Go(func() {
			for {
				ctx, end, err := r.Live(t.Context(), c, nil)
				if errors.Is(err, ErrRevoked) {
					return
				}
				if err != nil {
					t.Error(err)
					return
				}
				if i%2 == 0 {
					<-ctx.Done()
				}
				end()
			}
		})
	}
	for _, id := range ids {
		r.apply(events.TokenRevoked{JTI: id})
		r.news.ring()
	}
	wg.Wait()
	if n := r.lives.len(); n != 0 {
		t.Errorf("%d long answers are still known", n)
	}
}

func TestCloseEndsAllLongAnswers(t *testing.T) {
	r := newRig(t)
	var all []context.Context
	for range 100 {
		all = append(all, r.lasting(Bearer(mint(nil))))
	}
	_ = r.Close()
	for _, ctx := range all {
		r.ends(ctx, ErrStale)
	}
	if _, _, err := r.Live(t.Context(), Bearer(mint(nil)), nil); !errors.Is(err, ErrStale) {
		t.Errorf("a long answer of a closed verifier: %v", err)
	}
}

func TestTheEndOfTheRequestIsNoRefusal(t *testing.T) {
	r := newRig(t)
	parent, cancel := context.WithCancel(t.Context())
	ctx, end, err := r.Live(parent, Bearer(mint(nil)), nil)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	<-ctx.Done()
	if cause := context.Cause(ctx); cause != context.Canceled {
		t.Error(cause)
	}
	end()
	if n := r.lives.len(); n != 0 {
		t.Errorf("%d long answers are still known", n)
	}
}

// bubbleClock is the time of a synctest bubble, which moves when all goroutines wait.
type bubbleClock struct{}

func (bubbleClock) Now() clock.Reading {
	now := time.Now().UnixNano()
	return clock.Reading{Wall: now, Boot: now - began.UnixNano() + int64(1000*time.Hour)}
}

func TestLongAnswersEndOnTimeWithoutAnyNews(t *testing.T) {
	for name, tc := range map[string]struct {
		claims claims
		opts   []RouteOption
		after  time.Duration
		want   error
	}{
		"freshness":   {nil, nil, DefaultMaxStaleness, ErrStale},
		"smaller":     {nil, []RouteOption{MaxStaleness(3 * time.Second)}, 3 * time.Second, ErrStale},
		"serve-stale": {nil, []RouteOption{OnStale(ServeStale(time.Minute))}, time.Minute, ErrStale},
		"expiry":      {claims{"exp": 5}, nil, 5*time.Second + leeway, ErrExpired},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, WithMaxStaleness(DefaultMaxStaleness))
				r.Verifier.clock = bubbleClock{}
				now := bubbleClock{}.Now()
				r.link.proof.Store(&follower.Freshness{Since: now, Now: now.Micros()})
				if tc.want == ErrExpired {
					r.Verifier.base.bound = time.Hour
				}
				all := claims{"iat": time.Now().Unix(), "exp": time.Now().Add(15 * time.Minute).Unix()}
				if exp, ok := tc.claims["exp"].(int); ok {
					all["exp"] = time.Now().Add(time.Duration(exp) * time.Second).Unix()
				}
				start := time.Now()
				time.Sleep(lookAgain / 2) // the bubble's time: no look falls on the end by chance
				ctx, end, err := r.Live(t.Context(), Bearer(mint(all)), r.route(tc.opts...))
				if err != nil {
					t.Fatal(err)
				}
				defer end()
				<-ctx.Done()
				if took := time.Since(start); took < tc.after || took > tc.after+10*time.Millisecond || context.Cause(ctx) != tc.want {
					t.Errorf("ended after %v by %v, want %v and %v", took, context.Cause(ctx), tc.after, tc.want)
				}
				_ = r.Close()
			})
		})
	}
}

func TestALongAnswerEndsAsSoonAsItsRevocationIsHeard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ctx := r.lasting(Bearer(mint(nil)))
		for range 100 {
			r.apply(events.TokenRevoked{JTI: bob}) // somebody else's
			r.news.ring()
			time.Sleep(7 * time.Millisecond) // the bubble's time
		}
		start := time.Now()
		r.apply(events.TokenRevoked{JTI: aliceToken})
		r.news.ring()
		<-ctx.Done()
		if took := time.Since(start); took > restAfter {
			t.Errorf("it went on for %v", took)
		}
		_ = r.Close()
	})
}

func TestALongAnswerFollowsTheResolutionsOfItsKey(t *testing.T) {
	r := newRig(t)
	r.serve(newAuth())
	ctx := r.lasting(newKey(ModeLive))
	for range 20 { // 50 minutes: several lives of a resolution, on nothing but the renewals
		r.later(renewAfter / 3)
		r.unserve()
		if err := Alive(ctx); err != nil {
			t.Fatal(err)
		}
		r.serve(newAuth())
		r.tendKeys(t.Context())
	}
	if n := r.link.requests(events.KindResolve); n < 4 || n > 10 {
		t.Errorf("%d resolutions", n)
	}
	r.apply(events.APIKeyRotated{KeyID: aliceKey, NotAfter: new(int64)})
	r.ends(ctx, ErrRevoked)
}

func TestALongAnswerOutlivesALeapOfTheFeed(t *testing.T) {
	r := newRig(t)
	r.serve(newAuth())
	ctx := r.lasting(newKey(ModeLive))
	r.forgetKeys()
	if err := Alive(ctx); err != nil {
		t.Error(err)
	}
	r.forgetKeys()
	a := newAuth()
	a.found = false // deleted in what was leapt over: the watch finds out by itself
	r.serve(a)
	r.ends(ctx, ErrUnknownKey)
}

func TestNothingIsSentOnAResolutionThatCantBeUsed(t *testing.T) {
	r := newRig(t)
	r.serve(newAuth())
	ctx := r.lasting(newKey(ModeLive))
	r.unserve()
	r.forgetKeys()
	if err := Alive(ctx); !errors.Is(err, ErrAuthUnavailable) {
		t.Error(err)
	}
}

func TestAResolutionThatWasPushedOutIsRenewedForALongAnswer(t *testing.T) {
	r := newRig(t)
	r.serve(newAuth())
	key := newKey(ModeLive)
	ctx := r.lasting(key)
	r.keys.Delete(key.value, r.keys.Get(key.value))
	r.later(renewAfter)
	r.look()
	r.tendKeys(t.Context())
	if n := r.link.requests(events.KindResolve); n != 2 {
		t.Errorf("%d resolutions", n)
	}
	if err := Alive(ctx); err != nil {
		t.Error(err)
	}
}

func TestAuthVouchesForLongAnswersWhileTheFeedIsStale(t *testing.T) {
	for name, opt := range map[string]RouteOption{"ask": OnStale(Ask), "elite": Elite()} {
		for _, c := range []Credential{Bearer(mint(nil)), newKey(ModeLive)} {
			t.Run(name+" "+c.String(), func(t *testing.T) {
				r, a := newUnwatchedRig(t), newAuth()
				r.serve(a)
				ctx := r.lasting(c, opt)
				for range 5 {
					r.clock.Advance(DefaultMaxStaleness/2 + 1)
					asked := r.link.requests(events.KindCheck)
					r.look()
					r.errandsDone()
					if got := r.link.requests(events.KindCheck) - asked; got != 1 {
						t.Fatalf("asked %d times", got)
					}
					if err := Alive(ctx); err != nil {
						t.Fatal(err)
					}
				}
				begun := r.lasting(c, opt) // one that begins while the feed is stale
				a.active, a.reason = false, events.ReasonRevoked
				r.clock.Advance(DefaultMaxStaleness/2 + 1)
				r.ends(ctx, ErrRevoked)
				r.ends(begun, ErrRevoked)
			})
		}
	}
}

// errandsDone waits until nobody asks authsvc in the background.
func (r *rig) errandsDone() {
	for range cap(r.lives.errands) {
		r.lives.errands <- struct{}{}
	}
	for range cap(r.lives.errands) {
		r.lives.errands.leave()
	}
}

// The feed isn't fresh, so it may never tell of the rotation.
func TestAuthsVouchEndsWithTheKeyThatATokenRestsOn(t *testing.T) {
	withoutEnd := func(a *auth) { a.ends = nil } // as authsvc was before it told the end of every key
	withoutKey := func(a *auth) { a.tokenKey = false }
	for name, opt := range map[string]RouteOption{"ask": OnStale(Ask), "elite": Elite()} {
		for of, change := range map[string]func(*auth){"the end": withoutKey, "its own key": withoutEnd} {
			t.Run(name+", told by "+of, func(t *testing.T) {
				r, a := newUnwatchedRig(t), newAuth()
				r.serve(a)
				r.clock.Advance(DefaultMaxStaleness + 1)
				ends := r.clock.Now().Micros() + (10 * time.Second).Microseconds()
				a.key.NotAfter, a.ends, a.tokenKey = &ends, &ends, true
				change(a)
				ctx := r.lasting(Bearer(mint(claims{"sid": nil, "key_id": aliceKey, "client_id": aliceKey})), opt)
				r.clock.Advance(10*time.Second - time.Microsecond)
				if err := Alive(ctx); err != nil {
					t.Fatal("before the end: ", err)
				}
				r.clock.Advance(time.Microsecond)
				r.ends(ctx, ErrExpired)
			})
		}
	}
}

func TestAuthsVouchEndsWithTheBound(t *testing.T) {
	r := newRig(t)
	r.serve(newAuth())
	r.clock.Advance(time.Hour)
	ctx := r.lasting(newKey(ModeLive), OnStale(Ask))
	r.unserve()
	r.clock.Advance(DefaultMaxStaleness)
	if err := Alive(ctx); err != nil {
		t.Error(err)
	}
	r.clock.Advance(1)
	r.ends(ctx, ErrStale)
}

func TestARoleThatOnlyAuthKnowsIsEnoughOnAnEliteRoute(t *testing.T) {
	r := newRig(t)
	r.serve(newAuth())
	ctx := r.lasting(Bearer(mint(nil)), Elite(), Role("editor")) // the token and the feed don't have it
	r.look()
	if err := Alive(ctx); err != nil {
		t.Error(err)
	}
	r.apply(events.RoleChanged{UserID: alice, RV: 101, Roles: []string{"user"}})
	r.ends(ctx, ErrForbidden)
}
