package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tocsin-auth/tocsin/authsvc/internal/auth"
)

func TestAPanicIsAnsweredAndLogged(t *testing.T) {
	var log bytes.Buffer
	s := newServer(t, nil)
	s.log = slog.New(slog.NewTextHandler(&log, nil))
	s.router.Get("/panic", func(http.ResponseWriter, *http.Request) { panic("oh") })
	w := request{method: "GET", path: "/panic"}.send(s)
	if p := problem(t, w); w.Code != 500 || p.Code != "internal" || strings.Contains(w.Body.String(), "oh") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if !strings.Contains(log.String(), "panic=oh") || !strings.Contains(log.String(), "observe_test.go") || !strings.Contains(log.String(), w.Header().Get("X-Request-Id")) {
		t.Errorf("log: %s", &log)
	}
}

func TestFaultsOfOursStayOurs(t *testing.T) {
	s := newServer(t, nil)
	for err, want := range map[error]string{
		errors.New("SELECT secret"):   "internal",
		context.DeadlineExceeded:      "unavailable",
		auth.ErrUnavailable:           "unavailable",
		auth.ErrThrottled:             "throttled",
		&auth.Error{Code: "surprise"}: "surprise",
	} {
		p := s.problemFor(t.Context(), err)
		if p.Code != want || strings.Contains(p.Detail, "SELECT") || (p.Status == 503 || p.Status == 429) != (p.header.Get("Retry-After") != "") {
			t.Errorf("%v: %+v", err, p)
		}
	}
}

func TestLogAndMetricsHoldNoSecrets(t *testing.T) {
	var log bytes.Buffer
	s := newSystem(t)
	s.log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	alice := s.person("alice")
	s.do("GET", "/v1/me?access_token="+alice.AccessToken, "", nil)
	s.do("GET", "/v1/me", alice.bearer(), nil)
	s.do("POST", "/v1/token/refresh", "", map[string]string{"refresh_token": alice.RefreshToken})
	s.do("DELETE", "/v1/me/sessions/"+alice.APIKeys[0].Key, alice.bearer(), nil)
	s.form("/oauth2/introspect", alice.basic(), "token="+alice.AccessToken)
	s.do("PROPFIND", "/"+alice.AccessToken, alice.bearer(), nil)
	metrics := s.do("GET", "/metrics", "", nil).Body.String()
	for _, secret := range []string{alice.AccessToken, alice.RefreshToken, alice.APIKeys[0].Key, userPassword, "alice"} {
		if strings.Contains(log.String(), secret) || strings.Contains(metrics, secret) {
			t.Errorf("%q is in the log or the metrics", secret)
		}
	}
	for _, want := range []string{`tocsin_http_requests_total{method="GET",route="/v1/me",status="200"} 1`, `tocsin_http_requests_total{method="other",route="unmatched",status="405"} 1`,
		`tocsin_http_refusals_total{code="unauthenticated"} 1`, `tocsin_http_refusals_total{code="invalid_request"} 1`, `route="/v1/me/sessions/{id}"`} {
		if !strings.Contains(metrics, want) {
			t.Errorf("metrics lack %s:\n%s", want, metrics)
		}
	}
}

