// Package keyring holds the keys that authsvc signs with and the secret that refresh tokens derive from. They live in
// the database, sealed under a master key, so that replicas share them and a replica's own disk holds none.
//
// The set of token keys is what verifiers trust: all rows of purpose token. Every change of it raises the key set
// version and announces keys.changed in the same transaction, and nothing of this package acts on a change that
// hasn't committed. Feed keys are keys of their own, always Ed25519.
package keyring

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/tocsin-auth/tocsin/authsvc/internal/seal"
	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/pkg/events"
)

const (
	// publishAhead is how long a new key is in the set before it signs, so that verifiers have it by then.
	publishAhead = time.Minute
	// DefaultFeedAhead is how long a new feed key is published before it signs, unless asked otherwise. Verifiers load the
	// feed keys every five minutes at the latest, so each has two chances.
	DefaultFeedAhead = 10 * time.Minute
	// feedRetireMargin is how much longer an old feed key stays than the stream needs it: for what is under way, and for
	// replicas that haven't heard yet that another one signs.
	feedRetireMargin = 30 * time.Second
	// retireMargin is how much longer an old key stays than the last token that it signed.
	retireMargin = time.Minute
)

// ErrMasterKey means that the database's keys are sealed under another master key than the given one, or that none was
// given.
var ErrMasterKey = errors.New("TOCSIN_SECRETS_KEY is not the master key of this database")

// refreshSecret names the HMAC secret of refresh tokens.
const refreshSecret = "refresh"

// Ring is the open keys. It is safe for concurrent use and owns no goroutine.
type Ring struct {
	db      *store.DB
	sealer  *seal.Sealer
	issuer  string
	alg     string
	log     *slog.Logger
	refresh []byte
	current atomic.Pointer[set]
	reading shared
}

// MasterKey returns the sealer of a database. given is the master key in text, or empty: then it is the one in file,
// which is made when the database holds no secrets yet. The error is [ErrMasterKey] when there should be a key and
// isn't; whether it is the right one shows in [Open].
func MasterKey(ctx context.Context, db *store.DB, given, file string) (*seal.Sealer, error) {
	if given == "" {
		var err error
		if given, err = masterKeyFile(ctx, db, file); err != nil {
			return nil, err
		}
	}
	return seal.New(given)
}

func masterKeyFile(ctx context.Context, db *store.DB, file string) (string, error) {
	key, err := seal.ReadFile(file)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	var sealed bool
	err = db.View(ctx, func(tx *store.Tx) (err error) {
		sealed, err = tx.HasSecrets(ctx)
		return err
	})
	if err != nil {
		return "", err
	}
	if sealed {
		return "", fmt.Errorf("%w: the database holds sealed keys, there is no %s, and no other key was given", ErrMasterKey, file)
	}
	return seal.CreateFile(file)
}

// Config is what a ring needs.
type Config struct {
	DB     *store.DB
	Sealer *seal.Sealer
	Issuer string
	Alg    string // of new token keys: EdDSA, ES256 or RS256
	Log    *slog.Logger
}

