package keyring_test

import (
	"encoding/json"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/authsvc/internal/keyring"
	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/authsvc/internal/store/storetest"
	"github.com/tocsin-auth/tocsin/pkg/events"
)

// replicas are two rings on one database, by one clock.
type replicas struct {
	*testing.T
	clock *storetest.Clock
	db    [2]*store.DB
	ring  [2]*keyring.Ring
	lease store.Lease
}

func eachReplicas(t *testing.T, test func(r *replicas)) {
	storetest.EachURL(t, func(t *testing.T, url string) {
		r := &replicas{T: t, clock: new(storetest.Clock)}
		for i := range r.db {
			r.db[i] = storetest.Open(t, url, r.clock.Option())
			r.ring[i] = open(t, r.db[i])
		}
		var err error
		r.lease, err = r.db[0].AcquireFeed(t.Context(), store.LeaseRequest{Holder: "a", Issuer: issuer, Life: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		test(r)
	})
}

func (r *replicas) rotate(i int, ahead time.Duration, emergency bool) (kid string, err error) {
	r.Helper()
	key, err := r.ring[i].NewFeedKey()
	if err != nil {
		r.Fatal(err)
	}
	err = r.db[i].Update(r.Context(), func(tx *store.Tx) error {
		_, err := r.ring[i].RotateFeed(r.Context(), tx, key, ahead, emergency)
		return err
	})
	return key.KID(), err
}

func (r *replicas) mustRotate(i int, ahead time.Duration, emergency bool) string {
	r.Helper()
	kid, err := r.rotate(i, ahead, emergency)
	if err != nil {
		r.Fatal(err)
	}
	return kid
}

// streamReadable records what the dispatcher does when it has stored everything under a key.
func (r *replicas) streamReadable(kid string) {
	r.Helper()
	n, err := r.db[0].NumberEvents(r.Context(), store.NumberRequest{Term: r.lease.Term, At: r.lease.FeedPosition, Life: time.Hour, StreamKey: kid})
	if err != nil {
		r.Fatal(err)
	}
	r.lease.FeedPosition = n.FeedPosition
}

// want checks what both replicas sign with, believe and publish.
func (r *replicas) want(signs string, kids ...string) {
	r.Helper()
	slices.Sort(kids)
	for i, ring := range r.ring {
		if err := ring.Refresh(r.Context()); err != nil {
			r.Fatal(err)
		}
		if got := ring.FeedSigner().KeyID(); got != signs {
			r.Fatalf("replica %d signs with %s, want %s", i, got, signs)
		}
		raw, err := ring.FeedJWKS(r.Context())
		if err != nil {
			r.Fatal(err)
		}
		var set struct{ Keys []map[string]string }
		if err := json.Unmarshal(raw, &set); err != nil {
			r.Fatal(err)
		}
		var published []string
		for _, key := range set.Keys {
			published = append(published, key["kid"])
		}
		slices.Sort(published)
		if !slices.Equal(published, kids) || len(ring.FeedKeys().Keys) != len(kids) {
			r.Fatalf("replica %d publishes %v, want %v", i, published, kids)
		}
	}
}

func (r *replicas) retire(i int) {
	r.Helper()
	if err := r.ring[i].RetireFeedKeys(r.Context()); err != nil {
		r.Fatal(err)
	}
}

func TestAFeedKeyIsPublishedBeforeItSignsAndLeavesOnceTheStreamNeedsItNoMore(t *testing.T) {
	eachReplicas(t, func(r *replicas) {
		first := r.ring[0].FeedSigner().KeyID()
		r.streamReadable(first)
		r.want(first, first)
		second := r.mustRotate(0, 10*time.Minute, false)
		r.want(first, first, second)
		if _, err := r.rotate(1, 0, false); !errors.Is(err, keyring.ErrFeedKeyWaits) {
			r.Fatalf("a second one while the first waits: %v", err)
		}
		r.clock.Advance(9 * time.Minute)
		r.want(first, first, second)
		r.clock.Advance(time.Minute)
		r.want(second, first, second)

		r.clock.Advance(24 * time.Hour) // however long the stream takes
		r.retire(0)
		r.want(second, first, second)
		r.streamReadable(second)
		r.retire(1)
		r.want(second, first, second)
		r.retire(0)
		r.want(second, first, second)
		r.clock.Advance(30 * time.Second)
		r.retire(0)
		r.retire(1)
		r.want(second, second)
		if err := r.ring[1].FeedKeys().Verify(events.KindFeed, first, "", nil); !errors.Is(err, events.ErrUnknownKey) {
			r.Errorf("the retired kid: %v", err)
		}
	})
}

func TestAnEmergencyDropsEveryOtherFeedKeyAtOnce(t *testing.T) {
	eachReplicas(t, func(r *replicas) {
		first := r.ring[0].FeedSigner().KeyID()
		r.streamReadable(first)
		r.mustRotate(0, time.Hour, false)
		last := r.mustRotate(1, 0, true)
		r.want(last, last)
		r.retire(0) // the stream's key isn't there any more: nothing to do, and nothing is dropped
		r.want(last, last)
		r.streamReadable(last)
		r.retire(0)
		r.want(last, last)
	})
}

// Rotations that overlap retire each key in its turn: never one that the stream still needs.
func TestAFeedKeyThatTheStreamIsReadWithStays(t *testing.T) {
	eachReplicas(t, func(r *replicas) {
		first := r.ring[0].FeedSigner().KeyID()
		r.streamReadable(first)
		second := r.mustRotate(0, 0, false)
		r.clock.Advance(time.Millisecond)
		third := r.mustRotate(0, 0, false)
		r.want(third, first, second, third)
		r.streamReadable(second)
		for range 2 {
			r.retire(0)
			r.clock.Advance(time.Minute)
		}
		r.want(third, second, third)
		r.streamReadable(third)
		for range 2 {
			r.retire(1)
			r.clock.Advance(time.Minute)
		}
		r.want(third, third)
	})
}
