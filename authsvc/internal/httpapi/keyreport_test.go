package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/pkg/events/apikey"
)

// quickReports keeps a test from waiting for the pace of the answers.
func quickReports(s *system) *system {
	s.reports.pace = time.Millisecond
	return s
}

func TestAReportIsAnsweredAlikeWhateverIsInIt(t *testing.T) {
	s := quickReports(newSystem(t))
	known := s.person("ada").APIKeys[0].Key
	damaged := known[:len(known)-1] + "x"
	var answers []string
	for _, keys := range [][]string{{}, {""}, {known}, {known}, {apikey.New(events.ModeLive)}, {damaged}, {strings.Repeat("x", 1000)}, {known, damaged}} {
		w := s.must(202, "POST", "/v1/keys/report", "", map[string]any{"keys": keys}, nil)
		w.Header().Del("X-Request-Id")
		answers = append(answers, fmt.Sprint(w.Header(), w.Body))
	}
	for i, answer := range answers {
		if answer != answers[0] {
			t.Errorf("answer %d: %s, and the first %s", i, answer, answers[0])
		}
	}
	s.must(401, "GET", "/v1/me", "Api-Key "+known, nil, nil)
	for outcome, want := range map[string]float64{"revoked": 1, "dead": 2, "unknown": 1, "malformed": 4} {
		if got := testutil.ToFloat64(s.metrics.reports.WithLabelValues(outcome)); got != want {
			t.Errorf("%s: %v, want %v", outcome, got, want)
		}
	}
}

func TestAReportInGitHubsFormIsTaken(t *testing.T) {
	s := quickReports(newSystem(t))
	p := s.person("ada")
	s.must(202, "POST", "/v1/keys/report/github", "", []map[string]any{
		{"token": p.APIKeys[0].Key, "type": "tocsin_api_key", "url": "https://example.com/x", "source": "content", "more": nil}, {"token": "x"},
	}, nil)
	s.must(401, "GET", "/v1/me", p.key(), nil, nil)
	s.must(200, "GET", "/v1/me", "Api-Key "+p.APIKeys[1].Key, nil, nil)
}

func TestAReportThatIsNoneIsRefused(t *testing.T) {
	s := quickReports(newSystem(t))
	key := s.person("ada").APIKeys[0].Key
	many := func(n int) string { return strings.Repeat(`"`+key+`",`, n) + `"` + key + `"` }
	for _, body := range []string{
		``, `{`, `[]`, `{}`, `"x"`, `{"keys":null}`, `{"keys":"` + key + `"}`, `{"keys":[1]}`, `{"keys":[null]}`, `{"keys":[["` + key + `"]]}`,
		`{"keys":["` + key + `"],"more":1}`, `{"keys":["` + key + `"],"keys":[]}`, `{"keys":[` + many(100) + `]}`,
	} {
		w := request{method: "POST", path: "/v1/keys/report", body: body, header: with("Content-Type", "application/json")}.send(s)
		if w.Code != http.StatusBadRequest || strings.Contains(w.Body.String(), key) {
			t.Errorf("%.60s: %d %s", body, w.Code, w.Body)
		}
	}
	for _, body := range []string{`{}`, `{"keys":["` + key + `"]}`, `[{}]`, `[{"token":1}]`, `["` + key + `"]`} {
		w := request{method: "POST", path: "/v1/keys/report/github", body: body, header: with("Content-Type", "application/json")}.send(s)
		if w.Code != http.StatusBadRequest {
			t.Errorf("%s: %d %s", body, w.Code, w.Body)
		}
	}
	s.must(200, "GET", "/v1/me", "Api-Key "+key, nil, nil)
}

func TestReportsOfOneAddressAreThrottled(t *testing.T) {
	s := quickReports(newSystem(t))
	now := time.Now()
	s.now = func() time.Time { return now }
	send := func() int { return s.do("POST", "/v1/keys/report", "", map[string]any{"keys": []string{}}).Code }
	for range reportBurst {
		if got := send(); got != 202 {
			t.Fatal(got)
		}
	}
	w := s.do("POST", "/v1/keys/report", "", map[string]any{"keys": []string{}})
	if code(t, w) != "throttled" || w.Header().Get("Retry-After") == "" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if now = now.Add(reportInterval); send() != 202 || send() != 429 {
		t.Error("one more each interval")
	}
}

func TestThrottleKnowsAddressesApart(t *testing.T) {
	now := time.Now()
	for _, tc := range []struct {
		first, second string
		alike         bool
	}{
		{"192.0.2.1", "192.0.2.2", false}, {"192.0.2.1", "::ffff:192.0.2.1", true}, {"2001:db8::1", "2001:db8::2", true},
		{"2001:db8::1", "2001:db8:0:1::1", false}, {"fe80::1%a", "fe80::2%b", true}, {"", "no address", true},
	} {
		th := newThrottle(time.Second, 1, 10)
		if !th.allow(networkOf(tc.first), now) || th.allow(networkOf(tc.second), now) == tc.alike {
			t.Errorf("%q and %q: want alike %v", tc.first, tc.second, tc.alike)
		}
	}
}

func TestThrottleRemembersSoManyAddressesAndNoMore(t *testing.T) {
	th, now := newThrottle(time.Second, 1, 100), time.Now()
	for i := range 1000 {
		if caller := fmt.Sprintf("192.0.%d.%d", i/250, i%250); !th.allow(caller, now) || th.allow(caller, now) {
			t.Fatalf("caller %d doesn't count for itself", i)
		}
	}
	if len(th.next) != 100 || len(th.refusing) > 100 {
		t.Errorf("%d are remembered, %d of them refused", len(th.next), len(th.refusing))
	}
}

func TestThrottleRemembersWhoCalledTheMostForLongest(t *testing.T) {
	th, now := newThrottle(time.Second, 3, 100), time.Now()
	for th.allow("many", now) {
	}
	for i := range 1000 {
		th.allow(fmt.Sprint(i), now)
	}
	if th.allow("many", now) {
		t.Error("it is forgotten")
	}
}

func TestPacedAnswersDontTellHowLongTheWorkTook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for took, want := range map[time.Duration]time.Duration{0: 500, 3 * time.Millisecond: 500, 499 * time.Millisecond: 500, 600 * time.Millisecond: 1000} {
			began, failure := time.Now(), errors.New("its own")
			err := paced(t.Context(), 500*time.Millisecond, func() error { time.Sleep(took); return failure }) // of the bubble
			if got := time.Since(began); got != want*time.Millisecond || err != failure {
				t.Errorf("work of %v: %v after %v", took, err, got)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		began := time.Now()
		if err := paced(ctx, time.Hour, func() error { return nil }); err != nil || time.Since(began) != 0 {
			t.Error("waits for a client that has gone")
		}
	})
}
