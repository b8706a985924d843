package revset

import (
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/tocsin-auth/tocsin/pkg/events"
	"pgregory.net/rapid"
)

func shuffledWithRepeats(t *rapid.T, list []events.Event) []events.Event {
	if len(list) == 0 {
		return nil
	}
	repeats := rapid.SliceOfN(rapid.SampledFrom(list), 0, 10).Draw(t, "repeats")
	return rapid.Permutation(append(slices.Clone(list), repeats...)).Draw(t, "order")
}

func sameKey(got, want Verdict) bool {
	if got.Revoked && want.Revoked {
		return true // the end of what is dead says nothing
	}
	return got == want
}

func TestMonotoneAnyOrderAndRepetitionGivesTheVerdictsOfTheWholeHistory(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		history := drawEvents(t)
		set := New()
		for _, e := range shuffledWithRepeats(t, history) {
			set.Apply(e, 0)
		}
		m := model(history)
		for range 20 {
			c := drawCredential(t)
			if got, want := set.Token(c), m.token(c); !sameKey(got, want) {
				t.Fatalf("token %+v: got %+v, want %+v", c, got, want)
			}
			k := drawKey(t)
			if got, want := set.Key(k), m.key(k); !sameKey(got, want) {
				t.Fatalf("key %+v: got %+v, want %+v", k, got, want)
			}
			id := drawID(t, "user")
			got, ok := set.User(id)
			want, wantOK := m.user(id)
			if ok != wantOK || !cmp.Equal(got, want) {
				t.Fatalf("user: got %+v %v, want %+v %v", got, ok, want, wantOK)
			}
		}
	})
}

func TestMonotoneAnyOrderEndsInTheSameContent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		history := drawEvents(t)
		a, b := New(), New()
		for _, e := range history {
			a.Apply(e, 0)
		}
		for _, e := range shuffledWithRepeats(t, history) {
			b.Apply(e, 0)
		}
		if diff := cmp.Diff(contentOf(a), contentOf(b)); diff != "" {
			t.Fatal(diff)
		}
	})
}

// A message is what its events are, and one change of the version at most: each change has readers look everything up again.
func TestAMessageIsItsEventsAndOneChangeOfTheVersion(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		history := drawEvents(t)
		horizon := int64(rapid.IntRange(0, 60*bucketWidth).Draw(t, "horizon"))
		one, whole := New(), New()
		one.Forget(horizon, horizon)
		whole.Forget(horizon, horizon)
		var missed []uint64
		before := one.Version()
		for _, e := range history {
			if one.Apply(e, 0) {
				missed = append(missed, e.Seq)
			}
		}
		changes := min(1, one.Version()-before)
		for range 2 { // the second time nothing changes
			before = whole.Version()
			got := whole.ApplyAll(history, func() int64 { return 0 })
			if diff := cmp.Diff(contentOf(one), contentOf(whole)) + cmp.Diff(missed, got); diff != "" {
				t.Fatal(diff)
			}
			if n := whole.Version() - before; n != changes {
				t.Fatalf("%d changes of the version, want %d", n, changes)
			}
			changes = 0
		}
	})
}

func TestRepetitionKeepsTheVersion(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		history := drawEvents(t)
		set := New()
		for _, e := range history {
			set.Apply(e, 0)
		}
		before := set.Version()
		for _, e := range shuffledWithRepeats(t, history) {
			set.Apply(e, 0)
		}
		if set.Version() != before {
			t.Fatal("a repetition changed the version")
		}
	})
}

// A credential that lives on after the horizon is judged as if nothing had ever been forgotten, whatever arrives late.
func TestForgettingNeverFreesALivingCredential(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		history := drawEvents(t)
		set := New()
		horizon := int64(0)
		for _, e := range shuffledWithRepeats(t, history) {
			set.Apply(e, 0)
			if rapid.IntRange(0, 4).Draw(t, "forget") == 0 {
				signed := horizon + int64(rapid.IntRange(0, 60*bucketWidth).Draw(t, "passes"))
				set.Forget(signed+int64(rapid.IntRange(0, 50*bucketWidth).Draw(t, "own clock")), signed)
				horizon = signed
			}
		}
		whole := model(history)
		var relevant model
		for _, e := range history {
			if p, ok := e.Payload.(events.TokenRevoked); e.Until > horizon || ok && p.Before > 0 {
				relevant = append(relevant, e)
			}
		}
		for range 10 {
			c := drawCredential(t)
			// A suspension that a later resumption overrode stays overridden when only the resumption's until has passed,
			// so the whole history has a say.
			if relevant.token(c).Revoked && whole.token(c).Revoked && !set.Token(c).Revoked {
				t.Fatalf("forgot what kills %+v", c)
			}
			k := drawKey(t)
			if relevant.key(k).Revoked && whole.key(k).Revoked && k.KV == 0 && !set.Key(k).Revoked {
				t.Fatalf("forgot what kills %+v", k)
			}
		}
	})
}

func TestForgetNeedsBothClocks(t *testing.T) {
	id := poolID(1)
	const due = 100 * bucketWidth
	revoked := events.Event{Seq: 1, At: 10, Until: due, Payload: events.TokenRevoked{JTI: id.String()}}
	for _, c := range []struct {
		name          string
		clock, signed int64
		gone          bool
	}{
		{"own clock runs ahead", 10 * due, due - 1, false},
		{"signed time alone", due - 1, 10 * due, false},
		{"both reach until", due, due, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			set := New()
			set.Apply(revoked, 0)
			set.Forget(c.clock, c.signed)
			if gone := set.Len() == 0; gone != c.gone {
				t.Fatalf("gone %v, want %v", gone, c.gone)
			}
			set.Apply(revoked, 0)
			if stored := set.Len() == 1; stored == c.gone {
				t.Fatalf("stored again: %v", stored)
			}
		})
	}
}

