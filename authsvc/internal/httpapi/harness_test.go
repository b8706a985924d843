package httpapi

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tocsin-auth/tocsin/authsvc/internal/auth"
)

const testIssuer = "http://auth.test"

// fakeReceipts numbers events in the order in which it is asked about them.
type fakeReceipts struct{}

func (fakeReceipts) Expect(Wait) func() { return func() {} }

func (fakeReceipts) Receipt(_ context.Context, ids []string, wait Wait, _ time.Duration) (Receipt, error) {
	if len(ids) == 0 {
		return Receipt{}, nil
	}
	epoch, seq, total := "0190a5c0-0000-7000-8000-000000000001", uint64(7), 1
	r := Receipt{EventID: &ids[len(ids)-1], Epoch: &epoch, Seq: &seq, Published: wait != WaitNone}
	if wait == WaitFleet {
		r.Fleet = &Fleet{Total: &total, Laggards: []Laggard{{Service: "cars", Instance: "é\U0001F600"}}}
	}
	return r, nil
}

type fakeFleets struct{}

func (fakeFleets) Verifiers() []Verifier { return nil }

type fakeKeys struct{}

func (fakeKeys) JWKS(context.Context) ([]byte, error)     { return []byte(`{"keys":[]}`), nil }
func (fakeKeys) FeedJWKS(context.Context) ([]byte, error) { return []byte(`{"keys":[]}`), nil }

// newServer builds a server around a domain; nil: one that answers nothing.
func newServer(t testing.TB, domain *auth.Service) *Server {
	t.Helper()
	s, err := New(Config{Auth: domain, Receipts: fakeReceipts{}, Fleets: fakeFleets{}, Keys: fakeKeys{},
		Ready:  map[string]func(context.Context) error{"database": func(context.Context) error { return nil }},
		Issuer: testIssuer, SigningAlg: "EdDSA", Version: "test", Metrics: prometheus.NewRegistry(), Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// request is one HTTP request of a test.
type request struct {
	method, path string
	body         string
	header       http.Header
}

func with(pairs ...string) http.Header {
	h := http.Header{}
	for i := 0; i < len(pairs); i += 2 {
		h.Add(pairs[i], pairs[i+1])
	}
	return h
}

func (r request) send(h http.Handler) *httptest.ResponseRecorder {
	req := httptest.NewRequest(r.method, r.path, strings.NewReader(r.body))
	for name, values := range r.header {
		req.Header[name] = values
	}
	if r.body != "" && r.header == nil {
		req.Header.Set("Content-Type", "application/json")
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, req)
	return w
}

// problem decodes a refusal and checks what holds for every one.
func problem(t testing.TB, w *httptest.ResponseRecorder) Problem {
	t.Helper()
	var p Problem
	if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
		t.Fatalf("%d %s: %v", w.Code, w.Body, err)
	}
	if got := w.Header().Get("Content-Type"); got != problemType {
		t.Errorf("Content-Type %q", got)
	}
	if p.Status != w.Code || p.Type != "urn:tocsin:error:"+p.Code || p.Title == "" {
		t.Errorf("%d: %s", w.Code, w.Body)
	}
	return p
}
