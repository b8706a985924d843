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

// tellNow has the verifier tell what it noted, and returns it.
func (r *rig) tellNow() []events.UsedKey {
	r.t.Helper()
	r.tendKeys(r.t.Context())
	r.tellUses(r.clock.Now())
	return r.wasTold()
}

// wasTold returns what was told since the last time.
func (r *rig) wasTold() (keys []events.UsedKey) {
	r.link.mu.Lock()
	defer r.link.mu.Unlock()
	for _, message := range r.link.told {
		keys = append(keys, message.Keys...)
	}
	r.link.told = nil
	return keys
}

func TestAKeyThatWasAcceptedIsTold(t *testing.T) {
	once := []events.UsedKey{{KeyID: aliceKey}}
	for name, tc := range map[string]struct {
		auth func(*auth)
		use  func(*rig, Credential)
		want []events.UsedKey
	}{
		"once":           {use: func(r *rig, c Credential) { r.want("", c) }, want: once},
		"often":          {use: func(r *rig, c Credential) { r.want("", c); r.want("", c); r.want("", c) }, want: once},
		"on elite calls": {use: func(r *rig, c Credential) { r.want("", c, Elite()) }, want: once},
		"never":          {use: func(*rig, Credential) {}},
		"unknown":        {auth: func(a *auth) { a.found = false }, use: func(r *rig, c Credential) { r.want(CodeUnknownKey, c) }},
		"suspended":      {auth: func(a *auth) { a.key.Suspended = true }, use: func(r *rig, c Credential) { r.want(CodeRevoked, c); r.want(CodeRevoked, c) }},
		"of the wrong mode": {auth: func(a *auth) { a.key.Mode = ModeTest }, use: func(r *rig, c Credential) {
			r.want(CodeWrongMode, c)
			r.want(CodeWrongMode, c, Elite())
		}},
		"without the role": {use: func(r *rig, c Credential) { r.want(CodeForbidden, c, Role("admin")) }},
		"by an answer that lasts": {use: func(r *rig, c Credential) {
			_, release, err := r.Live(r.t.Context(), c, nil)
			if err != nil {
				r.t.Fatal(err)
			}
			release()
		}, want: once},
	} {
		t.Run(name, func(t *testing.T) {
			r, a, key := newRig(t), newAuth(), newKey(ModeLive)
			if tc.auth != nil {
				tc.auth(a)
			}
			r.serve(a)
			tc.use(r, key)
			if diff := cmp.Diff(tc.want, r.tellNow()); diff != "" {
				t.Error(diff)
			}
			if again := r.tellNow(); again != nil {
				t.Errorf("told again: %v", again)
			}
		})
	}
}

func TestAKeyInUseIsToldEachTimeWithItsAge(t *testing.T) {
	r, key := newRig(t), newKey(ModeLive)
	r.serve(newAuth())
	r.want("", key)
	r.tellNow()
	r.want("", key)
	r.tendKeys(t.Context())
	r.clock.Advance(40 * time.Second)
	if diff := cmp.Diff([]events.UsedKey{{KeyID: aliceKey, Ago: 40}}, r.tellNow()); diff != "" {
		t.Error(diff)
	}
}

func TestWhatCouldNotBeToldIsToldLater(t *testing.T) {
	r, key := newRig(t), newKey(ModeLive)
	r.serve(newAuth())
	r.want("", key)
	r.link.deaf = true
	if told := r.tellNow(); told != nil {
		t.Fatal(told)
	}
	r.link.deaf = false
	r.clock.Advance(time.Minute)
	if diff := cmp.Diff([]events.UsedKey{{KeyID: aliceKey, Ago: 60}}, r.tellNow()); diff != "" {
		t.Error(diff)
	}
	r.want(CodeStale, key)
	r.prove()
	r.want("", key)
	r.link.deaf = true
	r.tellNow()
	r.link.deaf = false
	r.clock.Advance(25 * time.Hour)
	if told := r.tellNow(); told != nil {
		t.Errorf("a use of yesterday is told: %v", told)
	}
}

func TestNoMessageTellsOfMoreKeysThanOneMay(t *testing.T) {
	r := newRig(t)
	now := r.clock.Now()
	for i := range 3*events.MaxUsedKeys + 1 {
		r.uses.note(events.ID{0: byte(i >> 8), 1: byte(i), 6: 0x70, 8: 0x80}, now)
	}
	r.tellUses(now)
	if n := len(r.link.told); n != 4 {
		t.Errorf("%d messages", n) // the fake link refuses any that can't be read
	}
	if n := len(r.wasTold()); n != 3*events.MaxUsedKeys+1 {
		t.Errorf("%d keys", n)
	}
}

func TestUsesThatAreNotToldAreBounded(t *testing.T) {
	r := newRig(t)
	now := r.clock.Now()
	for i := range maxUses + 100 {
		r.uses.note(events.ID{0: byte(i >> 16), 1: byte(i >> 8), 2: byte(i), 6: 0x70, 8: 0x80}, now)
	}
	if n := len(r.uses.at); n != maxUses {
		t.Errorf("%d are remembered", n)
	}
}

func TestUsesAreToldAboutOnceAMinuteAndAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, key := newRig(t), newKey(ModeLive)
		r.serve(newAuth())
		var told []int
		for second := range 600 {
			r.prove()
			r.want("", key)
			time.Sleep(time.Second) // of the bubble
			r.clock.Advance(time.Second)
			synctest.Wait()
			if len(r.wasTold()) > 0 {
				told = append(told, second)
			}
		}
		if n := len(told); n < 6 || n > 20 {
			t.Errorf("told %d times in 10 minutes: %v", n, told)
		}
		r.want("", key)
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(r.wasTold(), []events.UsedKey{{KeyID: aliceKey}}) {
			t.Error("the last uses were not told")
		}
	})
}

func TestARequestBeyondTheQuotaIsNoUse(t *testing.T) {
	for name, opts := range map[string][]RouteOption{"ordinary": {Quota("jobs")}, "elite": {Quota("jobs"), Elite()}} {
		t.Run(name, func(t *testing.T) {
			r, key := newRig(t), newKey(ModeLive)
			r.serve(newAuth())
			authsvc, q := r.link.answer, new(quotas) // that allow nothing
			r.link.mu.Lock()
			r.link.answer = func(ctx context.Context, kind events.Kind, body []byte) ([]byte, error) {
				if kind == events.KindQuota {
					return q.answer(body)
				}
				return authsvc(ctx, kind, body)
			}
			r.link.mu.Unlock()
			r.want(CodeQuotaExceeded, key, opts...)
			r.want(CodeQuotaExceeded, key, opts...)
			if told := r.tellNow(); told != nil {
				t.Errorf("told %v", told)
			}
		})
	}
}
