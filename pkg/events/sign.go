package events

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
)

// Headers of every message that authsvc signs.
const (
	HeaderKey       = "Tocsin-Key"       // kid of the feed key
	HeaderSignature = "Tocsin-Signature" // base64url without padding
)

// Kind says what a signature is for. A signature of one kind is no signature of another.
type Kind string

// The kinds of this version.
const (
	KindFeed    Kind = "feed" // live, stream and snapshot batches
	KindPage    Kind = "page" // compact pages
	KindProof   Kind = "proof"
	KindCheck   Kind = "check"
	KindResolve Kind = "resolve"
	KindKeys    Kind = "keys"
	KindQuota   Kind = "quota"
)

var (
	// ErrUnknownKey means that no feed key with the message's kid is known.
	ErrUnknownKey = errors.New("unknown feed key")
	// ErrSignature means that a message is not what a feed key signed.
	ErrSignature = errors.New("bad signature")
)

// signed returns what is signed: a tag that is never sent, then the bytes.
func signed(kind Kind, issuer string, body []byte) []byte {
	b := make([]byte, 0, len(body)+len(issuer)+32)
	b = append(b, "tocsin/v1/"...)
	b = append(b, kind...)
	b = append(b, '\n')
	b = append(b, issuer...)
	b = append(b, '\n')
	return append(b, body...)
}

// Signer signs messages of one issuer with one feed key.
type Signer struct {
	issuer string
	kid    string
	key    ed25519.PrivateKey
}

// NewSigner returns a signer; the kid is the key's RFC 7638 thumbprint.
func NewSigner(issuer string, key ed25519.PrivateKey) *Signer {
	return &Signer{issuer: issuer, kid: Thumbprint(key.Public().(ed25519.PublicKey)), key: key}
}

// KeyID returns the value of [HeaderKey].
func (s *Signer) KeyID() string { return s.kid }

// Sign returns the value of [HeaderSignature].
func (s *Signer) Sign(kind Kind, body []byte) string {
	return base64.RawURLEncoding.EncodeToString(ed25519.Sign(s.key, signed(kind, s.issuer, body)))
}

// KeySet verifies messages of one issuer. The zero value knows no key. It must not be changed while in use.
type KeySet struct {
	Issuer string
	Keys   map[string]ed25519.PublicKey // by kid
}

// Verify checks a message against its two header values. The errors are [ErrUnknownKey] and [ErrSignature].
func (s KeySet) Verify(kind Kind, kid, signature string, body []byte) error {
	key, ok := s.Keys[kid]
	if !ok {
		return ErrUnknownKey
	}
	sig, err := base64.RawURLEncoding.Strict().DecodeString(signature)
	if err != nil || len(sig) != ed25519.SignatureSize {
		return fmt.Errorf("%w: not base64url of 64 bytes", ErrSignature)
	}
	if !ed25519.Verify(key, signed(kind, s.Issuer, body), sig) {
		return ErrSignature
	}
	return nil
}

// Thumbprint returns the RFC 7638 thumbprint of an Ed25519 key as an OKP JWK.
func Thumbprint(key ed25519.PublicKey) string {
	jwk := `{"crv":"Ed25519","kty":"OKP","x":"` + base64.RawURLEncoding.EncodeToString(key) + `"}`
	sum := sha256.Sum256([]byte(jwk))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}