// Tokens that an event past until would kill have expired, but resolutions of API keys may be younger than they seem, when
// the issuer's clock was set back: whoever holds some has to be told.
func TestApplyTellsWhatItDoesNotKeepOfAPIKeys(t *testing.T) {
	id := poolID(1).String()
	yes, end := true, int64(5)
	for _, c := range []struct {
		name    string
		payload events.Payload
		want    bool
	}{
		{"token", events.TokenRevoked{JTI: id}, false},
		{"session", events.TokenRevoked{SessionID: id}, false},
		{"user's tokens", events.TokenRevoked{UserID: id, TV: 5}, false},
		{"user's keys", events.TokenRevoked{UserID: id, TV: 5, Keys: true}, true},
		{"watermark, which is kept", events.TokenRevoked{Before: 5, Keys: true}, false},
		{"roles", events.RoleChanged{UserID: id, RV: 5}, true},
		{"end of a key", events.APIKeyRotated{KeyID: id, NotAfter: &end}, true},
		{"suspension", events.APIKeyRotated{KeyID: id, Suspended: &yes, KV: 5}, true},
		{"key set", events.KeysChanged{}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			set, e := New(), events.Event{Seq: 1, At: 10, Until: 100, Payload: c.payload}
			if set.Apply(e, 0) {
				t.Error("not kept, though its until is ahead")
			}
			set.Forget(100, 100)
			if got := set.Apply(e, 0); got != c.want {
				t.Errorf("told %v", got)
			}
		})
	}
}

func TestLaterUntilKeepsAnEntry(t *testing.T) {
	id := poolID(1).String()
	set := New()
	set.Apply(events.Event{Seq: 1, At: 10, Until: 300 * bucketWidth, Payload: events.TokenRevoked{UserID: id, TV: 5}}, 0)
	set.Apply(events.Event{Seq: 2, At: 10, Until: 100 * bucketWidth, Payload: events.TokenRevoked{UserID: id, TV: 4}}, 0)
	set.Forget(200*bucketWidth, 200*bucketWidth)
	if !set.Token(Credential{Subject: poolID(1), TV: 4}).Revoked {
		t.Fatal("forgotten before its last until")
	}
	set.Forget(300*bucketWidth, 300*bucketWidth)
	if set.Len() != 0 {
		t.Fatal("kept beyond until")
	}
}

func TestIDThatTellsNoTimeIsOlderThanAnyWatermark(t *testing.T) {
	set := New()
	odd := events.ID{6: 0x40, 8: 0x80, 15: 1}
	if set.Token(Credential{JTI: odd}).Revoked {
		t.Fatal("dead without a watermark")
	}
	set.Apply(events.Event{Seq: 1, At: 1, Until: 2, Payload: events.TokenRevoked{Before: 1}}, 0)
	if !set.Token(Credential{JTI: odd}).Revoked {
		t.Fatal("passed a watermark without telling its time")
	}
}

// The contract of the package doc under real parallelism: a reader stamps before it looks, and while the stamp holds
// after an Apply has returned (the "proof"), the verdict must include that Apply.
func TestStampedMissNeverOutlivesAnAppliedEvent(t *testing.T) {
	for range 200 {
		set := New()
		id := poolID(rand.IntN(poolSize))
		var applied atomic.Bool
		var wg sync.WaitGroup
		for range 2 { // two writers of the same event: the second must not return before the first's version
			wg.Go(func() {
				set.Apply(events.Event{Seq: 1, At: 1, Until: 9, Payload: events.TokenRevoked{JTI: id.String()}}, 0)
				applied.Store(true)
			})
		}
		for range 2 {
			wg.Go(func() {
				stamp := set.Version()
				missed := !set.Token(Credential{JTI: id}).Revoked
				for range 1000 {
					proven := applied.Load()
					if proven && missed && set.Version() == stamp {
						t.Error("a stamped miss was trusted after the event had been applied")
					}
					if proven {
						return
					}
				}
			})
		}
		wg.Wait()
	}
}

func TestLookUpsDoNotAllocate(t *testing.T) {
	set := New()
	for i := range poolSize {
		id := poolID(i).String()
		set.Apply(events.Event{Seq: 1, At: 1, Until: 9, Payload: events.RoleChanged{UserID: id, RV: 1, Roles: []string{"user"}}}, 0)
	}
	c := Credential{JTI: poolID(1), SessionID: poolID(2), Subject: poolID(3), KeyID: poolID(4)}
	k := Key{ID: poolID(1), Owner: poolID(2)}
	got := testing.AllocsPerRun(100, func() {
		set.Version()
		set.Token(c)
		set.Key(k)
		set.User(c.Subject)
	})
	if got != 0 {
		t.Fatalf("%v allocations", got)
	}
}

func BenchmarkToken(b *testing.B) {
	set := New()
	for i := range 100_000 {
		id := randomID()
		set.Apply(events.Event{Seq: uint64(i + 1), At: 1, Until: 9, Payload: events.TokenRevoked{SessionID: id.String()}}, 0)
	}
	c := Credential{JTI: randomID(), SessionID: randomID(), Subject: randomID(), TV: 1}
	b.ReportAllocs()
	for b.Loop() {
		set.Token(c)
	}
}

func randomID() events.ID {
	id := poolID(0)
	for i := 9; i < len(id); i++ {
		id[i] = byte(rand.Uint32())
	}
	return id
}
