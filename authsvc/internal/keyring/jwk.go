package keyring

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
)

// The algorithms of token keys (RFC 7518, RFC 8037).
const (
	EdDSA = "EdDSA"
	ES256 = "ES256"
	RS256 = "RS256"
)

const rsaBits = 2048

// generate makes a private key for an algorithm.
func generate(alg string) (crypto.Signer, error) {
	switch alg {
	case EdDSA:
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	case ES256:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case RS256:
		return rsa.GenerateKey(rand.Reader, rsaBits)
	}
	return nil, fmt.Errorf("unknown signing algorithm %q", alg)
}

// jwk is a public key (RFC 7517) without its kid. The order of the fields, and that the absent are left out, make its
// encoding the one of RFC 7638.
type jwk struct {
	Crv string `json:"crv,omitempty"`
	E   string `json:"e,omitempty"`
	Kty string `json:"kty"`
	N   string `json:"n,omitempty"`
	X   string `json:"x,omitempty"`
	Y   string `json:"y,omitempty"`
}

func newJWK(public crypto.PublicKey) (jwk, error) {
	encode := base64.RawURLEncoding.EncodeToString
	switch key := public.(type) {
	case ed25519.PublicKey:
		return jwk{Kty: "OKP", Crv: "Ed25519", X: encode(key)}, nil
	case *ecdsa.PublicKey:
		point, err := key.Bytes() // 4 ‖ x ‖ y
		if err != nil {
			return jwk{}, err
		}
		half := 1 + len(point)/2
		return jwk{Kty: "EC", Crv: key.Params().Name, X: encode(point[1:half]), Y: encode(point[half:])}, nil
	case *rsa.PublicKey:
		return jwk{Kty: "RSA", N: encode(key.N.Bytes()), E: encode(big.NewInt(int64(key.E)).Bytes())}, nil
	}
	return jwk{}, fmt.Errorf("no JWK for a %T", public)
}

// describe returns a public key's kid, which is its RFC 7638 thumbprint, and its JWK.
func describe(public crypto.PublicKey, alg string) (kid, text string, err error) {
	bare, err := newJWK(public)
	if err != nil {
		return "", "", err
	}
	canonical, err := json.Marshal(bare)
	if err != nil {
		return "", "", err
	}
	sum := sha256.Sum256(canonical)
	kid = base64.RawURLEncoding.EncodeToString(sum[:])
	full, err := json.Marshal(struct {
		jwk
		KID string `json:"kid"`
		Alg string `json:"alg"`
		Use string `json:"use"`
	}{bare, kid, alg, "sig"})
	return kid, string(full), err
}

// jwkSet joins JWKs to a set.
func jwkSet(keys []string) ([]byte, error) {
	set := struct {
		Keys []json.RawMessage `json:"keys"`
	}{Keys: []json.RawMessage{}}
	for _, key := range keys {
		set.Keys = append(set.Keys, json.RawMessage(key))
	}
	return json.Marshal(set)
}
