package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/tocsin-auth/tocsin/pkg/events"
)

const (
	testIssuer   = "https://auth.example.com"
	testAudience = "tocsin"
	testSubject  = "01980000-0000-7000-8000-000000000001"
	testJTI      = "01980000-0000-7000-8000-000000000002"
	testSession  = "01980000-0000-7000-8000-000000000003"
	testKeyID    = "01980000-0000-7000-8000-000000000004"
	testActor    = "01980000-0000-7000-8000-000000000005"
)

var public, private, _ = ed25519.GenerateKey(rand.Reader)

var edKey = Key{Algorithm: "EdDSA", Public: public}

func goodHeader() map[string]any { return map[string]any{"alg": "EdDSA", "typ": "at+jwt", "kid": "k1"} }

func goodClaims() map[string]any {
	return map[string]any{
		"iss": testIssuer, "aud": testAudience, "sub": testSubject, "jti": testJTI, "sid": testSession,
		"client_id": "tocsin", "exp": 2_000_000_900, "iat": 2_000_000_000, "roles": []string{"user", "admin"},
		"rv": 7, "tv": 8, "mode": "live", "auth_time": 1_999_999_999, "amr": []string{"pwd"},
	}
}

func encode(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

func signText(header, payload string) string {
	return signEncoded(base64.RawURLEncoding.EncodeToString([]byte(header)), base64.RawURLEncoding.EncodeToString([]byte(payload)))
}

func signEncoded(header, payload string) string {
	input := header + "." + payload
	return input + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(private, []byte(input)))
}

func verify(raw string) (*Claims, error) {
	t, err := Parse(raw)
	if err != nil {
		return nil, err
	}
	return t.Verify(edKey, testIssuer, testAudience)
}

