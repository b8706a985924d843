// Package jwk reads JWK sets (RFC 7517) of public signature keys, strictly: a set is taken whole or not at all.
//
// Every key needs a kid that is its RFC 7638 thumbprint, so that a kid binds its key. A key of a kind that this
// version doesn't know stays in [Set.KIDs], because the set's hash counts it, but can't be used. Private members are
// refused: whoever publishes them has a broken key.
package jwk

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
)

// Limits of a set.
const (
	MaxSize = 64 << 10
	maxKeys = 64
)

// ErrInvalid is wrapped by every error of this package.
var ErrInvalid = errors.New("invalid JWK set")

// Key is a public key and the only algorithm that it may be used with: EdDSA, ES256 or RS256.
type Key struct {
	Alg string
	Key crypto.PublicKey // ed25519.PublicKey, *ecdsa.PublicKey or *rsa.PublicKey
}

// Set is a key set.
type Set struct {
	Keys map[string]Key // by kid
	KIDs []string       // of all keys, those that can't be used included
}

// Parse reads a set.
func Parse(data []byte) (Set, error) {
	if len(data) > MaxSize {
		return Set{}, fmt.Errorf("%w: %d bytes", ErrInvalid, len(data))
	}
	var doc struct {
		Keys []members `json:"keys"`
	}
	if err := json.Unmarshal(data, &doc); err != nil {
		return Set{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if doc.Keys == nil || len(doc.Keys) > maxKeys {
		return Set{}, fmt.Errorf("%w: no keys, or too many", ErrInvalid)
	}
	set := Set{Keys: make(map[string]Key)}
	seen := make(map[string]bool)
	for i, m := range doc.Keys {
		kid, key, err := m.parse()
		if err == nil && seen[kid] {
			err = fmt.Errorf("%w: kid given twice", ErrInvalid)
		}
		if err != nil {
			return Set{}, fmt.Errorf("key %d: %w", i, err)
		}
		seen[kid] = true
		set.KIDs = append(set.KIDs, kid)
		if key.Key != nil {
			set.Keys[kid] = key
		}
	}
	return set, nil
}

// members are a JWK's members under their exact names, which encoding/json wouldn't insist on for a struct.
type members map[string]json.RawMessage

// parse returns a zero Key for a kind that this version doesn't know.
func (m members) parse() (kid string, key Key, err error) {
	for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"} {
		if _, there := m[private]; there {
			return "", Key{}, fmt.Errorf("%w: private member", ErrInvalid)
		}
	}
	kid, err = m.text("kid")
	if err != nil {
		return "", Key{}, err
	}
	if kid == "" || len(kid) > 256 {
		return "", Key{}, fmt.Errorf("%w: kid", ErrInvalid)
	}
	use, err := m.text("use")
	if err != nil {
		return "", Key{}, err
	}
	if use != "" && use != "sig" {
		return kid, Key{}, nil
	}
	thumbprint, key, err := m.public()
	if err != nil {
		return "", Key{}, err
	}
	if key.Key != nil && thumbprint != kid {
		return "", Key{}, fmt.Errorf("%w: kid isn't the key's thumbprint", ErrInvalid)
	}
	alg, err := m.text("alg")
	if err != nil {
		return "", Key{}, err
	}
	if alg != "" && alg != key.Alg {
		return kid, Key{}, nil
	}
	return kid, key, nil
}

// public reads the key itself and computes its thumbprint.
func (m members) public() (thumbprint string, key Key, err error) {
	kty, err := m.text("kty")
	if err != nil {
		return "", Key{}, err
	}
	crv, err := m.text("crv")
	if err != nil {
		return "", Key{}, err
	}
	switch {
	case kty == "OKP" && crv == "Ed25519":
		return m.ed25519()
	case kty == "EC" && crv == "P-256":
		return m.p256()
	case kty == "RSA":
		return m.rsa()
	}
	return "", Key{}, nil
}

func (m members) ed25519() (string, Key, error) {
	x, err := m.bytes("x", ed25519.PublicKeySize, ed25519.PublicKeySize)
	if err != nil {
		return "", Key{}, err
	}
	print := thumbprint(`{"crv":"Ed25519","kty":"OKP","x":"%s"}`, x)
	return print, Key{Alg: "EdDSA", Key: ed25519.PublicKey(x)}, nil
}

func (m members) p256() (string, Key, error) {
	x, err := m.bytes("x", 32, 32)
	if err != nil {
		return "", Key{}, err
	}
	y, err := m.bytes("y", 32, 32)
	if err != nil {
		return "", Key{}, err
	}
	public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), bytes.Join([][]byte{{4}, x, y}, nil))
	if err != nil {
		return "", Key{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	print := thumbprint(`{"crv":"P-256","kty":"EC","x":"%s","y":"%s"}`, x, y)
	return print, Key{Alg: "ES256", Key: public}, nil
}

// rsa takes moduli of 2048 to 8192 bits: smaller ones are weak, greater ones slow.
func (m members) rsa() (string, Key, error) {
	n, err := m.bytes("n", 2048/8, 8192/8)
	if err != nil {
		return "", Key{}, err
	}
	e, err := m.bytes("e", 1, 4)
	if err != nil {
		return "", Key{}, err
	}
	exponent := new(big.Int).SetBytes(e).Int64()
	if n[0] < 0x80 && len(n) == 2048/8 || n[0] == 0 || e[0] == 0 || exponent < 3 || exponent%2 == 0 || exponent > 1<<31-1 {
		return "", Key{}, fmt.Errorf("%w: RSA modulus or exponent", ErrInvalid)
	}
	public := &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(exponent)}
	return thumbprint(`{"e":"%s","kty":"RSA","n":"%s"}`, e, n), Key{Alg: "RS256", Key: public}, nil
}

// text returns a member that is a string, or "" if there is none.
func (m members) text(name string) (string, error) {
	raw, there := m[name]
	if !there {
		return "", nil
	}
	var s *string
	if err := json.Unmarshal(raw, &s); err != nil || s == nil {
		return "", fmt.Errorf("%w: %s isn't a string", ErrInvalid, name)
	}
	return *s, nil
}

var encoding = base64.RawURLEncoding.Strict()

// bytes returns a member that is base64url without padding of a length within bounds.
func (m members) bytes(name string, least, most int) ([]byte, error) {
	s, err := m.text(name)
	if err != nil {
		return nil, err
	}
	b, err := encoding.DecodeString(s)
	if err != nil || len(b) < least || len(b) > most {
		return nil, fmt.Errorf("%w: %s", ErrInvalid, name)
	}
	return b, nil
}

// thumbprint hashes the required members in lexicographic order (RFC 7638, section 3).
func thumbprint(template string, values ...[]byte) string {
	texts := make([]any, len(values))
	for i, v := range values {
		texts[i] = encoding.EncodeToString(v)
	}
	sum := sha256.Sum256(fmt.Appendf(nil, template, texts...))
	return encoding.EncodeToString(sum[:])
}