// Open makes what is missing and reads the rest. Where the newest token key is for another algorithm than the
// configured one, it rotates. The error is [ErrMasterKey] when the database's secrets can't be opened.
func Open(ctx context.Context, cfg Config) (*Ring, error) {
	r := &Ring{db: cfg.DB, sealer: cfg.Sealer, issuer: cfg.Issuer, alg: cfg.Alg, log: cfg.Log}
	if err := r.complete(ctx); err != nil {
		return nil, fmt.Errorf("signing keys: %w", err)
	}
	err := r.db.View(ctx, func(tx *store.Tx) error {
		_, err := r.load(ctx, tx)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("signing keys: %w", err)
	}
	return r, nil
}

// complete makes the refresh secret, a feed key and a token key unless they are there.
func (r *Ring) complete(ctx context.Context) error {
	token, err := r.newKey(store.PurposeToken, r.alg) // before the transaction: it takes its time for RSA
	if err != nil {
		return err
	}
	feed, err := r.newKey(store.PurposeFeed, EdDSA)
	if err != nil {
		return err
	}
	return r.db.Update(ctx, func(tx *store.Tx) error {
		missing, err := r.missing(ctx, tx)
		if err != nil || missing == (parts{}) {
			return err
		}
		// Another replica may be at the same. Whoever comes second sees here what the first has made.
		if _, err := tx.BumpKeySetVersion(ctx); err != nil {
			return err
		}
		if missing, err = r.missing(ctx, tx); err != nil {
			return err
		}
		return r.make(ctx, tx, missing, token, feed)
	})
}

// parts says which of a ring's parts are to be made.
type parts struct{ refresh, feed, token, alg bool }

// missing reads what is there, and opens all of it: a wrong master key must show before anything is made under it.
func (r *Ring) missing(ctx context.Context, tx *store.Tx) (parts, error) {
	var m parts
	sealed, err := tx.Secret(ctx, refreshSecret)
	switch {
	case errors.Is(err, store.ErrNotFound):
		m.refresh = true
	case err != nil:
		return m, err
	default:
		if r.refresh, err = r.sealer.Open(refreshSecret, sealed); err != nil {
			return m, wrongMaster(err)
		}
	}
	s, err := r.readSet(ctx, tx, 0)
	if err != nil {
		return m, err
	}
	m.feed = s.feed == nil
	m.token = len(s.tokens) == 0
	m.alg = !m.token && s.tokens[len(s.tokens)-1].Alg != r.alg
	return m, nil
}

func (r *Ring) make(ctx context.Context, tx *store.Tx, missing parts, token, feed store.SigningKey) error {
	now := tx.Now()
	if missing.refresh {
		secret := make([]byte, 32)
		rand.Read(secret)
		if err := tx.InsertSecret(ctx, refreshSecret, r.sealer.Seal(refreshSecret, secret)); err != nil {
			return err
		}
		r.refresh = secret
	}
	if missing.feed {
		feed.CreatedAt, feed.ActiveAt = now, now
		if err := tx.InsertSigningKey(ctx, feed); err != nil {
			return err
		}
	}
	switch {
	case missing.alg:
		r.log.InfoContext(ctx, "rotating the token key to the configured algorithm", "alg", r.alg)
		_, err := r.replace(ctx, tx, token, false)
		return err
	case missing.token:
		token.CreatedAt, token.ActiveAt = now, now
		if err := tx.InsertSigningKey(ctx, token); err != nil {
			return err
		}
		_, err := announce(ctx, tx)
		return err
	}
	return nil
}

// load returns the keys as a transaction sees them.
func (r *Ring) load(ctx context.Context, tx *store.Tx) (*set, error) {
	version, own, err := tx.KeySetVersion(ctx)
	if err != nil {
		return nil, err
	}
	cached := r.current.Load()
	if cached != nil && cached.version == version && !cached.outdated(tx.Now()) && !own {
		return cached, nil
	}
	s, err := r.readSet(ctx, tx, version)
	if err != nil || own { // what isn't committed yet is for this transaction only
		return s, err
	}
	for cached == nil || cached.version < version || cached.version == version && cached.outdated(tx.Now()) {
		if r.current.CompareAndSwap(cached, s) {
			break
		}
		cached = r.current.Load()
	}
	return s, nil
}

// TokenSigner returns the key that signs access tokens now.
func (r *Ring) TokenSigner(ctx context.Context, tx *store.Tx) (Key, error) {
	s, err := r.load(ctx, tx)
	if err != nil {
		return Key{}, err
	}
	return s.signer(tx.Now())
}

// TokenKey finds a key in the set; false for unknown and retired kids.
func (r *Ring) TokenKey(ctx context.Context, tx *store.Tx, kid string) (Key, bool, error) {
	s, err := r.load(ctx, tx)
	if err != nil {
		return Key{}, false, err
	}
	key, ok := s.byKID[kid]
	return key, ok, nil
}

// KnownTokenKey finds a key that was in the set when any method last asked the database. It isn't said that it still is.
func (r *Ring) KnownTokenKey(kid string) (Key, bool) {
	key, ok := r.current.Load().byKID[kid]
	return key, ok
}

// RefreshSecret returns the secret that successors of refresh tokens are derived under.
func (r *Ring) RefreshSecret() []byte { return r.refresh }

// Refresh takes in what other replicas have changed, and lets a new feed key sign whose time has come. FeedSigner and
// FeedKeys, which don't ask the database, are as old as the last call of this or of any method that does. Calls that wait at the
// same time share a reading, which begins after the last of them.
func (r *Ring) Refresh(ctx context.Context) error {
	return r.reading.do(ctx, func(ctx context.Context) error {
		_, err := r.now(ctx)
		return err
	})
}

// Restored is called for a database that was set back: every replica reads the keys again, for what it remembers of them is
// of a history that was lost.
func (r *Ring) Restored(ctx context.Context) error {
	return r.db.Update(ctx, func(tx *store.Tx) error {
		_, err := tx.BumpKeySetVersion(ctx)
		return err
	})
}

// FeedSigner returns the signer of all messages on the bus.
func (r *Ring) FeedSigner() *events.Signer { return r.current.Load().feed }

// FeedKeys returns the feed keys that messages on the bus may be signed with. It MUST NOT be changed.
func (r *Ring) FeedKeys() events.KeySet {
	return events.KeySet{Issuer: r.issuer, Keys: r.current.Load().feedKeys}
}

// JWKS returns the token keys in the set now, as a JWK set (RFC 7517).
func (r *Ring) JWKS(ctx context.Context) ([]byte, error) {
	s, err := r.now(ctx)
	if err != nil {
		return nil, err
	}
	return s.jwks, nil
}

// FeedJWKS returns the feed keys, as a JWK set.
func (r *Ring) FeedJWKS(ctx context.Context) ([]byte, error) {
	s, err := r.now(ctx)
	if err != nil {
		return nil, err
	}
	return s.feedJWKS, nil
}

func (r *Ring) now(ctx context.Context) (s *set, err error) {
	err = r.db.View(ctx, func(tx *store.Tx) error {
		s, err = r.load(ctx, tx)
		return err
	})
	return s, err
}
