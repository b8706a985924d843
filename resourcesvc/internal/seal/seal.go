// Package seal keeps the grants of jobs unreadable for whoever has only the database: AES-256-GCM under a key from outside.
// Each sealed grant is bound to its tenant and job, so that none can be put into another's row.
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

const keySize = 32

var (
	// ErrFormat means that a text holds no keys.
	ErrFormat = errors.New("must be keys of 32 bytes in base64 or hexadecimal digits, as `openssl rand -base64 32` makes them, with white space between two")
	// ErrKey means that a grant was sealed under a key that isn't among these. It says nothing about the grant.
	ErrKey = errors.New("sealed under a key that this process doesn't have")
	// ErrDamaged means that what was sealed is another's, or was changed.
	ErrDamaged = errors.New("damaged, or sealed for another job")
)

// Keys seal with the first and open with all, so that one takes the place of another. None seal and open nothing. Safe for
// concurrent use.
type Keys []key

type key struct {
	id   string
	aead cipher.AEAD
}

// Parse reads keys with white space between two. The error is [ErrFormat], which doesn't hold the text.
func Parse(text string) (Keys, error) {
	var all Keys
	for field := range strings.FieldsSeq(text) {
		k, err := parseKey(field)
		if err != nil {
			return nil, err
		}
		all = append(all, k)
	}
	if len(all) == 0 {
		return nil, ErrFormat
	}
	return all, nil
}

func parseKey(text string) (key, error) {
	for _, decode := range []func(string) ([]byte, error){
		hex.DecodeString, base64.StdEncoding.DecodeString, base64.RawStdEncoding.DecodeString,
		base64.URLEncoding.DecodeString, base64.RawURLEncoding.DecodeString,
	} {
		if secret, err := decode(text); err == nil && len(secret) == keySize {
			return newKey(secret)
		}
	}
	return key{}, ErrFormat
}

// newKey names a key by a digest, which says nothing of 32 random bytes.
func newKey(secret []byte) (key, error) {
	block, err := aes.NewCipher(secret)
	if err != nil {
		return key{}, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return key{}, err
	}
	digest := sha256.Sum256(append([]byte("tocsin/v1/grants-key\n"), secret...))
	return key{hex.EncodeToString(digest[:8]), aead}, nil
}

// NewKey makes a key in text form.
func NewKey() string {
	var secret [keySize]byte
	rand.Read(secret[:])
	return base64.StdEncoding.EncodeToString(secret[:])
}

// IDs names the keys, in their order.
func (ks Keys) IDs() []string {
	ids := make([]string, 0, len(ks))
	for _, k := range ks {
		ids = append(ids, k.id)
	}
	return ids
}

// Grant is a sealed one, and the id of the key that it needs.
type Grant struct{ KeyID, Text string }

// Seal seals the grant of one job of a tenant. A key may seal 2³² grants. The error is [ErrKey], when there is none.
func (ks Keys) Seal(tenant, job, grant string) (Grant, error) {
	if len(ks) == 0 {
		return Grant{}, ErrKey
	}
	sealed := ks[0].aead.Seal(nil, nil, []byte(grant), bound(tenant, job))
	return Grant{ks[0].id, base64.RawStdEncoding.EncodeToString(sealed)}, nil
}

// Open returns what was sealed for the same tenant and job. The errors are [ErrKey] and [ErrDamaged].
func (ks Keys) Open(tenant, job string, g Grant) (string, error) {
	for _, k := range ks {
		if k.id == g.KeyID {
			return k.open(g.Text, bound(tenant, job))
		}
	}
	return "", ErrKey
}

func (k key) open(text string, bound []byte) (string, error) {
	sealed, err := base64.RawStdEncoding.DecodeString(text)
	if err != nil {
		return "", ErrDamaged
	}
	grant, err := k.aead.Open(nil, nil, sealed, bound)
	if err != nil {
		return "", ErrDamaged
	}
	return string(grant), nil
}

// bound is no other tenant's and job's: the length says where one ends and the other begins.
func bound(tenant, job string) []byte {
	return fmt.Appendf(nil, "tocsin/v1/job-grant\n%d\n%s\n%s", len(tenant), tenant, job)
}
