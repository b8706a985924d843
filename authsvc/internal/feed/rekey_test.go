package feed_test

import (
	"crypto/ed25519"
	"log/slog"
	"testing"

	"github.com/tocsin-auth/tocsin/authsvc/internal/feed"
	"github.com/tocsin-auth/tocsin/pkg/events"
)

var (
	newFeedKey = ed25519.NewKeyFromSeed([]byte("another key of thirty-two bytes!"))
	newSigner  = events.NewSigner(issuer, newFeedKey)
	newKeySet  = events.KeySet{Issuer: issuer, Keys: map[string]ed25519.PublicKey{newSigner.KeyID(): newFeedKey.Public().(ed25519.PublicKey)}}
)

// ring is a signer that can be replaced.
type ring struct{ now *events.Signer }

func (r *ring) signer() *events.Signer { return r.now }

func (w *world) signing(r *ring, name string) candidate {
	c := w.candidate()
	c.Dispatcher = c.Process.Dispatcher(feed.DispatcherConfig{Signer: r.signer, Issuer: issuer, Instance: name,
		Log: slog.New(slog.DiscardHandler)})
	return c
}

// readable checks that who has the new key alone can read the stream from floor to a seq.
func (w *world) readable(to uint64) {
	w.Helper()
	standing, err := w.journal.FeedStanding(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	seen := map[uint64]bool{}
	for _, m := range w.bus.Stream {
		if newKeySet.Verify(events.KindFeed, m.Key, m.Signature, m.Body) != nil {
			continue
		}
		b, err := events.DecodeBatch(m.Body)
		if err != nil {
			w.Fatal(err)
		}
		for _, e := range b.Events {
			seen[e.Seq] = seen[e.Seq] || b.Epoch == standing.Epoch
		}
	}
	for seq := standing.Floor; seq <= to; seq++ {
		if !seen[seq] {
			w.Fatalf("seq %d of %d can't be read with the new key", seq, to)
		}
	}
}

func (w *world) streamKey() string {
	standing, err := w.journal.FeedStanding(w.Context())
	if err != nil {
		return ""
	}
	return standing.StreamKey
}

func TestANewFeedKeySignsTheStreamAgainFromTheFloor(t *testing.T) {
	w, keys := newWorld(t), &ring{signer}
	c := w.signing(keys, "a")
	w.mustStep(c)
	w.commit("rrcrr")
	w.mustStep(c)
	w.settle(c)
	if w.streamKey() != signer.KeyID() {
		t.Fatalf("the stream is said to be readable with %q", w.streamKey())
	}
	stored := len(w.bus.Stream)
	keys.now = newSigner
	w.bus.OnLive = func(feed.Message) {} // the verifier of these tests has the old key only
	if err := c.Pump(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.bus.Settle()
	if w.streamKey() != signer.KeyID() {
		t.Fatal("the old key may leave before the journal knows that the stream can be read without it")
	}
	w.settleAs(c)
	w.readable(5)
	if again := len(w.bus.Stream) - stored; w.streamKey() != newSigner.KeyID() || again != 3 || c.Stats().Repairs != 0 {
		t.Errorf("readable with %q, %d messages sent again, %d repairs", w.streamKey(), again, c.Stats().Repairs)
	}
	w.commit("cr")
	w.settleAs(c)
	w.readable(7)
	if again := len(w.bus.Stream) - stored; again != 5 {
		t.Errorf("%d messages since the rotation, want 5: it is over", again)
	}
}

// settleAs is settle where nobody reads the answers.
func (w *world) settleAs(c candidate) {
	w.Helper()
	for range 10 {
		if err := c.Step(w.Context(), nil); err != nil {
			w.Fatal(err)
		}
		w.bus.Settle()
		if err := c.Pump(w.Context()); err != nil {
			w.Fatal(err)
		}
		w.clock.Advance(feedRetry)
	}
}

func TestANewFeedKeyOfAnEmptyFeedNeedsNoStream(t *testing.T) {
	w, keys := newWorld(t), &ring{signer}
	c := w.signing(keys, "a")
	w.mustStep(c)
	keys.now = newSigner
	w.settleAs(c)
	if w.streamKey() != newSigner.KeyID() {
		t.Errorf("readable with %q", w.streamKey())
	}
}

// Whatever has crashed, the journal never says too early that the old key isn't needed, and the next term goes on.
func TestACrashDuringARotationOfFeedKeysIsFinishedByTheNextTerm(t *testing.T) {
	for left, crashed := 0, true; crashed; left++ {
		w, keys := newWorld(t), &ring{signer}
		w.bus.OnLive = func(feed.Message) {}
		first := w.signing(keys, "a")
		w.commit("rcrcr")
		w.settleAs(first)
		keys.now = newSigner
		w.commit("cr")
		first.Left = left
		crashed = false
		for range 6 {
			crashed = first.Step(t.Context(), nil) != nil || crashed
			w.bus.Settle()
			crashed = first.Pump(t.Context()) != nil || crashed
			if w.streamKey() == newSigner.KeyID() {
				w.readable(5)
			}
			w.clock.Advance(feedRetry)
		}
		w.clock.Advance(2 * feedRetry * 8)
		w.settleAs(w.signing(keys, "b"))
		w.readable(7)
		if w.streamKey() != newSigner.KeyID() {
			t.Fatalf("after a crash at step %d the stream is said to be readable with %q", left, w.streamKey())
		}
		if left > 200 {
			t.Fatal("it never gets through")
		}
	}
}

// A second rotation before the first has been stored begins again, so that neither old key is missed.
func TestARotationDuringARotationSendsAllAgain(t *testing.T) {
	w, keys := newWorld(t), &ring{signer}
	w.bus.OnLive = func(feed.Message) {}
	c := w.signing(keys, "a")
	w.commit("rcr")
	w.settleAs(c)
	keys.now = events.NewSigner(issuer, ed25519.NewKeyFromSeed([]byte("a key that others have come by!!")))
	if err := c.Pump(t.Context()); err != nil {
		t.Fatal(err)
	}
	keys.now = newSigner
	w.settleAs(c)
	w.readable(3)
	if w.streamKey() != newSigner.KeyID() {
		t.Errorf("readable with %q", w.streamKey())
	}
}
