package identity

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/forwardauth/internal/target"
	"github.com/tocsin-auth/tocsin/pkg/verifier"
)

var began = time.Date(2026, 1, 2, 3, 4, 5, 600e6, time.UTC)

// rig is a signer with a clock that the test sets.
type rig struct {
	*Signer
	now time.Time
}

func newRig(life time.Duration) *rig {
	r := &rig{NewSigner(NewKey(), "sidecar", life), began}
	r.Signer.now = func() time.Time { return r.now }
	return r
}

func read(t *testing.T, s *Signer, token string) claims {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("token %q", token)
	}
	signature, _ := base64.RawURLEncoding.DecodeString(parts[2])
	if !ed25519.Verify(s.key.Public().(ed25519.PublicKey), []byte(parts[0]+"."+parts[1]), signature) {
		t.Fatal("the signature is wrong")
	}
	payload, _ := base64.RawURLEncoding.DecodeString(parts[1])
	var c claims
	if err := json.Unmarshal(payload, &c); err != nil {
		t.Fatal(err)
	}
	return c
}

func asked(method, path string) *target.Target {
	return &target.Target{Method: method, Host: "a.example", Path: path}
}

func alice(end time.Time) *verifier.Principal {
	return &verifier.Principal{Subject: "alice", Roles: []string{"user"}, Mode: "live", Method: "bearer", SessionID: "s", Actor: "worker", Expires: end}
}

func TestATokenIsForOneRequestOfOneBackend(t *testing.T) {
	r := newRig(MaxLife)
	c := read(t, r.Signer, r.Token("cars", asked("GET", "/v1/cars"), alice(began.Add(time.Hour))))
	if c.Issuer != "sidecar" || c.Audience != "cars" || c.Method != "GET" || c.Path != "/v1/cars" || c.Host != "a.example" || c.Subject != "alice" || c.Actor.Subject != "worker" ||
		c.IssuedAt != began.Unix() || c.Expires != began.Add(MaxLife).Unix() || c.Session != "s" || c.AuthMethod != "bearer" {
		t.Errorf("%+v", c)
	}
	all := map[string]bool{}
	for _, token := range []string{
		r.Token("cars", asked("GET", "/v1/cars"), alice(began.Add(time.Hour))), r.Token("jobs", asked("GET", "/v1/cars"), alice(began.Add(time.Hour))),
		r.Token("cars", asked("POST", "/v1/cars"), alice(began.Add(time.Hour))), r.Token("cars", asked("GET", "/v1/car"), alice(began.Add(time.Hour))),
		r.Token("cars", asked("GET", "/v1/cars"), &verifier.Principal{Subject: "bob"}),
	} {
		all[token] = true
	}
	if len(all) != 5 {
		t.Errorf("%d different tokens", len(all))
	}
}

func TestATokenNeverOutlivesTheCredential(t *testing.T) {
	r := newRig(MaxLife)
	if c := read(t, r.Signer, r.Token("cars", asked("GET", "/"), alice(began.Add(3*time.Second)))); c.Expires != began.Add(3*time.Second).Unix() {
		t.Errorf("%+v", c)
	}
	// One that was made for another credential of the same session isn't given to it either.
	r = newRig(MaxLife)
	r.Token("cars", asked("GET", "/"), alice(began.Add(time.Hour)))
	if c := read(t, r.Signer, r.Token("cars", asked("GET", "/"), alice(began.Add(time.Second)))); c.Expires > began.Add(time.Second).Unix() {
		t.Errorf("%+v", c)
	}
	if c := read(t, r.Signer, r.Token("cars", asked("GET", "/x"), alice(time.Time{}))); c.Expires != began.Add(MaxLife).Unix() {
		t.Errorf("a key without an end: %+v", c)
	}
}

func TestATokenIsGivenAgainForHalfOfItsLife(t *testing.T) {
	r := newRig(10 * time.Second)
	first := r.Token("cars", asked("GET", "/"), alice(time.Time{}))
	r.now = began.Add(4 * time.Second)
	if r.Token("cars", asked("GET", "/"), alice(time.Time{})) != first {
		t.Error("signed again")
	}
	r.now = began.Add(5 * time.Second)
	if again := r.Token("cars", asked("GET", "/"), alice(time.Time{})); again == first || read(t, r.Signer, again).Expires != began.Add(15*time.Second).Unix() {
		t.Error("given again after half of its life")
	}
	r.now = began.Add(-time.Hour)
	if c := read(t, r.Signer, r.Token("cars", asked("GET", "/"), alice(time.Time{}))); c.Expires > r.now.Add(10*time.Second).Unix() {
		t.Error("after a step back of the clock it lives for more than its life")
	}
}

func TestTheTokensThatAreKeptAreBounded(t *testing.T) {
	r := newRig(MaxLife)
	r.kept(nil, began)
	for i := range maxMade + 10 {
		r.keep(strconv.Itoa(i), "x")
	}
	if len(r.made) > maxMade {
		t.Errorf("%d are kept", len(r.made))
	}
}

func TestAKeyIsReadFromAFile(t *testing.T) {
	dir := t.TempDir()
	write := func(name, kind string, key any) string {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	key := NewKey()
	if got, err := LoadKey(write("good", "PRIVATE KEY", key)); err != nil || !got.Equal(key) {
		t.Error(err)
	}
	if _, err := LoadKey(write("bad", "PUBLIC KEY", key)); err == nil {
		t.Error("another block was taken")
	}
	if _, err := LoadKey(filepath.Join(dir, "none")); err == nil {
		t.Error("no file was taken")
	}
}

func TestTheKeySetHoldsNoPrivatePart(t *testing.T) {
	set := string(newRig(MaxLife).JWKS())
	if strings.Contains(set, `"d"`) || !strings.Contains(set, `"kid"`) {
		t.Error(set)
	}
}

func TestHeadersInAnySpellingAreOurs(t *testing.T) {
	for name, want := range map[string]bool{
		"Tocsin-Subject": true, "tocsin-subject": true, "TOCSIN_SUBJECT": true, "Tocsin.Subject": true, "tocsin-": true, "Tocsin Subject": true, "Tocsin-\u00e4": true,
		"Tocsin": false, "X-Tocsin-Subject": false, "Toxin-Subject": false, "": false,
	} {
		if IsOurs(name) != want {
			t.Errorf("%q: %v", name, !want)
		}
	}
}

func BenchmarkToken(b *testing.B) {
	r := NewSigner(NewKey(), "sidecar", MaxLife)
	p, a := alice(time.Now().Add(time.Hour)), asked("GET", "/v1/cars")
	b.Run("given again", func(b *testing.B) {
		for b.Loop() {
			r.Token("cars", a, p)
		}
	})
	c := newClaims("sidecar", "cars", a, p)
	b.Run("signed", func(b *testing.B) {
		for b.Loop() {
			r.sign(c.encode())
		}
	})
}
