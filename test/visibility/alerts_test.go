package visibility

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/tocsin-auth/tocsin/test/system"
)

// promtool returns the path of Prometheus's tool, which the tests of the rules need.
func promtool(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("promtool")
	if err == nil {
		return path
	}
	if slices.Contains(strings.Split(os.Getenv("TOCSIN_REQUIRE"), ","), "promtool") {
		t.Fatal("promtool is required (Debian's package prometheus has it): ", err)
	}
	t.Skip("no promtool")
	return ""
}

func rulesFile(t *testing.T) string {
	t.Helper()
	root, err := system.Root()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(root, "deploy", "alerts.yml")
}

type rules struct {
	Groups []struct {
		Rules []struct {
			Alert, Expr string
			Labels      map[string]string
			Annotations map[string]string
		}
	}
}

func readRules(t *testing.T) (all rules) {
	t.Helper()
	text, err := os.ReadFile(rulesFile(t))
	if err == nil {
		err = yaml.Unmarshal(text, &all)
	}
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestAlertsFireOnTheRightOnesAndOnNothingElse(t *testing.T) {
	tool := promtool(t)
	for title, s := range scenarios {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "test.yml")
			if err := os.WriteFile(file, s.promtoolTest(t), 0o600); err != nil {
				t.Fatal(err)
			}
			if out, err := exec.CommandContext(t.Context(), tool, "test", "rules", file).CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// promtoolTest writes the scenario as promtool reads it.
func (s scenario) promtoolTest(t *testing.T) []byte {
	t.Helper()
	type sample struct {
		Labels string
		Value  int
	}
	type expression struct {
		Expr       string
		EvalTime   string   `yaml:"eval_time"`
		ExpSamples []sample `yaml:"exp_samples"`
	}
	var input []map[string]string
	all := healthy()
	maps.Copy(all, s.change)
	for name, values := range all {
		input = append(input, map[string]string{"series": name, "values": values})
	}
	var moments []expression
	for at, alerts := range s.fire {
		e := expression{Expr: `count by (alertname) (ALERTS{alertstate="firing"})`, EvalTime: at, ExpSamples: []sample{}}
		for alert, n := range alerts {
			e.ExpSamples = append(e.ExpSamples, sample{fmt.Sprintf("{alertname=%q}", alert), n})
		}
		moments = append(moments, e)
	}
	text, err := yaml.Marshal(map[string]any{
		"rule_files": []string{rulesFile(t)}, "evaluation_interval": "5s",
		"tests": []map[string]any{{"interval": "5s", "input_series": input, "promql_expr_test": moments}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestTheShippedPrometheusConfigurationIsValid(t *testing.T) {
	tool := promtool(t)
	for _, args := range [][]string{
		{"check", "rules", rulesFile(t)},
		{"check", "config", filepath.Join(filepath.Dir(rulesFile(t)), "prometheus.yml")},
	} {
		if out, err := exec.CommandContext(t.Context(), tool, args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %v: %v\n%s", args, err, out)
		}
	}
}

// Each expression becomes a rule, as promtool checks nothing else.
func TestTheDashboardsExpressionsAreValid(t *testing.T) {
	tool := promtool(t)
	type rule struct{ Record, Expr string }
	var all []rule
	for n, expr := range dashboard(t) {
		all = append(all, rule{fmt.Sprintf("panel:%d", n), expr})
	}
	text, err := yaml.Marshal(map[string]any{"groups": []map[string]any{{"name": "dashboard", "rules": all}}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "rules.yml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), tool, "check", "rules", file).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestEveryAlertIsShownToFireAndHasItsPartInTheRunbook(t *testing.T) {
	runbook, err := os.ReadFile(filepath.Join(filepath.Dir(rulesFile(t)), "..", "docs", "operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	fired := map[string]bool{}
	for _, s := range scenarios {
		for _, alerts := range s.fire {
			for alert := range alerts {
				fired[alert] = true
			}
		}
	}
	for _, group := range readRules(t).Groups {
		for _, r := range group.Rules {
			if !fired[r.Alert] {
				t.Errorf("no scenario makes %s fire", r.Alert)
			}
			if !regexp.MustCompile(`(?m)^### .*\b` + r.Alert + `\b`).Match(runbook) {
				t.Errorf("docs/operations.md has no part ### %s", r.Alert)
			}
			if s := r.Labels["severity"]; s != "page" && s != "warn" || r.Annotations["summary"] == "" {
				t.Errorf("%s: severity %q, summary %q", r.Alert, s, r.Annotations["summary"])
			}
		}
	}
}
