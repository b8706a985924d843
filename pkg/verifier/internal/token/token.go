// Package token reads access tokens: JWTs (RFC 7519) in the profile of RFC 9068, in the compact serialization only.
//
// Use it in two steps. [Parse] looks at shape and header and trusts nothing; its KeyID selects a key, and is a map key
// and nothing else. [Token.Verify] then checks the signature before it looks at the payload, so that nobody without a
// token key can make it read claims.
//
// It keeps to RFC 8725: the algorithm is the key's, never the header's choice; jku, jwk, x5u and x5c are ignored;
// crit, duplicate members and other serializations are refused. Nothing here knows the time or the revocation set.
package token

import (
	"crypto"
	"encoding/base64"
	"errors"
	"strings"

	"github.com/golang-jwt/jwt/v5"
)

// MaxLength is the longest token that is looked at, in bytes.
const MaxLength = 8 << 10

// The refusals of this package. All but ErrMalformed and ErrAudience are the contract's invalid_token.
var (
	ErrMalformed = errors.New("malformed token")
	ErrType      = errors.New("not an access token")
	ErrCritical  = errors.New("token with a critical header that nobody knows")
	ErrAlgorithm = errors.New("algorithm is not the key's")
	ErrSignature = errors.New("bad token signature")
	ErrIssuer    = errors.New("token of another issuer")
	ErrAudience  = errors.New("token for another audience")
	ErrClaims    = errors.New("required claim missing or invalid")
)

// Token is a token whose shape and header were looked at, and nothing more: it proves nothing.
type Token struct {
	// KeyID is what the header names; hostile until Verify succeeds.
	KeyID string

	algorithm string
	input     string // what was signed
	payload   string // base64url
	signature string // base64url
}

// Parse checks the shape of a token and reads its header. The errors are [ErrMalformed], [ErrType]
// and [ErrCritical]. A header without kid has the KeyID "", which selects no key.
func Parse(raw string) (Token, error) {
	if len(raw) > MaxLength {
		return Token{}, ErrMalformed
	}
	header, rest, _ := strings.Cut(raw, ".")
	payload, signature, ok := strings.Cut(rest, ".")
	if !ok || !isSegment(header) || !isSegment(payload) || !isSegment(signature) {
		return Token{}, ErrMalformed
	}
	t := Token{input: raw[:len(header)+1+len(payload)], payload: payload, signature: signature}
	text, err := decode(header)
	if err != nil {
		return Token{}, err
	}
	return t, t.readHeader(text)
}

// isSegment reports whether s is a base64url text that isn't empty. It is what keeps a fourth segment out.
func isSegment(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return s != ""
}

var base64url = base64.RawURLEncoding.Strict()

func decode(segment string) (string, error) {
	b, err := base64url.DecodeString(segment)
	if err != nil {
		return "", ErrMalformed
	}
	return string(b), nil
}

func (t *Token) readHeader(text string) error {
	var typ string
	var critical bool
	var room [8]string
	s, seen := newScanner(text), names(room[:0])
	s.open('{')
	for name, ok := s.member(&seen); ok; name, ok = s.member(&seen) {
		switch name {
		case "alg":
			t.algorithm = s.str()
		case "kid":
			t.KeyID = s.str()
		case "typ":
			typ = s.str()
		case "crit":
			critical = true
			s.skip()
		default:
			s.skip()
		}
	}
	switch {
	case !s.end():
		return ErrMalformed
	case critical:
		return ErrCritical
	case !isAccessToken(typ):
		return ErrType
	}
	return nil
}

// isAccessToken compares a media type as RFC 9068, section 4, and RFC 7515, section 4.1.9, say.
func isAccessToken(typ string) bool {
	const prefix = "application/"
	if len(typ) > len(prefix) && strings.EqualFold(typ[:len(prefix)], prefix) {
		typ = typ[len(prefix):]
	}
	return strings.EqualFold(typ, "at+jwt")
}

// Key is a token key and the only algorithm that it may be used with.
type Key struct {
	Algorithm string
	Public    crypto.PublicKey
}

// method returns the implementation of one of the algorithms that Tocsin knows.
func method(algorithm string) jwt.SigningMethod {
	switch algorithm {
	case "EdDSA":
		return jwt.SigningMethodEdDSA
	case "ES256":
		return jwt.SigningMethodES256
	case "RS256":
		return jwt.SigningMethodRS256
	}
	return nil
}

// Verify checks the signature, and then reads the claims for an issuer and audience. The errors are those of the
// package. It doesn't look at times.
func (t Token) Verify(key Key, issuer, audience string) (*Claims, error) {
	m := method(key.Algorithm)
	if m == nil || t.algorithm != key.Algorithm {
		return nil, ErrAlgorithm
	}
	signature, err := base64url.DecodeString(t.signature)
	if err != nil {
		return nil, ErrMalformed
	}
	if err := m.Verify(t.input, signature, key.Public); err != nil {
		return nil, ErrSignature
	}
	payload, err := decode(t.payload)
	if err != nil {
		return nil, err
	}
	return readClaims(payload, t.KeyID, issuer, audience)
}