func id(t testing.TB, s string) events.ID {
	t.Helper()
	id, err := events.ParseID(s)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// actFor makes an exchanged token of claims, and then changes some; nil takes one away.
func actFor(change map[string]any) func(map[string]any) {
	return func(c map[string]any) {
		c["client_id"], c["act"] = testKeyID, map[string]any{"sub": testActor, "client_id": testKeyID}
		c["parents"] = []any{map[string]any{"sub": testActor, "tv": 9, "key_id": testKeyID}}
		for name, value := range change {
			if c[name] = value; value == nil {
				delete(c, name)
			}
		}
	}
}

func TestGoodTokenGivesItsClaims(t *testing.T) {
	claims := goodClaims()
	claims["key_id"] = testKeyID
	claims["client_id"] = testKeyID
	claims["act"] = map[string]any{"sub": testActor, "client_id": testKeyID, "act": map[string]any{"sub": "inner"}}
	claims["parents"] = []any{map[string]any{"jti": testJTI, "sid": testSession, "sub": testSubject, "tv": 8}, map[string]any{"sub": testActor, "tv": 9, "key_id": testKeyID}}
	claims["custom"] = map[string]any{"deep": []any{1.5e3, true, nil, "é\"\\"}}
	got, err := verify(signEncoded(encode(goodHeader()), encode(claims)))
	if err != nil {
		t.Fatal(err)
	}
	payload, _ := json.Marshal(claims)
	want := &Claims{
		KeyID: "k1", ID: id(t, testJTI), Subject: id(t, testSubject), SessionID: id(t, testSession), APIKeyID: id(t, testKeyID),
		ClientID: testKeyID, Mode: events.ModeLive, Roles: []string{"user", "admin"}, RV: 7, TV: 8,
		Expires: 2_000_000_900, IssuedAt: 2_000_000_000, AuthTime: 1_999_999_999,
		Methods: []string{"pwd"}, Actor: &Actor{Subject: testActor, ClientID: testKeyID},
		Parents: []Parent{{ID: id(t, testJTI), SessionID: id(t, testSession), Subject: id(t, testSubject), TV: 8}, {Subject: id(t, testActor), TV: 9, APIKeyID: id(t, testKeyID)}},
		Payload: string(payload),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestEveryAlgorithmVerifiesWithItsOwnKeyOnly(t *testing.T) {
	ec, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	rs, _ := rsa.GenerateKey(rand.Reader, 2048)
	signers := map[string]struct {
		method jwt.SigningMethod
		secret crypto.Signer
	}{"EdDSA": {jwt.SigningMethodEdDSA, private}, "ES256": {jwt.SigningMethodES256, ec}, "RS256": {jwt.SigningMethodRS256, rs}}
	for alg, signer := range signers {
		header := goodHeader()
		header["alg"] = alg
		input := encode(header) + "." + encode(goodClaims())
		signature, err := signer.method.Sign(input, signer.secret)
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := Parse(input + "." + base64.RawURLEncoding.EncodeToString(signature))
		if err != nil {
			t.Fatal(alg, err)
		}
		for keyAlg, keyOf := range signers {
			_, err := parsed.Verify(Key{Algorithm: keyAlg, Public: keyOf.secret.Public()}, testIssuer, testAudience)
			if keyAlg == alg && err != nil {
				t.Errorf("%s with its key: %v", alg, err)
			}
			if keyAlg != alg && !errors.Is(err, ErrAlgorithm) {
				t.Errorf("%s with a key for %s: %v", alg, keyAlg, err)
			}
		}
	}
}

func TestHMACWithThePublicKeyIsRefused(t *testing.T) {
	header := goodHeader()
	header["alg"] = "HS256"
	input := encode(header) + "." + encode(goodClaims())
	signature, _ := jwt.SigningMethodHS256.Sign(input, []byte(public))
	if _, err := verify(input + "." + base64.RawURLEncoding.EncodeToString(signature)); !errors.Is(err, ErrAlgorithm) {
		t.Error(err)
	}
}

func TestHeaderRules(t *testing.T) {
	set := func(name string, value any) func(map[string]any) { return func(h map[string]any) { h[name] = value } }
	drop := func(name string) func(map[string]any) { return func(h map[string]any) { delete(h, name) } }
	for name, tc := range map[string]struct {
		change func(map[string]any)
		want   error
	}{
		"as issued":              {func(map[string]any) {}, nil},
		"typ in capitals":        {set("typ", "AT+JWT"), nil},
		"typ as full media type": {set("typ", "Application/at+jwt"), nil},
		"hostile jku, jwk, x5u": {func(h map[string]any) {
			h["jku"], h["jwk"], h["x5u"] = "https://evil.example", map[string]any{"kty": "OKP"}, "x"
		}, nil},
		"typ of an ID token":          {set("typ", "JWT"), ErrType},
		"typ absent":                  {drop("typ"), ErrType},
		"typ with another top level":  {set("typ", "text/at+jwt"), ErrType},
		"typ not a string":            {set("typ", 7), ErrMalformed},
		"crit":                        {set("crit", []string{"exp"}), ErrCritical},
		"empty crit":                  {set("crit", []string{}), ErrCritical},
		"alg none":                    {set("alg", "none"), ErrAlgorithm},
		"alg absent":                  {drop("alg"), ErrAlgorithm},
		"alg in another case":         {set("alg", "eddsa"), ErrAlgorithm},
		"alg of another kind of key":  {set("alg", "ES256"), ErrAlgorithm},
		"alg not a string":            {set("alg", []string{"EdDSA"}), ErrMalformed},
		"kid not a string":            {set("kid", map[string]any{}), ErrMalformed},
		"nested deeper than accepted": {set("x", deep(maxDepth)), ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			header := goodHeader()
			tc.change(header)
			if _, err := verify(signEncoded(encode(header), encode(goodClaims()))); !errors.Is(err, tc.want) {
				t.Errorf("got %v, want %v", err, tc.want)
			}
		})
	}
}

func deep(n int) any {
	var v any = 1
	for range n {
		v = []any{v}
	}
	return v
}

func TestClaimRules(t *testing.T) {
	set := func(name string, value any) func(map[string]any) { return func(c map[string]any) { c[name] = value } }
	tests := map[string]struct {
		change func(map[string]any)
		want   error
	}{
		"audience in a list":      {set("aud", []string{"x", testAudience}), nil},
		"no roles":                {set("roles", []string{}), nil},
		"another issuer":          {set("iss", testIssuer+"/"), ErrIssuer},
		"another audience":        {set("aud", "tocsin2"), ErrAudience},
		"other audiences":         {set("aud", []string{"a", "b"}), ErrAudience},
		"no audience in the list": {set("aud", []string{}), ErrAudience},
		"audience as a number":    {set("aud", 5), ErrMalformed},
		"subject not a UUID":      {set("sub", "bob"), ErrClaims},
		"jti of another version":  {set("jti", "01980000-0000-4000-8000-000000000002"), ErrClaims},
		"jti in capitals":         {set("jti", strings.ToUpper("01980000-0000-7000-8000-00000000000a")), ErrClaims},
		"empty session":           {set("sid", ""), ErrClaims},
		"unknown mode":            {set("mode", "Live"), ErrClaims},
		"fractional exp":          {set("exp", 1.5), ErrMalformed},
		"exp beyond int64":        {set("exp", json.Number("99999999999999999999")), ErrMalformed},
		"negative exp":            {set("exp", -1), ErrClaims},
		"exp as text":             {set("exp", "2000000000"), ErrMalformed},
		"roles as text":           {set("roles", "admin"), ErrMalformed},
		"roles null":              {set("roles", nil), ErrMalformed},
		"negative tv":             {set("tv", -1), ErrClaims},
		"parent without ids":      {set("parents", []any{map[string]any{"tv": 3}}), ErrClaims},
		"parent that is a user":   {set("parents", []any{map[string]any{"sub": testSubject, "tv": 3}}), ErrClaims},
		"parent of nobody":        {set("parents", []any{map[string]any{"key_id": testKeyID, "tv": 3}}), ErrClaims},
		"parent of no version":    {set("parents", []any{map[string]any{"sub": testSubject, "key_id": testKeyID}}), ErrClaims},
		"actor":                   {actFor(nil), nil},
		"actor with its key":      {actFor(map[string]any{"key_id": testKeyID}), nil},
		"actor without parents":   {actFor(map[string]any{"parents": nil}), ErrClaims},
		"actor with another key":  {actFor(map[string]any{"key_id": testSession}), ErrClaims},
		"actor of another client": {actFor(map[string]any{"client_id": "tocsin"}), ErrClaims},
		"actor not a parent":      {actFor(map[string]any{"act": map[string]any{"sub": testSubject}}), ErrClaims},
		"nine parents":            {set("parents", make([]map[string]any, 9)), ErrMalformed},
		"act as text":             {set("act", "worker"), ErrMalformed},
	}
	for _, name := range required {
		want := ErrClaims
		switch name {
		case "iss":
			want = ErrIssuer
		case "aud":
			want = ErrAudience
		}
		tests["without "+name] = struct {
			change func(map[string]any)
			want   error
		}{func(c map[string]any) { delete(c, name) }, want}
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			claims := maps.Clone(goodClaims())
			tc.change(claims)
			if _, err := verify(signEncoded(encode(goodHeader()), encode(claims))); !errors.Is(err, tc.want) {
				t.Errorf("got %v, want %v", err, tc.want)
			}
		})
	}
}

