package httpapi

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/authsvc/internal/auth"
	"github.com/tocsin-auth/tocsin/authsvc/internal/keyring"
	gather "github.com/tocsin-auth/tocsin/authsvc/internal/liveness"
	"github.com/tocsin-auth/tocsin/authsvc/internal/seal"
	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
)

const (
	adminPassword = "an administrator of tests"
	userPassword  = "a long enough passphrase"
)

// testBus remembers who may join.
type testBus struct{ members []store.Service }

func (*testBus) NewMember(name string) (nkey, seed string, err error) {
	return "U" + name, "S" + name, nil
}
func (*testBus) Configuration(name, nkey string) (string, error) { return name + nkey, nil }
func (b *testBus) Sync(_ context.Context, members []store.Service) error {
	b.members = members
	return nil
}

// system is a server around the real domain on SQLite, with an administrator.
type system struct {
	*Server
	t     testing.TB
	db    *store.DB
	admin string // Authorization
}

func newSystem(t testing.TB) *system {
	t.Helper()
	ctx, log := t.Context(), slog.New(slog.NewTextHandler(io.Discard, nil))
	db, err := store.Open(ctx, "sqlite:"+filepath.Join(t.TempDir(), "tocsin.db"), log)
	fatal(t, err)
	t.Cleanup(func() { db.Close() })
	fatal(t, db.Migrate(ctx))
	sealer, err := seal.New(seal.NewKey())
	fatal(t, err)
	ring, err := keyring.Open(ctx, keyring.Config{DB: db, Sealer: sealer, Issuer: testIssuer, Alg: "EdDSA", Log: log})
	fatal(t, err)
	reads := gather.NewGatherer(db, gather.DefaultShares)
	reads.Patience = time.Hour
	t.Cleanup(func() { fatal(t, reads.Close(context.Background())) })
	domain, err := auth.New(auth.Config{DB: db, Reads: reads, Ring: ring, Issuer: testIssuer, Audience: "tocsin", AccessTTL: 15 * time.Minute,
		RefreshTTL: time.Hour, RefreshIdle: time.Hour, PasswordMin: 12, Bus: &testBus{}, Nudge: func() {}, Used: func(string) {}, Log: log})
	fatal(t, err)
	_, err = domain.Bootstrap(ctx, auth.BootstrapRequest{Username: "admin", Password: adminPassword})
	fatal(t, err)
	s := &system{Server: newServer(t, domain), t: t, db: db}
	s.admin = "Bearer " + s.login("admin", adminPassword).AccessToken
	return s
}

func fatal(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// do sends a request with a credential; body, when not nil, goes as JSON.
func (s *system) do(method, path, authorization string, body any) *httptest.ResponseRecorder {
	s.t.Helper()
	r := request{method: method, path: path, header: http.Header{}}
	if body != nil {
		text, err := json.Marshal(body)
		fatal(s.t, err)
		r.body = string(text)
		r.header.Set("Content-Type", "application/json")
	}
	if authorization != "" {
		r.header.Set("Authorization", authorization)
	}
	return r.send(s)
}

// must is do for a call that has to answer with this status; into, when not nil, takes the body.
func (s *system) must(status int, method, path, authorization string, body, into any) *httptest.ResponseRecorder {
	s.t.Helper()
	w := s.do(method, path, authorization, body)
	if w.Code != status {
		s.t.Fatalf("%s %s: %d %s, want %d", method, path, w.Code, w.Body, status)
	}
	if into != nil {
		if err := json.Unmarshal(w.Body.Bytes(), into); err != nil {
			s.t.Fatalf("%s %s: %v in %s", method, path, err, w.Body)
		}
	}
	return w
}

func (s *system) login(username, password string) auth.Tokens {
	s.t.Helper()
	var tokens auth.Tokens
	s.must(200, "POST", "/v1/login", "", map[string]string{"username": username, "password": password}, &tokens)
	return tokens
}

// person is a registered user with a session.
type person struct {
	registration
	auth.Tokens
}

func (p person) bearer() string { return "Bearer " + p.AccessToken }
func (p person) key() string    { return "Api-Key " + p.APIKeys[0].Key }

func (s *system) person(username string) person {
	s.t.Helper()
	var p person
	s.must(201, "POST", "/v1/register", "", map[string]string{"username": username, "password": userPassword, "email": username + "@example.com"}, &p.registration)
	p.Tokens = s.login(username, userPassword)
	return p
}

// receipt reads the header of a call that narrowed trust.
func (s *system) receipt(w *httptest.ResponseRecorder) Receipt {
	s.t.Helper()
	var r Receipt
	if err := json.Unmarshal([]byte(w.Header().Get("Tocsin-Receipt")), &r); err != nil {
		s.t.Fatalf("receipt %q of %d %s: %v", w.Header().Get("Tocsin-Receipt"), w.Code, w.Body, err)
	}
	return r
}

// code is the stable code of a refusal.
func code(t testing.TB, w *httptest.ResponseRecorder) string {
	t.Helper()
	return problem(t, w).Code
}
