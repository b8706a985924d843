// Package visibility holds what an operator sees to the running programs: every metric that an alert uses is served, the
// alerts fire on the right ones, and each change of state is logged once.
package visibility

import (
	"bufio"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/test/machine"
	"github.com/tocsin-auth/tocsin/test/pgtest"
	"github.com/tocsin-auth/tocsin/test/system"
)

func TestMain(m *testing.M) {
	code := pgtest.Run(m)
	system.RemoveBuild()
	os.Exit(code)
}

// scrape returns the samples of a program by series, labels in the order in which they are served.
func scrape(t *testing.T, api system.API) map[string]float64 {
	t.Helper()
	got := api.Must(t, http.StatusOK, "GET", "/metrics", "", nil)
	samples := map[string]float64{}
	lines := bufio.NewScanner(strings.NewReader(string(got.Body)))
	for lines.Scan() {
		line := lines.Text()
		cut := strings.LastIndexByte(line, ' ')
		if strings.HasPrefix(line, "#") || cut < 0 {
			continue
		}
		value, err := strconv.ParseFloat(line[cut+1:], 64)
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		samples[line[:cut]] = value
	}
	return samples
}

// selector finds the metrics of an expression with the labels that it asks for.
var selector = regexp.MustCompile(`\b(tocsin_\w+)(?:\{([^}]*)\})?`)

func TestEveryMetricOfTheAlertsAndTheDashboardIsServed(t *testing.T) {
	a := system.StartAuth(t, nil)
	r := system.StartResource(t, a, nil)
	admin, u := a.Admin(t), a.Register(t, "alice")
	r.Must(t, 200, "GET", "/v1/whoami", u.Auth(), nil)
	r.Must(t, 200, "GET", "/v1/whoami/elite", u.Auth(), nil)
	a.Must(t, 200, "POST", "/v1/admin/revocations?wait=fleet&timeout=30s", admin.Auth(), map[string]any{"token": u.Token})
	served := scrape(t, a.API)
	for name, value := range scrape(t, r.API) {
		served[name] = value
	}
	for _, expression := range expressions(t) {
		for _, m := range selector.FindAllStringSubmatch(expression, -1) {
			if !isServed(served, m[1], m[2]) {
				t.Errorf("%s: nobody serves %s", expression, m[0])
			}
		}
	}
}

// expressions are those of the alerts and of the dashboard.
func expressions(t *testing.T) (all []string) {
	t.Helper()
	for _, group := range readRules(t).Groups {
		for _, rule := range group.Rules {
			all = append(all, rule.Expr)
		}
	}
	return append(all, dashboard(t)...)
}

func dashboard(t *testing.T) (all []string) {
	t.Helper()
	var board struct {
		Panels []struct {
			Targets []struct{ Expr string }
		}
	}
	text, err := os.ReadFile(filepath.Join(filepath.Dir(rulesFile(t)), "grafana-dashboard.json"))
	if err == nil {
		err = json.Unmarshal(text, &board)
	}
	if err != nil || len(board.Panels) == 0 {
		t.Fatal(err, board)
	}
	for _, panel := range board.Panels {
		for _, target := range panel.Targets {
			all = append(all, target.Expr)
		}
	}
	return all
}

// isServed looks for a metric with labels of the names that the matchers have, and one of the values of those that match
// by =. An outcome that hasn't happened yet has no series, so what matches by =~ needs only its label.
func isServed(served map[string]float64, metric, matchers string) bool {
	for series := range served {
		name, labels, _ := strings.Cut(series, "{")
		if name != metric {
			continue
		}
		matches := true
		for _, m := range strings.Split(matchers, ",") {
			want := m
			if name, _, regular := strings.Cut(m, "=~"); regular {
				want = name + "="
			}
			matches = matches && strings.Contains(labels, strings.TrimSpace(want))
		}
		if matches {
			return true
		}
	}
	return false
}

func TestPropagationIsMeasured(t *testing.T) {
	a := system.StartAuth(t, nil)
	r := system.StartResource(t, a, nil)
	admin := a.Admin(t)
	const revocations = 20
	before := scrape(t, r.API)["tocsin_verifier_propagation_seconds_count"]
	var calls time.Duration
	for range revocations {
		u := admin
		a.Login(t, &u)
		began := time.Now()
		a.Must(t, 200, "POST", "/v1/admin/revocations?wait=fleet&timeout=30s", admin.Auth(), map[string]any{"token": u.Token})
		calls += time.Since(began)
	}
	got := scrape(t, r.API)
	if n := got["tocsin_verifier_propagation_seconds_count"] - before; n != revocations {
		t.Errorf("%v events timed, want %d", n, revocations)
	}
	// The programs share a machine and a clock: the truth is a few milliseconds, at any rate less than a call takes that waits for
	// it, and a wrong offset shows at once.
	if mean := got["tocsin_verifier_propagation_seconds_sum"] / got["tocsin_verifier_propagation_seconds_count"]; mean <= 0 || mean > 0.5+2*calls.Seconds()/revocations {
		t.Errorf("%v s on average, %v for a call", mean, calls/revocations)
	}
	t.Logf("mean %.2f ms", 1000*got["tocsin_verifier_propagation_seconds_sum"]/got["tocsin_verifier_propagation_seconds_count"])
	machine.Await(t, "the feed's own figures", func() bool {
		fleet := scrape(t, a.API)
		return fleet[`tocsin_feed_verifiers{service="resourcesvc",state="fresh"}`] == 1 && fleet["tocsin_feed_dispatcher"] == 1 &&
			fleet["tocsin_feed_unnumbered_events"] == 0 && fleet["tocsin_feed_head"] >= revocations
	})
}