func TestShapesThatAreNoToken(t *testing.T) {
	good := signEncoded(encode(goodHeader()), encode(goodClaims()))
	parts := strings.Split(good, ".")
	for name, raw := range map[string]string{
		"empty": "", "dots": "..", "two segments": parts[0] + "." + parts[1], "four segments": good + ".x", "five segments (JWE)": good + ".x.y",
		"empty signature": parts[0] + "." + parts[1] + ".", "empty payload": parts[0] + ".." + parts[2],
		"padding": good + "=", "standard alphabet": parts[0] + "+." + parts[1] + "." + parts[2], "newline": good + "\n",
		"space": " " + good, "NUL": good + "\x00", "not ASCII": good + "é", "too long": good + strings.Repeat("a", MaxLength),
		"many dots": strings.Repeat(".", MaxLength), "JSON serialization": `{"payload":"x","signatures":[]}`,
		"header not base64url": "a." + parts[1] + "." + parts[2],
		"header not JSON":      signText("hello", "{}"), "header an array": signText("[]", "{}"), "header cut": signText(`{"alg":"EdDSA"`, "{}"),
		"text after the header":  signText(`{"alg":"EdDSA","typ":"at+jwt","kid":"k1"} x`, "{}"),
		"duplicate alg":          signText(`{"alg":"none","alg":"EdDSA","typ":"at+jwt","kid":"k1"}`, "{}"),
		"duplicate by escape":    signText(`{"alg":"none","\u0061lg":"EdDSA","typ":"at+jwt","kid":"k1"}`, "{}"),
		"duplicate claim":        signText(`{"alg":"EdDSA","typ":"at+jwt","kid":"k1"}`, `{"sub":"a","sub":"b"}`),
		"duplicate nested":       signText(`{"alg":"EdDSA","typ":"at+jwt","kid":"k1"}`, `{"x":{"a":1,"a":2}}`),
		"lone surrogate":         signText(`{"alg":"EdDSA","typ":"at+jwt","kid":"k1"}`, `{"x":"\ud800"}`),
		"bad UTF-8":              signText(`{"alg":"EdDSA","typ":"at+jwt","kid":"k1"}`, "{\"x\":\"\xff\"}"),
		"raw control character":  signText(`{"alg":"EdDSA","typ":"at+jwt","kid":"k1"}`, "{\"x\":\"\n\"}"),
		"leading zero":           signText(`{"alg":"EdDSA","typ":"at+jwt","kid":"k1"}`, `{"exp":01}`),
		"trailing comma":         signText(`{"alg":"EdDSA","typ":"at+jwt","kid":"k1"}`, `{"exp":1,}`),
		"too many members":       signText(`{"alg":"EdDSA","typ":"at+jwt","kid":"k1"}`, manyMembers(maxMembers+1)),
		"payload null":           signText(`{"alg":"EdDSA","typ":"at+jwt","kid":"k1"}`, `null`),
		"payload two objects":    signText(`{"alg":"EdDSA","typ":"at+jwt","kid":"k1"}`, `{}{}`),
		"payload deeply nested":  signText(`{"alg":"EdDSA","typ":"at+jwt","kid":"k1"}`, strings.Repeat(`{"a":`, 500)),
		"payload deeper by list": signText(`{"alg":"EdDSA","typ":"at+jwt","kid":"k1"}`, `{"a":`+strings.Repeat(`[`, 4000)),
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := verify(raw); !errors.Is(err, ErrMalformed) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func manyMembers(n int) string {
	m := map[string]int{}
	for i := range n {
		m[strings.Repeat("a", i+1)] = i
	}
	b, _ := json.Marshal(m)
	return string(b)
}

func TestAnyChangedCharacterIsRefused(t *testing.T) {
	good := signEncoded(encode(goodHeader()), encode(goodClaims()))
	for i := range good {
		for _, c := range []byte("Aa0_") {
			if good[i] == '.' || good[i] == c {
				continue
			}
			if _, err := verify(good[:i] + string(c) + good[i+1:]); err == nil {
				t.Fatalf("accepted with %q at %d", c, i)
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(signEncoded(encode(goodHeader()), encode(goodClaims())))
	f.Add("..")
	f.Fuzz(func(t *testing.T, raw string) {
		parsed, err := Parse(raw)
		if err != nil {
			return
		}
		if _, err := parsed.Verify(edKey, testIssuer, testAudience); err == nil && !strings.HasSuffix(parsed.input, parsed.payload) {
			t.Error("verified something else than what was read")
		}
	})
}

// FuzzClaims compares the strict reader with the standard library's: what it accepts is JSON, and means the same.
func FuzzClaims(f *testing.F) {
	payload, _ := json.Marshal(goodClaims())
	f.Add(string(payload))
	f.Add(`{"aud":["a"],"x":{"y":[1,-2.5e+3,"\ud83d\ude00"]}}`)
	f.Fuzz(func(t *testing.T, payload string) {
		s := newScanner(payload)
		s.skip()
		if s.end() && !json.Valid([]byte(payload)) {
			t.Fatalf("accepted what is not JSON: %q", payload)
		}
		claims, err := readClaims(payload, "k1", testIssuer, testAudience)
		if err != nil {
			return
		}
		var want struct {
			Sub, JTI, Mode string
			Exp            int64
			Roles          []string
		}
		if err := json.Unmarshal([]byte(payload), &want); err != nil {
			return // other-case names of other types confuse only the lenient reader
		}
		var exact map[string]any
		_ = json.Unmarshal([]byte(payload), &exact)
		if exact["sub"] != claims.Subject.String() || exact["jti"] != claims.ID.String() || exact["mode"] != string(claims.Mode) {
			t.Fatalf("read %+v from %q", claims, payload)
		}
	})
}

func BenchmarkVerifyNeverSeen(b *testing.B) {
	raw := signEncoded(encode(goodHeader()), encode(goodClaims()))
	parsed, _ := Parse(raw)
	signature, _ := base64url.DecodeString(parsed.signature)
	b.Run("token", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := verify(raw); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("signature alone", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if !ed25519.Verify(public, []byte(parsed.input), signature) {
				b.Fatal("bad")
			}
		}
	})
}