func TestReadinessNamesWhatIsMissingAndNotWhy(t *testing.T) {
	s := newServer(t, nil)
	s.ready["nats"] = func(context.Context) error { return errors.New("secret host") }
	w := request{method: "GET", path: "/readyz"}.send(s)
	if w.Code != 503 || strings.TrimSpace(w.Body.String()) != `{"ready":false,"checks":{"database":true,"nats":false}}` {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := (request{method: "GET", path: "/healthz"}).send(s); w.Code != 200 {
		t.Errorf("liveness: %d", w.Code)
	}
}

// slowReceipts answers when it is told to, or fails when the request's context ends first.
type slowReceipts struct {
	fakeReceipts
	asked, answer chan struct{}
}

func (r slowReceipts) Receipt(ctx context.Context, ids []string, wait Wait, timeout time.Duration) (Receipt, error) {
	close(r.asked)
	select {
	case <-r.answer:
		return r.fakeReceipts.Receipt(ctx, ids, wait, timeout)
	case <-ctx.Done():
		return Receipt{}, ctx.Err()
	}
}

// The read deadline of the connection must not end the wait of a call whose body has arrived.
func TestAWaitOutlivesTheReadDeadline(t *testing.T) {
	s := newSystem(t)
	slow := slowReceipts{asked: make(chan struct{}), answer: make(chan struct{})}
	s.receipts = slow
	server := s.HTTPServer()
	server.ReadTimeout = 50 * time.Millisecond
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	fatal(t, err)
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	defer func() { server.Close(); <-ended }()

	r, err := http.NewRequestWithContext(t.Context(), "POST", "http://"+listener.Addr().String()+"/v1/admin/revocations?wait=fleet", strings.NewReader(`{"jti":"`+anID+`"}`))
	fatal(t, err)
	r.Header.Set("Authorization", s.admin)
	r.Header.Set("Content-Type", "application/json")
	time.AfterFunc(300*time.Millisecond, func() { close(slow.answer) }) // several read deadlines later
	answer, err := http.DefaultClient.Do(r)
	fatal(t, err)
	body, err := io.ReadAll(answer.Body)
	fatal(t, errors.Join(err, answer.Body.Close()))
	if answer.StatusCode != 200 || !strings.Contains(string(body), `"seq":7`) {
		t.Errorf("%d %s", answer.StatusCode, body)
	}
}

// A stop must not wait as long as the most patient caller; the change has happened, so the call has succeeded.
func TestAShutdownCutsWaitsShort(t *testing.T) {
	s := newSystem(t)
	slow := slowReceipts{asked: make(chan struct{})}
	s.receipts = slow
	server := s.HTTPServer()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	fatal(t, err)
	go server.Serve(listener)
	r, err := http.NewRequestWithContext(t.Context(), "POST", "http://"+listener.Addr().String()+"/v1/admin/revocations?wait=fleet&timeout=30s", strings.NewReader(`{"jti":"`+anID+`"}`))
	fatal(t, err)
	r.Header.Set("Authorization", s.admin)
	r.Header.Set("Content-Type", "application/json")
	stopped := make(chan error, 1)
	go func() {
		<-slow.asked
		stopped <- server.Shutdown(context.Background())
	}()
	answer, err := http.DefaultClient.Do(r)
	fatal(t, err)
	defer answer.Body.Close()
	var receipt Receipt
	fatal(t, json.NewDecoder(answer.Body).Decode(&receipt))
	if answer.StatusCode != 200 || receipt.EventID == nil || receipt.Published {
		t.Errorf("%d %+v", answer.StatusCode, receipt)
	}
	fatal(t, <-stopped)
}

func TestClientsAreKnownByTheirConnectionOnly(t *testing.T) {
	r := httptest.NewRequest("GET", "/", nil)
	r.RemoteAddr = "[2001:db8::1]:99"
	r.Header.Set("X-Forwarded-For", "10.0.0.1")
	r.Header.Set("User-Agent", "a\x00\x1b[31m\xffb"+strings.Repeat("é", 200))
	got := newServer(t, nil).clientOf(r)
	if got.IP != "2001:db8::1" || !strings.HasPrefix(got.UserAgent, "a[31mb") || len(got.UserAgent) > maxUserAgent {
		t.Errorf("%+v", got)
	}
}

func TestTwoServersNeedTwoRegistries(t *testing.T) {
	registry := prometheus.NewRegistry()
	cfg := Config{Keys: fakeKeys{}, Issuer: testIssuer, Metrics: registry, Log: slog.New(slog.NewTextHandler(io.Discard, nil))}
	if _, err := New(cfg); err != nil {
		t.Fatal(err)
	}
	if _, err := New(cfg); err == nil {
		t.Error("metrics were registered twice")
	}
}

func TestLogAndMetricsTellTheModeOfTheCredential(t *testing.T) {
	var log bytes.Buffer
	s := newSystem(t)
	s.log = slog.New(slog.NewTextHandler(&log, nil))
	alice := s.person("alice")
	var test auth.Tokens
	s.must(200, "POST", "/v1/login", "", map[string]string{"username": "alice", "password": userPassword, "mode": "test"}, &test)
	for _, c := range []struct{ authorization, auth, mode string }{
		{alice.bearer(), "bearer", "live"}, {"Bearer " + test.AccessToken, "bearer", "test"},
		{alice.key(), "api_key", "live"}, {"Api-Key " + alice.APIKeys[1].Key, "api_key", "test"},
	} {
		log.Reset()
		s.must(200, "GET", "/v1/me", c.authorization, nil, nil)
		if want := "auth=" + c.auth + " mode=" + c.mode; !strings.Contains(log.String(), want) {
			t.Errorf("the log lacks %q: %s", want, &log)
		}
	}
	log.Reset()
	s.form("/oauth2/introspect", alice.basic(), "token="+alice.AccessToken)
	s.must(401, "GET", "/v1/me", "Api-Key x", nil, nil)
	if !strings.Contains(log.String(), "auth=api_key mode=live") || !strings.Contains(log.String(), `auth="" mode=""`) {
		t.Errorf("%s", &log)
	}
	metrics := s.do("GET", "/metrics", "", nil).Body.String()
	for _, want := range []string{`{auth="bearer",mode="live"} 1`, `{auth="bearer",mode="test"} 1`, `{auth="api_key",mode="live"} 2`, `{auth="api_key",mode="test"} 1`} {
		if !strings.Contains(metrics, "tocsin_http_authenticated_requests_total"+want) {
			t.Errorf("metrics lack %s:\n%s", want, metrics)
		}
	}
}
