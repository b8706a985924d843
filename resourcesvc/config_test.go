package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/pkg/verifier"
)

func TestBadConfigurationNamesItselfInOneLineAndExits2(t *testing.T) {
	for _, tc := range []struct{ name, value string }{
		{"TOCSIN_HTTP_ADDR", "nowhere"},
		{"TOCSIN_MAX_STALENESS", "soon"},
		{"TOCSIN_MAX_STALENESS", "999ms"},
		{"TOCSIN_MAX_STALENESS", "6m"},
		{"TOCSIN_SERVE_STALE_MAX", "0s"},
		{"TOCSIN_STALE_POLICY", "allow"},
		{"TOCSIN_DATABASE_URL", "mysql://u:secret@h/d"},
		{"TOCSIN_DATABASE_URL_FILE", "/does/not/exist"},
		{"TOCSIN_ALLOW_TEST", "perhaps"},
		{"TOCSIN_LOG_LEVEL", "loud"},
		{"TOCSIN_ISSUER", "http://auth.example.com"},
		{"TOCSIN_SERVICE", "a.b"},
		{"TOCSIN_JOB_LEASE", "1ms"},
		{"TOCSIN_JOB_TRIES", "0"},
		{"TOCSIN_QUEUE_REPLICAS", "2"},
		{"TOCSIN_GRANTS_KEY", "secret"},
		{"TOCSIN_GRANTS_KEY_FILE", "/does/not/exist"},
		{"TOCSIN_API_KEY", "two secret\nkeys"},
		{"TOCSIN_API_KEY_FILE", "/does/not/exist"},
	} {
		t.Run(tc.name+"="+tc.value, func(t *testing.T) {
			t.Setenv("TOCSIN_DATA_DIR", t.TempDir())
			t.Setenv(tc.name, tc.value)
			var out, errs bytes.Buffer
			if code := run(t.Context(), []string{"serve"}, &out, &errs); code != 2 {
				t.Errorf("exit %d, want 2", code)
			}
			name := strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(tc.name, "TOCSIN_"), "_", "-"))
			said := strings.ToLower(strings.ReplaceAll(errs.String(), "_", "-"))
			if !strings.Contains(said, name) || strings.Count(said, "\n") != 1 || strings.Contains(said, "secret") {
				t.Errorf("stderr %q, want one line that names %s", errs.String(), name)
			}
		})
	}
}

func TestBadConfigurationOfAWorkerNamesItselfInOneLineAndExits2(t *testing.T) {
	for _, tc := range []struct{ name, value string }{
		{"TOCSIN_API_KEY", ""},
		{"TOCSIN_API_KEY", "two secret keys"},
		{"TOCSIN_API_KEY_FILE", "/does/not/exist"},
		{"TOCSIN_SERVICE_URL", "http://jobs.example.com"},
		{"TOCSIN_COMPUTE_URL", "https://u:secret@compute.example.com"},
		{"TOCSIN_ISSUER", "ftp://auth.example.com"},
		{"TOCSIN_SERVICE", "a.b"},
		{"TOCSIN_CONCURRENCY", "0"},
		{"TOCSIN_JOB_TIMEOUT", "-1s"},
	} {
		t.Run(tc.name+"="+tc.value, func(t *testing.T) {
			if !strings.HasPrefix(tc.name, "TOCSIN_API_KEY") {
				t.Setenv("TOCSIN_API_KEY", "k")
			}
			t.Setenv(tc.name, tc.value)
			var out, errs bytes.Buffer
			if code := run(t.Context(), []string{"worker"}, &out, &errs); code != 2 {
				t.Errorf("exit %d, want 2", code)
			}
			if said := errs.String(); !strings.Contains(said, tc.name) || strings.Count(said, "\n") != 1 || strings.Contains(said, "secret") {
				t.Errorf("stderr %q, want one line that names %s", said, tc.name)
			}
		})
	}
}

func TestPasswordOnTheCommandLineIsRefused(t *testing.T) {
	var out, errs bytes.Buffer
	code := run(t.Context(), []string{"serve", "--database-url=postgres://u:hidden@h/d"}, &out, &errs)
	if code != 2 || strings.Contains(errs.String(), "hidden") {
		t.Errorf("exit %d: %s", code, errs.String())
	}
}

func TestConfigurationReachesTheVerifier(t *testing.T) {
	file := filepath.Join(t.TempDir(), "url")
	if err := os.WriteFile(file, []byte("postgres://u:p@h/d\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TOCSIN_DATABASE_URL_FILE", file)
	t.Setenv("TOCSIN_SERVICE", "cars")
	_, all, err := parse([]string{"serve", "--stale-policy=serve-stale", "--serve-stale-max=2m"}, &bytes.Buffer{})
	if err != nil {
		t.Fatal(err)
	}
	cfg := all.Serve
	if cfg.DatabaseURL != "postgres://u:p@h/d" || cfg.verifier().Service != "cars" {
		t.Errorf("%+v", cfg)
	}
	if got := cfg.stalePolicy(); got != verifier.ServeStale(2*time.Minute) {
		t.Errorf("policy %v", got)
	}
	if cfg.stalePolicy() == verifier.Deny {
		t.Error("serve-stale became deny")
	}
}

func TestHelpAndVersionAreNoFailures(t *testing.T) {
	for _, args := range [][]string{{"serve", "--help"}, {"version"}, {}} {
		var out, errs bytes.Buffer
		if code := run(t.Context(), args, &out, &errs); code != 0 || errs.Len() > 0 || out.Len() == 0 {
			t.Errorf("%v: exit %d, %q, %q", args, code, out.String(), errs.String())
		}
	}
	if _, _, err := parse([]string{"--help"}, &bytes.Buffer{}); !errors.Is(err, errHelp) {
		t.Errorf("help: %v", err)
	}
}

func TestASecretThatIsGivenTwiceIsRefused(t *testing.T) {
	t.Setenv("TOCSIN_API_KEY", "one")
	t.Setenv("TOCSIN_API_KEY_FILE", "/etc/passwd")
	if _, err := secret("TOCSIN_API_KEY"); err == nil || !strings.Contains(err.Error(), "TOCSIN_API_KEY_FILE") {
		t.Error(err)
	}
}
