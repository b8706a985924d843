package auth

import (
	"crypto"
	"crypto/ed25519"
	"errors"
	"testing"

	"github.com/golang-jwt/jwt/v5"
)

func FuzzParseToken(f *testing.F) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		f.Fatal(err)
	}
	good, err := signToken("k", "EdDSA", private, accessClaims{Issuer: "i", Subject: "s"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add("a.b.c")
	f.Add("eyJhbGciOiJub25lIn0.e30.")
	f.Add("eyJhbGciOiJIUzI1NiIsInR5cCI6ImF0K2p3dCIsImtpZCI6ImsifQ.e30.AAAA")
	key := func(kid string) (string, crypto.PublicKey, bool) { return "EdDSA", public, kid == "k" }
	f.Fuzz(func(t *testing.T, token string) {
		claims, err := parseToken(token, key)
		if err != nil {
			if !errors.Is(err, errNotOurToken) {
				t.Fatalf("an error of another kind: %v", err)
			}
			return
		}
		if token != good || claims.Subject != "s" {
			t.Fatal("accepted what was never signed")
		}
		if _, err := peekToken(token); err != nil {
			t.Fatal(err)
		}
	})
}

// An access token that names a job, or a job grant that names none, was made by nobody: the type and the claims go together.
func TestATypeThatIsNotThatOfTheClaimsIsRefused(t *testing.T) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	key := func(string) (string, crypto.PublicKey, bool) { return "EdDSA", public, true }
	for _, c := range []struct {
		typ, job string
		good     bool
	}{{tokenType, "", true}, {jobGrantType, "job-1", true}, {tokenType, "job-1", false}, {jobGrantType, "", false}, {"JWT", "", false}, {"AT+JWT", "", false}} {
		token := jwt.NewWithClaims(jwt.SigningMethodEdDSA, accessClaims{Subject: "s", JobID: c.job})
		token.Header["typ"], token.Header["kid"] = c.typ, "k"
		text, err := token.SignedString(private)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parseToken(text, key); (err == nil) != c.good {
			t.Errorf("%s with job %q: %v", c.typ, c.job, err)
		}
	}
}

func FuzzDecodePHC(f *testing.F) {
	f.Add(newHasher(cheap).dummy)
	f.Add("$argon2id$v=19$m=1,t=1,p=1$$")
	f.Fuzz(func(t *testing.T, phc string) {
		p, salt, sum, err := decodePHC(phc)
		if err != nil {
			return
		}
		again, salt2, sum2, err := decodePHC(encodePHC(p, salt, sum))
		if err != nil || again != p || string(salt2) != string(salt) || string(sum2) != string(sum) {
			t.Fatalf("%q doesn't survive: %v", phc, err)
		}
	})
}
