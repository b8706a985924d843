package speed

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"
)

const (
	jwtEdDSA  = "golang-jwt, EdDSA"
	jwtRS256  = "golang-jwt, RS256"
	jwtHS256  = "golang-jwt, HS256"
	signature = "the Ed25519 signature alone"
)

// claims are what a service would read of our tokens.
type claims struct {
	jwt.RegisteredClaims
	SessionID string   `json:"sid"`
	ClientID  string   `json:"client_id"`
	Roles     []string `json:"roles"`
	Mode      string   `json:"mode"`
}

// parser is golang-jwt as its documentation has it: the algorithm, the issuer, the audience and an end are required.
type parser struct {
	*jwt.Parser
	key crypto.PublicKey
}

func newParser(w *world, algorithm string, key any) *parser {
	return &parser{jwt.NewParser(jwt.WithValidMethods([]string{algorithm}), jwt.WithIssuer(w.auth.Issuer),
		jwt.WithAudience("tocsin"), jwt.WithExpirationRequired()), key}
}

func (p *parser) verify(token string) (*claims, error) {
	var c claims
	_, err := p.ParseWithClaims(token, &c, func(*jwt.Token) (any, error) { return p.key, nil })
	return &c, err
}

// parser verifies authsvc's own tokens, with the key from its JWK set.
func (w *world) parser(t *testing.T) *parser {
	t.Helper()
	var set struct {
		Keys []struct{ X string }
	}
	w.auth.Must(t, 200, "GET", "/.well-known/jwks.json", "", nil).Into(t, &set)
	for _, k := range set.Keys {
		key, err := base64.RawURLEncoding.DecodeString(k.X)
		if p := newParser(w, "EdDSA", ed25519.PublicKey(key)); err == nil && len(key) == ed25519.PublicKeySize {
			if _, err := p.verify(w.token); err == nil {
				return p
			}
		}
	}
	t.Fatal("no key of the JWK set verifies authsvc's token")
	return nil
}

func (w *world) jwt(t *testing.T, own *parser) []contender {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	secret := []byte(rand.Text() + rand.Text())
	return []contender{
		{signature, true, times(func() error { return verifySignature(own.key.(ed25519.PublicKey), w.token) })},
		{jwtEdDSA, true, parsing(own, w.token)},
		{jwtRS256, true, parsing(newParser(w, "RS256", &rsaKey.PublicKey), resigned(t, w.token, jwt.SigningMethodRS256, rsaKey))},
		{jwtHS256, true, parsing(newParser(w, "HS256", secret), resigned(t, w.token, jwt.SigningMethodHS256, secret))},
	}
}

func parsing(p *parser, token string) func(n int) error {
	return times(func() error {
		_, err := p.verify(token)
		return err
	})
}

// resigned returns a token with the same claims and another signature.
func resigned(t *testing.T, token string, method jwt.SigningMethod, key any) string {
	t.Helper()
	same := jwt.MapClaims{}
	if err := json.Unmarshal([]byte(payloadOf(token)), &same); err != nil {
		t.Fatal(err)
	}
	made := jwt.NewWithClaims(method, same)
	made.Header["kid"] = "7d0ViGmXuYyF2q3M8m2m1b0VnQ5g1oYw0rXK6sJtE9c"
	text, err := made.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func verifySignature(key ed25519.PublicKey, token string) error {
	dot := strings.LastIndexByte(token, '.')
	made, err := base64.RawURLEncoding.DecodeString(token[dot+1:])
	if err != nil || !ed25519.Verify(key, []byte(token[:dot]), made) {
		return errors.New("bad signature")
	}
	return nil
}
