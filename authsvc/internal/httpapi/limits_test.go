package httpapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

// limited is a system with limits, whose clock stands still and whose clients have addresses.
type limited struct {
	*system
	clock time.Time
	lines bytes.Buffer
}

func newLimited(t *testing.T, l Limits) *limited {
	s := &limited{system: newSystem(t), clock: time.Now()}
	s.limits = newLimits(l)
	s.now = func() time.Time { return s.clock }
	s.log = slog.New(slog.NewTextHandler(&s.lines, nil))
	return s
}

func (s *limited) from(ip, path string, header http.Header, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest("POST", path, strings.NewReader(body))
	r.RemoteAddr = ip + ":1234"
	r.Header.Set("Content-Type", "application/json")
	for name, values := range header {
		r.Header[name] = values
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

func (s *limited) signIn(ip, username, password string) int {
	s.t.Helper()
	body, err := json.Marshal(map[string]string{"username": username, "password": password})
	fatal(s.t, err)
	w := s.from(ip, "/v1/login", nil, string(body))
	if w.Code == 429 && (code(s.t, w) != "throttled" || w.Header().Get("Retry-After") == "") {
		s.t.Errorf("%s %v", w.Body, w.Header())
	}
	return w.Code
}

// episodes counts the lines that tell of a limit, and refusals its metric.
func (s *limited) episodes(limit string) int {
	return strings.Count(s.lines.String(), "too many attempts; refusing more until they slow down\" limit="+limit)
}

func (s *limited) refusals(limit string) float64 {
	return testutil.ToFloat64(s.metrics.throttled.WithLabelValues(limit))
}

func TestFailedLoginsOfOneNetworkAreThrottledAndGoodOnesCostNothing(t *testing.T) {
	s := newLimited(t, Limits{Logins: Limit{Times: 3, Per: 30 * time.Second}})
	const here, elsewhere = "192.0.2.1", "192.0.2.2"
	for range 5 {
		if got := s.signIn(here, "admin", adminPassword); got != 200 {
			t.Fatalf("a good login: %d", got)
		}
	}
	for n := range 3 {
		if got := s.signIn(here, fmt.Sprintf("user%d", n), "wrong"); got != 401 {
			t.Fatalf("failure %d: %d", n, got)
		}
	}
	for range 3 {
		if got := s.signIn(here, "admin", adminPassword); got != 429 {
			t.Fatalf("after too many: %d", got)
		}
	}
	if got := s.signIn(elsewhere, "admin", adminPassword); got != 200 {
		t.Errorf("from elsewhere: %d", got)
	}
	if s.episodes("login") != 1 || s.refusals("login") != 3 {
		t.Errorf("%d episodes, %v refusals", s.episodes("login"), s.refusals("login"))
	}
	s.clock = s.clock.Add(10 * time.Second)
	if got := s.signIn(here, "user", "wrong"); got != 401 {
		t.Errorf("one more each interval: %d", got)
	}
	if got := s.signIn(here, "user", "wrong"); got != 429 || s.episodes("login") != 1 {
		t.Errorf("and no more: %d, in %d episodes", got, s.episodes("login"))
	}
	s.clock = s.clock.Add(time.Minute)
	for range 4 {
		s.signIn(here, "user", "wrong")
	}
	if s.episodes("login") != 2 {
		t.Errorf("%d episodes after a pause", s.episodes("login"))
	}
	if text := s.lines.String(); strings.Contains(text, "admin\"") || strings.Contains(text, "username") || strings.Contains(text, "wrong") {
		t.Errorf("the log holds what was typed:\n%s", text)
	}
}

func TestRetryAfterIsWhenTheNextAttemptIsTaken(t *testing.T) {
	s := newLimited(t, Limits{Logins: Limit{Times: 1, Per: 90 * time.Second}})
	s.signIn("192.0.2.1", "user", "wrong")
	s.clock = s.clock.Add(200 * time.Millisecond)
	w := s.from("192.0.2.1", "/v1/login", nil, `{"username":"user","password":"wrong"}`)
	if w.Code != 429 || w.Header().Get("Retry-After") != "90" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	s.clock = s.clock.Add(90 * time.Second)
	if got := s.signIn("192.0.2.1", "user", "wrong"); got != 401 {
		t.Errorf("%d", got)
	}
}

func TestRegistrationsOfOneNetworkAreThrottled(t *testing.T) {
	s := newLimited(t, Limits{Registrations: Limit{Times: 2, Per: time.Hour}})
	register := func(ip, name string) int {
		return s.from(ip, "/v1/register", nil, `{"username":"`+name+`","password":"`+userPassword+`"}`).Code
	}
	for n, want := range []int{201, 409, 429, 429} { // a name that is taken has cost a hash as well
		if got := register("2001:db8::1", "ada"); got != want {
			t.Errorf("call %d: %d, want %d", n, got, want)
		}
	}
	if got := register("2001:db8::2", "bob"); got != 429 {
		t.Errorf("the same network: %d", got)
	}
	if got := register("2001:db8:1::1", "bob"); got != 201 {
		t.Errorf("another network: %d", got)
	}
	if s.episodes("register") != 1 || s.refusals("register") != 3 {
		t.Errorf("%d episodes, %v refusals", s.episodes("register"), s.refusals("register"))
	}
}

func TestGoodCredentialsAreNeverRefusedForOthersThatAreNot(t *testing.T) {
	s := newLimited(t, Limits{Credentials: Limit{Times: 2, Per: time.Hour}})
	u := s.person("ada")
	const here = "192.0.2.1"
	basic := func(key string) http.Header {
		return with("Authorization", "Api-Key "+key, "Content-Type", "application/x-www-form-urlencoded")
	}
	refresh := func(token string) *httptest.ResponseRecorder {
		return s.from(here, "/v1/token/refresh", nil, `{"refresh_token":"`+token+`"}`)
	}
	grant := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {"x"}}.Encode()
	for n, want := range []int{401, 401, 429} {
		if w := refresh("nonsense"); w.Code != want {
			t.Errorf("refresh %d: %d, want %d", n, w.Code, want)
		}
	}
	w := s.from(here, "/oauth2/token", with("Content-Type", "application/x-www-form-urlencoded"), grant)
	if w.Code != 429 || !strings.Contains(w.Body.String(), "temporarily_unavailable") || w.Header().Get("Retry-After") == "" {
		t.Errorf("refresh grant: %d %s %v", w.Code, w.Body, w.Header())
	}
	for _, path := range []string{"/oauth2/introspect", "/oauth2/revoke", "/oauth2/token"} {
		if w := s.from(here, path, basic("tcs_live_none"), "token=x&grant_type=client_credentials"); w.Code != 429 {
			t.Errorf("%s without a good key: %d", path, w.Code)
		}
	}
	if w := s.from(here, "/oauth2/introspect", basic(u.APIKeys[0].Key), "token=x"); w.Code != 200 {
		t.Errorf("a good key: %d %s", w.Code, w.Body)
	}
	if w := refresh(u.RefreshToken); w.Code != 200 {
		t.Errorf("a good refresh token: %d %s", w.Code, w.Body)
	}
	if s.episodes("credential") != 1 {
		t.Errorf("%d episodes", s.episodes("credential"))
	}
}

func TestFailuresOfOneAccountCostMoreAndMoreTime(t *testing.T) {
	s := newLimited(t, Limits{AccountTries: 2})
	s.person("ada")
	for _, name := range []string{"ada", "nobody", "no name that anybody can have"} { // alike
		stranger := 0
		signIn := func(password string) int {
			stranger++
			return s.signIn(fmt.Sprintf("198.51.100.%d", stranger), name, password)
		}
		for range 2 {
			if got := signIn("wrong"); got != 401 {
				t.Fatalf("%s: free: %d", name, got)
			}
		}
		for _, wait := range []time.Duration{1, 2, 4, 8} {
			if got := signIn("wrong"); got != 401 {
				t.Fatalf("%s: after the wait: %d", name, got)
			}
			s.clock = s.clock.Add(wait*time.Second - time.Millisecond)
			if got := signIn("wrong"); got != 429 {
				t.Fatalf("%s: %ds are not over: %d", name, wait, got)
			}
			s.clock = s.clock.Add(time.Millisecond)
		}
	}
	if s.episodes("account") != 3 {
		t.Errorf("%d episodes of 3 accounts", s.episodes("account"))
	}
	if got := s.signIn("192.0.2.7", "ADA", userPassword); got != 200 {
		t.Errorf("the password: %d", got)
	}
	if got := s.signIn("192.0.2.7", "ada", "wrong") + s.signIn("192.0.2.7", "ada", "wrong"); got != 802 {
		t.Errorf("success begins a new row: %d", got)
	}
}

func TestStrangersDoNotLockOutAnOwnerWhereTheOwnerSignedInLately(t *testing.T) {
	s := newLimited(t, Limits{AccountTries: 1})
	s.person("ada")
	const home = "192.0.2.1"
	if got := s.signIn(home, "ada", userPassword); got != 200 {
		t.Fatal(got)
	}
	for range 3 {
		s.signIn("198.51.100.1", "ada", "wrong")
	}
	if got := s.signIn("198.51.100.2", "ada", userPassword); got != 429 {
		t.Errorf("from nowhere: %d", got)
	}
	if got := s.signIn(home, "ada", userPassword); got != 200 {
		t.Errorf("at home: %d", got)
	}
	if got := s.signIn("198.51.100.2", "ada", userPassword); got != 429 {
		t.Errorf("the strangers wait on: %d", got)
	}
	for n, want := range []int{401, 401, 429} { // a thief at home isn't free either
		if got := s.signIn(home, "ada", "wrong"); got != want {
			t.Errorf("try %d at home: %d, want %d", n, got, want)
		}
	}
}

func TestAStolenSessionGuessesThePasswordSlowlyAndStopsNoOther(t *testing.T) {
	s := newLimited(t, Limits{AccountTries: 2})
	u := s.person("ada")
	change := func(bearer, current string) int {
		return s.do("POST", "/v1/me/password", bearer, map[string]string{"current": current, "new": "another long passphrase"}).Code
	}
	for n, want := range []int{401, 401, 401, 429} {
		if got := change(u.bearer(), "wrong"); got != want {
			t.Errorf("guess %d: %d, want %d", n, got, want)
		}
	}
	owner := s.login("ada", userPassword)
	if got := change("Bearer "+owner.AccessToken, userPassword); got != 204 {
		t.Errorf("the owner in another session: %d", got)
	}
}

func TestLimitsAreOffUnlessTheyAreSet(t *testing.T) {
	s := newLimited(t, Limits{})
	for range 50 {
		if w := s.from("192.0.2.1", "/v1/token/refresh", nil, `{"refresh_token":"x"}`); w.Code != 401 {
			t.Fatal(w.Code)
		}
	}
}
