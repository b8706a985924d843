// Package seal keeps secrets that lie in a database unreadable for whoever has only the database: AES-256-GCM under a
// master key from outside. Each sealed value is bound to its name, so that none can be put in another's place.
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strings"
)

// KeySize is the length of a master key, in bytes.
const KeySize = 32

// version is the first byte of what this release seals.
const version = 1

var (
	// ErrKeyFormat means that a text is not a master key.
	ErrKeyFormat = errors.New("not a master key: it must be 32 bytes in base64 or hexadecimal digits, as `openssl rand -base64 32` makes them")
	// ErrOpen means that a value was sealed under another key or name, or is damaged.
	ErrOpen = errors.New("sealed under another master key, or damaged")
)

// Sealer seals and opens. It is safe for concurrent use.
type Sealer struct{ aead cipher.AEAD }

// New returns a sealer with a master key in text form. The error is [ErrKeyFormat], which doesn't hold the text.
func New(text string) (*Sealer, error) {
	key, err := parseKey(strings.TrimSpace(text))
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, err
	}
	return &Sealer{aead: aead}, nil
}

func parseKey(text string) ([]byte, error) {
	for _, decode := range []func(string) ([]byte, error){
		hex.DecodeString, base64.StdEncoding.DecodeString, base64.RawStdEncoding.DecodeString,
		base64.URLEncoding.DecodeString, base64.RawURLEncoding.DecodeString,
	} {
		if key, err := decode(text); err == nil && len(key) == KeySize {
			return key, nil
		}
	}
	return nil, ErrKeyFormat
}

// NewKey makes a master key in text form.
func NewKey() string {
	var key [KeySize]byte
	rand.Read(key[:])
	return base64.StdEncoding.EncodeToString(key[:])
}

// Seal encrypts a secret of a name. A master key may seal 2³² secrets.
func (s *Sealer) Seal(name string, secret []byte) []byte {
	return s.aead.Seal([]byte{version}, nil, secret, bound(name))
}

// Open decrypts what [Sealer.Seal] made for the same name. The error is [ErrOpen].
func (s *Sealer) Open(name string, sealed []byte) ([]byte, error) {
	if len(sealed) == 0 || sealed[0] != version {
		return nil, ErrOpen
	}
	secret, err := s.aead.Open(nil, nil, sealed[1:], bound(name))
	if err != nil {
		return nil, ErrOpen
	}
	return secret, nil
}

func bound(name string) []byte { return []byte("tocsin/v1/secret\n" + name) }
