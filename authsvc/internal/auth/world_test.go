package auth

import (
	"context"
	"crypto/ed25519"
	"errors"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/authsvc/internal/keyring"
	"github.com/tocsin-auth/tocsin/authsvc/internal/liveness"
	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/authsvc/internal/store/storetest"
	"github.com/tocsin-auth/tocsin/pkg/events"
)

const password = "correct horse battery"

// world is a domain on a fresh database, with an admin.
type world struct {
	*Service
	ring   *memoryRing
	bus    *memoryBus
	clock  *storetest.Clock
	nudges atomic.Int64
	used   usedKeys
}

// each runs a test on both engines.
func each(t *testing.T, test func(t *testing.T, w *world)) {
	storetest.EachURL(t, func(t *testing.T, url string) { test(t, newWorld(t, url)) })
}

func newWorld(t testing.TB, url string) *world {
	t.Helper()
	w := &world{ring: newMemoryRing(), bus: &memoryBus{}, clock: &storetest.Clock{}}
	db := storetest.Open(t, url, w.clock.Option())
	w.ring.store(t, db)
	service, err := New(Config{DB: db, Reads: gather(t, db), Ring: w.ring, Issuer: "http://auth.test",
		Audience: "tocsin", AccessTTL: 15 * time.Minute, RefreshTTL: 720 * time.Hour, RefreshIdle: 168 * time.Hour,
		PasswordMin: 12, Bus: w.bus, Nudge: func() { w.nudges.Add(1) }, Used: w.used.note, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	service.hasher = newHasher(cheap)
	w.Service = service
	created, err := w.Bootstrap(t.Context(), BootstrapRequest{Username: "root", Password: password})
	if err != nil || !created {
		t.Fatalf("bootstrap: %v %v", created, err)
	}
	return w
}

// gather starts what reads for the domain.
func gather(t testing.TB, db *store.DB) *liveness.Gatherer {
	t.Helper()
	g := liveness.NewGatherer(db, liveness.DefaultShares)
	g.Patience = time.Hour
	t.Cleanup(func() {
		if err := g.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return g
}

func (w *world) register(t testing.TB, username string) Registered {
	t.Helper()
	r, err := w.Register(t.Context(), Registration{Username: username, Password: password}, Client{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (w *world) login(t testing.TB, username string) Tokens {
	t.Helper()
	tokens, err := w.Login(t.Context(), Login{Username: username, Password: password}, Client{IP: "192.0.2.1", UserAgent: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return tokens
}

func (w *world) caller(t testing.TB, token string) Caller {
	t.Helper()
	c, err := w.AuthenticateBearer(t.Context(), token, Client{IP: "192.0.2.1"})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// as logs in and returns the caller.
func (w *world) as(t testing.TB, username string) Caller {
	t.Helper()
	return w.caller(t, w.login(t, username).AccessToken)
}

// registerAdmin makes another admin.
func (w *world) registerAdmin(t testing.TB, root Caller, username string) User {
	t.Helper()
	r := w.register(t, username)
	user, _, err := w.SetRoles(t.Context(), root, r.User.ID, []string{RoleAdmin})
	if err != nil {
		t.Fatal(err)
	}
	return user
}

func (w *world) update(t testing.TB, fn func(tx *store.Tx) error) {
	t.Helper()
	if err := w.db.Update(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
}

func (w *world) event(t testing.TB, id string) store.Event {
	t.Helper()
	var e store.Event
	w.update(t, func(tx *store.Tx) (err error) {
		e, err = tx.Event(t.Context(), id)
		return err
	})
	return e
}

// newestAudit returns the newest row about a target.
func (w *world) newestAudit(t testing.TB, action string) store.AuditEntry {
	t.Helper()
	var rows []store.AuditEntry
	w.update(t, func(tx *store.Tx) (err error) {
		rows, err = tx.Audit(t.Context(), "", 100)
		return err
	})
	for _, row := range rows {
		if row.Action == action {
			return row
		}
	}
	t.Fatalf("no audit row %s among %d", action, len(rows))
	return store.AuditEntry{}
}

func wantError(t testing.TB, err error, want *Error, field string) {
	t.Helper()
	var got *Error
	if !errors.As(err, &got) || got.Code != want.Code || got.Field != field {
		t.Fatalf("got %v, want %s of field %q", err, want.Code, field)
	}
}

// memoryRing is a key ring that knows nothing of other replicas.
type memoryRing struct {
	mu      sync.Mutex
	keys    []TokenKey
	secret  []byte
	made    int
	changed events.Hash
	making  func() // called by NewKey; may be nil
	waits   error  // of RotateFeed
}

func newMemoryRing() *memoryRing {
	r := &memoryRing{secret: []byte("a secret of thirty-two bytes ....")}
	r.add()
	return r
}

func (r *memoryRing) add() string {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		panic(err)
	}
	r.made++
	kid := "kid-" + strconv.Itoa(r.made)
	r.keys = append(r.keys, TokenKey{KID: kid, Alg: "EdDSA", Public: public, Private: private})
	return kid
}

// store puts the first key into the set that the database knows.
func (r *memoryRing) store(t testing.TB, db *store.DB) {
	t.Helper()
	if err := db.Update(t.Context(), func(tx *store.Tx) error { return r.insert(t.Context(), tx, r.keys[0].KID) }); err != nil {
		t.Fatal(err)
	}
}

func (r *memoryRing) insert(ctx context.Context, tx *store.Tx, kid string) error {
	return tx.InsertSigningKey(ctx, store.SigningKey{KID: kid, Purpose: store.PurposeToken, Alg: "EdDSA", PublicJWK: "{}", Sealed: []byte("x"),
		CreatedAt: tx.Now(), ActiveAt: tx.Now()})
}

func (r *memoryRing) TokenSigner(context.Context, *store.Tx) (TokenKey, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.keys[len(r.keys)-1], nil
}

func (r *memoryRing) TokenKey(_ context.Context, _ *store.Tx, kid string) (TokenKey, bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, key := range r.keys {
		if key.KID == kid {
			return key, true, nil
		}
	}
	return TokenKey{}, false, nil
}

func (r *memoryRing) KnownTokenKey(kid string) (TokenKey, bool) {
	key, ok, _ := r.TokenKey(context.Background(), nil, kid)
	return key, ok
}

func (r *memoryRing) Refresh(context.Context) error { return nil }

func (r *memoryRing) RefreshSecret() []byte { return r.secret }

func (r *memoryRing) NewKey() (keyring.NewKey, error) {
	if r.making != nil {
		r.making()
	}
	return keyring.NewKey{}, nil
}

func (r *memoryRing) Rotate(ctx context.Context, tx *store.Tx, _ keyring.NewKey, emergency bool) (string, []string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, key := range r.keys {
		if emergency {
			if err := tx.RetireSigningKey(ctx, key.KID); err != nil {
				return "", nil, err
			}
		}
	}
	if emergency {
		r.keys = nil
	}
	kid := r.add()
	if err := r.insert(ctx, tx, kid); err != nil {
		return "", nil, err
	}
	r.changed[0]++
	id, err := tx.InsertEvent(ctx, store.NewEvent{Payload: events.KeysChanged{Hash: r.changed}, Target: targetKeySet, Actor: actorSystem})
	return kid, []string{id}, err
}

func (r *memoryRing) NewFeedKey() (keyring.NewFeedKey, error) { return keyring.NewFeedKey{}, nil }

func (r *memoryRing) RotateFeed(_ context.Context, tx *store.Tx, _ keyring.NewFeedKey, ahead time.Duration, _ bool) (int64, error) {
	return tx.Now() + ahead.Microseconds(), r.waits
}

// memoryBus remembers whom it admits.
type memoryBus struct {
	mu      sync.Mutex
	members []string
}

func (b *memoryBus) NewMember(name string) (nkey, seed string, err error) {
	return "U" + name, "S" + name, nil
}

func (b *memoryBus) Configuration(name, _ string) (string, error) { return "account " + name, nil }

func (b *memoryBus) Sync(_ context.Context, members []store.Service) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.members = nil
	for _, m := range members {
		b.members = append(b.members, m.Name)
	}
	return nil
}
