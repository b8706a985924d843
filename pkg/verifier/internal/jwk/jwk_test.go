package jwk

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"math/big"
	"strings"
	"testing"

	"github.com/tocsin-auth/tocsin/pkg/events"
)

// The example of RFC 7638, section 3.1.
const rfcModulus = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"

func jwk(t testing.TB, m map[string]any) string {
	t.Helper()
	b, err := json.Marshal(map[string]any{"keys": []any{m}})
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func edJWK(t testing.TB) map[string]any {
	t.Helper()
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]any{"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": events.Thumbprint(public), "x": encoding.EncodeToString(public)}
}

func ecJWK(t testing.TB) map[string]any {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	point, err := key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	x, y := point[1:33], point[33:]
	kid := thumbprint(`{"crv":"P-256","kty":"EC","x":"%s","y":"%s"}`, x, y)
	return map[string]any{"kty": "EC", "crv": "P-256", "alg": "ES256", "kid": kid, "x": encoding.EncodeToString(x), "y": encoding.EncodeToString(y)}
}

func rsaJWK(t testing.TB, bits int) map[string]any {
	t.Helper()
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), uint(bits-1)))
	if err != nil {
		t.Fatal(err)
	}
	n.SetBit(n, bits-1, 1)
	kid := thumbprint(`{"e":"%s","kty":"RSA","n":"%s"}`, []byte{1, 0, 1}, n.Bytes())
	return map[string]any{"kty": "RSA", "alg": "RS256", "kid": kid, "e": "AQAB", "n": encoding.EncodeToString(n.Bytes())}
}

func with(m map[string]any, name string, value any) map[string]any {
	m[name] = value
	return m
}

func TestParseTakesTheThreeAlgorithms(t *testing.T) {
	for alg, m := range map[string]map[string]any{"EdDSA": edJWK(t), "ES256": ecJWK(t), "RS256": rsaJWK(t, 2048)} {
		t.Run(alg, func(t *testing.T) {
			set, err := Parse([]byte(jwk(t, m)))
			if err != nil {
				t.Fatal(err)
			}
			key := set.Keys[m["kid"].(string)]
			if key.Alg != alg || key.Key == nil {
				t.Fatalf("got %+v", key)
			}
			delete(m, "alg") // the kind of key says it
			if set, err = Parse([]byte(jwk(t, m))); err != nil || set.Keys[m["kid"].(string)].Alg != alg {
				t.Fatalf("without alg: %+v, %v", set, err)
			}
		})
	}
}

func TestThumbprintIsThatOfRFC7638(t *testing.T) {
	set, err := Parse([]byte(jwk(t, map[string]any{"kty": "RSA", "alg": "RS256", "e": "AQAB", "n": rfcModulus, "kid": "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"})))
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range set.Keys {
		if k.Key.(*rsa.PublicKey).E != 65537 {
			t.Fatal("exponent")
		}
	}
}

func TestKeysOfAnotherKindCountButCannotBeUsed(t *testing.T) {
	for name, m := range map[string]map[string]any{
		"unknown type":     {"kty": "AKP", "kid": "new", "alg": "ML-DSA-44", "pub": "…"},
		"unknown curve":    {"kty": "OKP", "crv": "Ed448", "kid": "new", "x": "…"},
		"other algorithm":  with(rsaJWK(t, 2048), "alg", "PS256"),
		"encryption key":   with(edJWK(t), "use", "enc"),
		"RS256 on Ed25519": with(edJWK(t), "alg", "RS256"),
	} {
		t.Run(name, func(t *testing.T) {
			set, err := Parse([]byte(jwk(t, m)))
			if err != nil || len(set.Keys) != 0 || len(set.KIDs) != 1 {
				t.Fatalf("got %+v, %v", set, err)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	point := ecJWK(t)
	twice, err := json.Marshal(map[string]any{"keys": []any{point, point}})
	if err != nil {
		t.Fatal(err)
	}
	for name, doc := range map[string]string{
		"nothing":             "",
		"not an object":       `[]`,
		"no keys":             `{}`,
		"keys null":           `{"keys":null}`,
		"trailing bytes":      `{"keys":[]}x`,
		"key null":            `{"keys":[null]}`,
		"private member":      jwk(t, with(edJWK(t), "d", "AA")),
		"symmetric key":       jwk(t, map[string]any{"kty": "oct", "kid": "k", "k": "AA"}),
		"no kid":              jwk(t, with(edJWK(t), "kid", "")),
		"kid not a string":    jwk(t, with(edJWK(t), "kid", 1)),
		"kid of another key":  jwk(t, with(edJWK(t), "kid", edJWK(t)["kid"])),
		"kid given twice":     string(twice),
		"x too short":         jwk(t, with(edJWK(t), "x", "AAAA")),
		"x with padding":      jwk(t, with(edJWK(t), "x", edJWK(t)["x"].(string)+"=")),
		"not on the curve":    jwk(t, with(ecJWK(t), "y", ecJWK(t)["y"])),
		"small RSA modulus":   jwk(t, rsaJWK(t, 2047)),
		"even RSA exponent":   jwk(t, with(rsaJWK(t, 2048), "e", "BA")),
		"RSA exponent of one": jwk(t, with(rsaJWK(t, 2048), "e", "AQ")),
		"too large":           `{"keys":[]` + strings.Repeat(" ", MaxSize) + `}`,
		"too many":            `{"keys":[` + strings.Repeat(`{},`, maxKeys) + `{}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			if set, err := Parse([]byte(doc)); !errors.Is(err, ErrInvalid) {
				t.Fatalf("got %+v, %v", set, err)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(jwk(f, edJWK(f))))
	f.Add([]byte(jwk(f, ecJWK(f))))
	f.Add([]byte(jwk(f, rsaJWK(f, 2048))))
	f.Add([]byte(`{"keys":[{"kty":"OKP","crv":"Ed448","kid":"x"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		set, err := Parse(data)
		if err != nil {
			if !errors.Is(err, ErrInvalid) || len(set.Keys) != 0 {
				t.Fatalf("got %+v, %v", set, err)
			}
			return
		}
		if len(set.Keys) > len(set.KIDs) {
			t.Fatal("a key without its kid")
		}
	})
}
