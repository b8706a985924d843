package elite

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"testing"

	"go.uber.org/goleak"

	"github.com/tocsin-auth/tocsin/authsvc/internal/feed"
	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/authsvc/internal/store/storetest"
	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/test/pgtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(pgtest.Main{M: m}) }

const issuer = "https://auth.example.com"

// ring is one feed key.
type ring struct{ signer *events.Signer }

func (r ring) FeedSigner() *events.Signer { return r.signer }

var feedKey = ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))

func testRing() ring { return ring{signer: events.NewSigner(issuer, feedKey)} }

func feedKeys() events.KeySet {
	public := feedKey.Public().(ed25519.PublicKey)
	return events.KeySet{Issuer: issuer, Keys: map[string]ed25519.PublicKey{events.Thumbprint(public): public}}
}

// pages gives one page of one epoch.
type pages struct{}

const testEpoch = "01890000-0000-7000-8000-000000000001"

func (p pages) Compact(ctx context.Context, epoch string, from uint64) (feed.Message, error) {
	return p.Page(ctx, epoch, from)
}

func (pages) Page(_ context.Context, epoch string, from uint64) (feed.Message, error) {
	switch {
	case epoch != testEpoch:
		return feed.Message{}, feed.ErrGone
	case from > 10:
		return feed.Message{}, feed.ErrBusy
	case from == 9:
		return feed.Message{}, errors.New("database is away")
	}
	signer := testRing().signer
	return feed.Message{Body: []byte("page"), Key: signer.KeyID(), Signature: signer.Sign(events.KindFeed, []byte("page"))}, nil
}

// world is a database with a user who has a session, a key, and a token of both.
type world struct {
	db      *store.DB
	clock   *storetest.Clock
	kid     string // of the key that signs tokens
	feedKID string // of one that doesn't
	user    store.User
	session store.Session
	key     store.APIKey
	jti     string
}

func newWorld(t testing.TB, engine store.Engine) *world {
	t.Helper()
	clock := new(storetest.Clock)
	w := &world{clock: clock, db: storetest.Open(t, storetest.URL(t, engine), clock.Option())}
	return w.another(t)
}

// another returns a world of its own in the same database: users, credentials and signing keys are new.
func (w *world) another(t testing.TB) *world {
	t.Helper()
	n := &world{db: w.db, clock: w.clock, kid: thumbprint(), feedKID: thumbprint()}
	n.user = storetest.AddUser(t, n.db, events.NewNonce(), "user", "editor")
	n.session = storetest.AddSession(t, n.db, n.user)
	n.key = storetest.AddKey(t, n.db, n.user, "key")
	n.update(t, func(ctx context.Context, tx *store.Tx) error {
		n.jti = tx.NewID()
		for id, purpose := range map[string]store.Purpose{n.kid: store.PurposeToken, n.feedKID: store.PurposeFeed} {
			if err := tx.InsertSigningKey(ctx, store.SigningKey{KID: id, Purpose: purpose, Alg: "EdDSA",
				PublicJWK: `{"kty":"OKP","kid":"` + id + `"}`, Sealed: []byte("x"), CreatedAt: tx.Now(), ActiveAt: tx.Now()}); err != nil {
				return err
			}
		}
		return nil
	})
	return n
}

// thumbprint draws what looks like a kid.
func thumbprint() string {
	sum := sha256.Sum256([]byte(events.NewNonce()))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func (w *world) update(t testing.TB, change func(ctx context.Context, tx *store.Tx) error) {
	t.Helper()
	if err := w.db.Update(t.Context(), func(tx *store.Tx) error { return change(t.Context(), tx) }); err != nil {
		t.Fatal(err)
	}
}

// token is the question for a token of the session.
func (w *world) token() events.CheckRequest {
	return events.CheckRequest{Kid: w.kid, JTI: w.jti, SessionID: w.session.ID, Subject: w.user.ID, TV: w.user.TV, Mode: events.ModeLive}
}

// keyToken is the question for a token that a key got for itself.
func (w *world) keyToken() events.CheckRequest {
	return events.CheckRequest{Kid: w.kid, JTI: w.jti, KeyID: w.key.ID, Subject: w.user.ID, TV: w.user.TV, Mode: events.ModeLive}
}

// derived is the question for a token of another user that was derived from these parents.
func (w *world) derived(t testing.TB, parents ...events.Parent) events.CheckRequest {
	t.Helper()
	service := storetest.AddUser(t, w.db, events.NewNonce(), "user")
	r := events.CheckRequest{Kid: w.kid, Subject: service.ID, TV: service.TV, Mode: events.ModeLive, Parents: parents}
	w.update(t, func(_ context.Context, tx *store.Tx) error { r.JTI = tx.NewID(); return nil })
	return r
}

// parent is the session's token as a parent.
func (w *world) parent() events.Parent {
	return events.Parent{JTI: w.jti, SessionID: w.session.ID, Subject: w.user.ID, TV: w.user.TV}
}

// keyParent is the key as a parent.
func (w *world) keyParent() events.Parent {
	return events.Parent{Subject: w.user.ID, TV: w.user.TV, KeyID: w.key.ID}
}

// keyQuestion is the question for the key itself.
func (w *world) keyQuestion() events.CheckRequest {
	hash := events.Hash(w.key.Hash)
	return events.CheckRequest{KeyHash: &hash}
}
