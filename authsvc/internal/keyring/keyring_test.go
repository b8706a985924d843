package keyring_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tocsin-auth/tocsin/authsvc/internal/keyring"
	"github.com/tocsin-auth/tocsin/authsvc/internal/seal"
	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/authsvc/internal/store/storetest"
	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/test/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Run(m)) }

const issuer = "https://auth.example.com"

var masterKey = seal.NewKey()

func config(t *testing.T, db *store.DB, key, alg string) keyring.Config {
	t.Helper()
	sealer, err := seal.New(key)
	if err != nil {
		t.Fatal(err)
	}
	return keyring.Config{DB: db, Sealer: sealer, Issuer: issuer, Alg: alg, Log: slog.New(slog.DiscardHandler)}
}

func open(t *testing.T, db *store.DB) *keyring.Ring {
	t.Helper()
	ring, err := keyring.Open(t.Context(), config(t, db, masterKey, keyring.EdDSA))
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

// signer returns the kid of the key that signs now.
func signer(t *testing.T, db *store.DB, ring *keyring.Ring) (kid string) {
	t.Helper()
	err := db.View(t.Context(), func(tx *store.Tx) error {
		key, err := ring.TokenSigner(t.Context(), tx)
		kid = key.KID
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return kid
}

// kids returns those of the published set, sorted.
func kids(t *testing.T, ring *keyring.Ring) (all []string) {
	t.Helper()
	raw, err := ring.JWKS(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var set struct{ Keys []map[string]string }
	if err := json.Unmarshal(raw, &set); err != nil {
		t.Fatal(err)
	}
	for _, key := range set.Keys {
		all = append(all, key["kid"])
	}
	slices.Sort(all)
	return all
}

func newKey(t *testing.T, ring *keyring.Ring) keyring.NewKey {
	t.Helper()
	key, err := ring.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func rotate(t *testing.T, db *store.DB, ring *keyring.Ring, emergency bool) (kid string) {
	t.Helper()
	key := newKey(t, ring)
	err := db.Update(t.Context(), func(tx *store.Tx) (err error) {
		kid, _, err = ring.Rotate(t.Context(), tx, key, emergency)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return kid
}

// announced returns the key set hash of the newest keys.changed event, and how many there are.
func announced(t *testing.T, db *store.DB) (hash events.Hash) {
	t.Helper()
	err := db.View(t.Context(), func(tx *store.Tx) error {
		e, err := tx.LiveEvent(t.Context(), "keys", events.TypeKeysChanged)
		if err != nil {
			return err
		}
		var p events.KeysChanged
		err = json.Unmarshal(e.Payload, &p)
		hash = p.Hash
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return hash
}

func wantSet(t *testing.T, db *store.DB, ring *keyring.Ring, want ...string) {
	t.Helper()
	slices.Sort(want)
	if got := kids(t, ring); !slices.Equal(got, want) {
		t.Fatalf("the set is %v, want %v", got, want)
	}
	if announced(t, db) != events.KeySetHash(want) {
		t.Fatal("another set was announced")
	}
}

// The old key stays for the life of what it signed: access tokens, and job grants, which live for a day.
func TestRotationPublishesAheadAndRetains(t *testing.T) {
	for _, ttl := range []time.Duration{15 * time.Minute, 48 * time.Hour} {
		storetest.EachURL(t, func(t *testing.T, url string) { rotationRetains(t, url, ttl, max(ttl, store.MaxGrantLife)) })
	}
}

func rotationRetains(t *testing.T, url string, ttl, life time.Duration) {
	t.Helper()
	var clock storetest.Clock
	db := storetest.Open(t, url, clock.Option())
	if err := db.Update(t.Context(), func(tx *store.Tx) error { return tx.RaiseAccessTTL(t.Context(), ttl) }); err != nil {
		t.Fatal(err)
	}
	ring := open(t, db)
	first := signer(t, db, ring)
	wantSet(t, db, ring, first)

	second := rotate(t, db, ring, false)
	wantSet(t, db, ring, first, second)
	if signer(t, db, ring) != first {
		t.Fatal("the new key signs before verifiers can have it")
	}
	clock.Advance(time.Minute)
	if signer(t, db, ring) != second {
		t.Fatal("the new key doesn't sign")
	}
	retire := func(want bool) {
		t.Helper()
		if got, err := ring.RetireDue(t.Context()); got != want || err != nil {
			t.Fatalf("retired: %v, %v", got, err)
		}
	}
	clock.Advance(life + 30*time.Second)
	retire(false)
	wantSet(t, db, ring, first, second)
	clock.Advance(31 * time.Second)
	retire(true)
	wantSet(t, db, ring, second)
	retire(false)
}

func TestEmergencyRotationDropsTheOldKeysAtOnce(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ring := open(t, db)
		first := signer(t, db, ring)
		rotate(t, db, ring, false)
		last := rotate(t, db, ring, true)
		wantSet(t, db, ring, last)
		if signer(t, db, ring) != last {
			t.Fatal("the new key doesn't sign")
		}
		err := db.View(t.Context(), func(tx *store.Tx) error {
			if _, found, err := ring.TokenKey(t.Context(), tx, first); found || err != nil {
				t.Errorf("the old key is still there: %v, %v", found, err)
			}
			key, found, err := ring.TokenKey(t.Context(), tx, last)
			if !found || key.KID != last {
				t.Error("the new key isn't there")
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}

func TestReplicasShareKeysAndSeeEachOthersRotation(t *testing.T) {
	storetest.EachURL(t, func(t *testing.T, url string) {
		rings := make([]*keyring.Ring, 4)
		dbs := make([]*store.DB, len(rings))
		var group errgroup.Group
		for i := range rings {
			dbs[i] = storetest.Open(t, url)
			group.Go(func() (err error) {
				rings[i], err = keyring.Open(t.Context(), config(t, dbs[i], masterKey, keyring.EdDSA))
				return err
			})
		}
		if err := group.Wait(); err != nil {
			t.Fatal(err)
		}
		same := func() {
			t.Helper()
			for i, ring := range rings {
				if signer(t, dbs[i], ring) != signer(t, dbs[0], rings[0]) || !slices.Equal(kids(t, ring), kids(t, rings[0])) ||
					!bytes.Equal(ring.RefreshSecret(), rings[0].RefreshSecret()) || ring.FeedSigner().KeyID() != rings[0].FeedSigner().KeyID() {
					t.Fatalf("ring %d differs", i)
				}
			}
		}
		same()
		if len(rings[0].RefreshSecret()) != 32 || len(kids(t, rings[0])) != 1 {
			t.Fatal("not one key, or no refresh secret")
		}
		last := rotate(t, dbs[1], rings[1], true)
		same()
		wantSet(t, dbs[0], rings[3], last)
	})
}

func TestARotationThatIsRolledBackLeavesNoTrace(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ring := open(t, db)
		first, boom := signer(t, db, ring), errors.New("boom")
		key := newKey(t, ring)
		err := db.Update(t.Context(), func(tx *store.Tx) error {
			kid, ids, err := ring.Rotate(t.Context(), tx, key, true)
			if err != nil || len(ids) != 1 {
				t.Errorf("%v, %v", ids, err)
			}
			key, err := ring.TokenSigner(t.Context(), tx)
			if err != nil || key.KID != kid {
				t.Errorf("the transaction doesn't see its own key: %v", err)
			}
			return boom
		})
		if !errors.Is(err, boom) {
			t.Fatal(err)
		}
		wantSet(t, db, ring, first)
		second := rotate(t, db, ring, true) // reaches the same version as the one before
		wantSet(t, db, ring, second)
	})
}

func TestAWrongMasterKeyIsAClearError(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ring := open(t, db)
		before := kids(t, ring)
		_, err := keyring.Open(t.Context(), config(t, db, seal.NewKey(), keyring.ES256))
		if !errors.Is(err, keyring.ErrMasterKey) || strings.Contains(err.Error(), "\n") {
			t.Fatalf("%v", err)
		}
		if !slices.Equal(kids(t, ring), before) {
			t.Fatal("the set was changed all the same")
		}
	})
}

func TestTheMasterKeyFileIsMadeForANewDatabaseOnly(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		file := filepath.Join(t.TempDir(), "secrets.key")
		for range 2 {
			sealer, err := keyring.MasterKey(t.Context(), db, "", file)
			if err != nil {
				t.Fatal(err)
			}
			cfg := config(t, db, masterKey, keyring.EdDSA)
			cfg.Sealer = sealer
			if _, err := keyring.Open(t.Context(), cfg); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		if _, err := keyring.MasterKey(t.Context(), db, "", file); !errors.Is(err, keyring.ErrMasterKey) {
			t.Fatalf("%v", err)
		}
		if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
			t.Fatalf("made all the same: %v", err)
		}
		if _, err := keyring.MasterKey(t.Context(), db, "hunter2", file); !errors.Is(err, seal.ErrKeyFormat) {
			t.Fatalf("%v", err)
		}
	})
}

func TestAnotherAlgorithmRotatesAtStart(t *testing.T) {
	storetest.EachURL(t, func(t *testing.T, url string) {
		var clock storetest.Clock
		db := storetest.Open(t, url, clock.Option())
		last := signer(t, db, open(t, db))
		for _, alg := range []string{keyring.ES256, keyring.RS256, keyring.EdDSA} {
			ring, err := keyring.Open(t.Context(), config(t, db, masterKey, alg))
			if err != nil {
				t.Fatal(err)
			}
			if signer(t, db, ring) != last {
				t.Fatalf("%s: signs before verifiers can have it", alg)
			}
			clock.Advance(time.Minute)
			last = signer(t, db, ring)
			err = db.View(t.Context(), func(tx *store.Tx) error {
				key, err := ring.TokenSigner(t.Context(), tx)
				if key.Alg != alg || !fits(alg, key.Public) {
					t.Errorf("%s: signs with %s and a %T", alg, key.Alg, key.Public)
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	})
}

func fits(alg string, key crypto.PublicKey) bool {
	switch key.(type) {
	case ed25519.PublicKey:
		return alg == keyring.EdDSA
	case *ecdsa.PublicKey:
		return alg == keyring.ES256
	case *rsa.PublicKey:
		return alg == keyring.RS256
	}
	return false
}

func TestPublishedKeysHoldNothingPrivate(t *testing.T) {
	db := storetest.Open(t, storetest.URL(t, store.SQLite))
	ring := open(t, db)
	for _, alg := range []string{keyring.ES256, keyring.RS256} {
		if _, err := keyring.Open(t.Context(), config(t, db, masterKey, alg)); err != nil {
			t.Fatal(err)
		}
	}
	tokens, err := ring.JWKS(t.Context())
	feed, feedErr := ring.FeedJWKS(t.Context())
	if err != nil || feedErr != nil {
		t.Fatal(err, feedErr)
	}
	for _, raw := range [][]byte{tokens, feed} {
		var set struct{ Keys []map[string]string }
		if err := json.Unmarshal(raw, &set); err != nil || len(set.Keys) == 0 {
			t.Fatalf("%s, %v", raw, err)
		}
		for _, key := range set.Keys {
			for field := range key {
				if !slices.Contains([]string{"alg", "crv", "e", "kid", "kty", "n", "use", "x", "y"}, field) {
					t.Errorf("%q in %s", field, raw)
				}
			}
			if key["alg"] == "" || key["kid"] == "" || key["use"] != "sig" {
				t.Errorf("%v", key)
			}
		}
	}
	if !strings.Contains(string(feed), ring.FeedSigner().KeyID()) {
		t.Error("the feed key isn't in its set")
	}
}
