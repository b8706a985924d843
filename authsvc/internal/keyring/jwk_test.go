package keyring

import (
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/base64"
	"math/big"
	"testing"

	"github.com/tocsin-auth/tocsin/pkg/events"
)

// The example of RFC 7638, section 3.1.
func TestKidIsTheThumbprint(t *testing.T) {
	const n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"
	raw, err := base64.RawURLEncoding.DecodeString(n)
	if err != nil {
		t.Fatal(err)
	}
	kid, _, err := describe(&rsa.PublicKey{N: new(big.Int).SetBytes(raw), E: 65537}, RS256)
	if err != nil || kid != "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs" {
		t.Fatalf("%s, %v", kid, err)
	}
	key, err := generate(EdDSA)
	if err != nil {
		t.Fatal(err)
	}
	public := key.Public().(ed25519.PublicKey)
	if kid, _, err = describe(public, EdDSA); err != nil || kid != events.Thumbprint(public) {
		t.Fatalf("%s, %v", kid, err)
	}
}

func TestAnUnknownAlgorithmIsRefused(t *testing.T) {
	if _, err := generate("HS256"); err == nil {
		t.Fatal("made")
	}
}
