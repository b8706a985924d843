package keyring

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/tocsin-auth/tocsin/authsvc/internal/seal"
	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/pkg/events"
)

// Key is a token key, with the one algorithm that it is for.
type Key struct {
	KID     string
	Alg     string
	Public  crypto.PublicKey
	Private crypto.Signer
}

// tokenKey is a key with its part in the set.
type tokenKey struct {
	Key
	activeAt int64
	retireAt *int64
}

// set is the signing keys at one version. It never changes.
type set struct {
	version    int64
	tokens     []tokenKey // in the order in which they become active
	byKID      map[string]Key
	feed       *events.Signer
	feedKeys   map[string]ed25519.PublicKey // by kid
	feedTurns  int64                        // when the next feed key begins to sign; 0: none waits
	jwks       []byte
	feedJWKS   []byte
	nextRetire int64 // the least retireAt; 0: none
}

// readSet reads and opens the keys as a transaction sees them.
func (r *Ring) readSet(ctx context.Context, tx *store.Tx, version int64) (*set, error) {
	rows, err := tx.SigningKeys(ctx)
	if err != nil {
		return nil, err
	}
	s := &set{version: version, byKID: make(map[string]Key, len(rows)), feedKeys: map[string]ed25519.PublicKey{}}
	var tokens, feeds []string
	for _, row := range rows {
		private, err := r.open(row)
		if err != nil {
			return nil, err
		}
		switch row.Purpose {
		case store.PurposeToken:
			s.add(row, private)
			tokens = append(tokens, row.PublicJWK)
		case store.PurposeFeed:
			if err := s.addFeed(r.issuer, private, row, tx.Now()); err != nil {
				return nil, err
			}
			feeds = append(feeds, row.PublicJWK)
		}
	}
	if s.jwks, err = jwkSet(tokens); err != nil {
		return nil, err
	}
	s.feedJWKS, err = jwkSet(feeds)
	return s, err
}

func (s *set) add(row store.SigningKey, private crypto.Signer) {
	key := Key{KID: row.KID, Alg: row.Alg, Public: private.Public(), Private: private}
	s.tokens = append(s.tokens, tokenKey{Key: key, activeAt: row.ActiveAt, retireAt: row.RetireAt})
	s.byKID[row.KID] = key
	if row.RetireAt != nil && (s.nextRetire == 0 || *row.RetireAt < s.nextRetire) {
		s.nextRetire = *row.RetireAt
	}
}

// addFeed takes the rows in the order in which they become active.
func (s *set) addFeed(issuer string, private crypto.Signer, row store.SigningKey, now int64) error {
	key, ok := private.(ed25519.PrivateKey)
	if !ok {
		return fmt.Errorf("feed key is a %T", private)
	}
	signer := events.NewSigner(issuer, key)
	s.feedKeys[signer.KeyID()] = key.Public().(ed25519.PublicKey)
	if row.ActiveAt <= now || s.feed == nil {
		s.feed = signer
	} else if s.feedTurns == 0 {
		s.feedTurns = row.ActiveAt
	}
	return nil
}

// outdated reports whether another feed key signs by now.
func (s *set) outdated(now int64) bool { return s.feedTurns != 0 && s.feedTurns <= now }

// signer returns the key that signs tokens at a time: the one that became active last. It is the oldest where none is active
// yet: a transaction that waited may have read its time before the key was made that an emergency left alone.
func (s *set) signer(now int64) (Key, error) {
	for i := len(s.tokens) - 1; i >= 0; i-- {
		if s.tokens[i].activeAt <= now {
			return s.tokens[i].Key, nil
		}
	}
	if len(s.tokens) == 0 {
		return Key{}, errors.New("there is no token key")
	}
	return s.tokens[0].Key, nil
}

// open opens a row's private key and checks that it is the one that the row names.
func (r *Ring) open(row store.SigningKey) (crypto.Signer, error) {
	der, err := r.sealer.Open(keyName(row.Purpose, row.KID), row.Sealed)
	if err != nil {
		return nil, wrongMaster(err)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("signing key %s: %w", row.KID, err)
	}
	private, ok := parsed.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("signing key %s is a %T", row.KID, parsed)
	}
	kid, _, err := describe(private.Public(), row.Alg)
	if err == nil && kid != row.KID {
		err = fmt.Errorf("signing key %s is another key", row.KID)
	}
	return private, err
}

// newKey makes a key and its row.
func (r *Ring) newKey(purpose store.Purpose, alg string) (store.SigningKey, error) {
	private, err := generate(alg)
	if err != nil {
		return store.SigningKey{}, err
	}
	kid, public, err := describe(private.Public(), alg)
	if err != nil {
		return store.SigningKey{}, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return store.SigningKey{}, err
	}
	return store.SigningKey{KID: kid, Purpose: purpose, Alg: alg, PublicJWK: public,
		Sealed: r.sealer.Seal(keyName(purpose, kid), der)}, nil
}

func keyName(purpose store.Purpose, kid string) string { return "key/" + string(purpose) + "/" + kid }

func wrongMaster(err error) error {
	if errors.Is(err, seal.ErrOpen) {
		return fmt.Errorf("%w: %w", ErrMasterKey, err)
	}
	return err
}
