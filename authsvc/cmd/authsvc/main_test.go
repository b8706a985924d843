package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/tocsin-auth/tocsin/authsvc/internal/config"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// settings makes a configuration for free ports; more pairs are variables and values.
func settings(t *testing.T, dir string, pairs ...string) config.Serve {
	t.Helper()
	cfg, err := config.Parse([]string{"serve"}, environment(dir, pairs...), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	return cfg.Serve
}

func environment(dir string, pairs ...string) func(string) string {
	values := map[string]string{"TOCSIN_DATA_DIR": dir, "TOCSIN_HTTP_ADDR": "127.0.0.1:0", "TOCSIN_NATS_LISTEN": "127.0.0.1:0", "TOCSIN_LOG_LEVEL": "info"}
	for i := 0; i < len(pairs); i += 2 {
		values[pairs[i]] = pairs[i+1]
	}
	return func(name string) string { return values[name] }
}

// running is a server in this process.
type running struct {
	base   string
	stop   context.CancelFunc
	ended  chan error
	stderr *bytes.Buffer
}

var urlPattern = regexp.MustCompile(`listens on (http://\S+)`)

func start(t *testing.T, cfg config.Serve) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{stop: cancel, ended: make(chan error, 1), stderr: &bytes.Buffer{}}
	out, in := io.Pipe()
	go func() {
		err := serve(ctx, cfg, in, r.stderr)
		in.Close()
		r.ended <- err
	}()
	lines := bufio.NewScanner(out)
	for r.base == "" && lines.Scan() {
		if found := urlPattern.FindStringSubmatch(lines.Text()); found != nil {
			r.base = found[1]
		}
	}
	if r.base == "" {
		t.Fatalf("didn't start: %v %s", <-r.ended, r.stderr)
	}
	return r
}

// end stops the server and fails unless that is clean.
func (r *running) end(t *testing.T) {
	t.Helper()
	http.DefaultClient.CloseIdleConnections()
	r.stop()
	if err := <-r.ended; err != nil {
		t.Errorf("stop: %v", err)
	}
}

func (r *running) login(t *testing.T, password string) (status int) {
	t.Helper()
	body := fmt.Sprintf(`{"username":"admin","password":%q}`, password)
	answer, err := http.Post(r.base+"/v1/login", "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	io.Copy(io.Discard, answer.Body)
	return answer.StatusCode
}

func (r *running) get(t *testing.T, path string, into any) int {
	t.Helper()
	answer, err := http.Get(r.base + path)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if err := json.NewDecoder(answer.Body).Decode(into); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return answer.StatusCode
}

func TestServerStartsStopsAndStartsAgainWithTheSameKeys(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	first := start(t, settings(t, dir, "TOCSIN_ISSUER", "http://auth.test"))
	password, err := os.ReadFile(filepath.Join(dir, "admin-password"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"admin-password", "secrets.key", "tocsin.db", "nats/resourcesvc.nk", "nats/nats.conf"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", name, info, err)
		}
	}
	var before, after, metadata map[string]any
	first.get(t, "/.well-known/jwks.json", &before)
	if status := first.login(t, strings.TrimSpace(string(password))); status != 200 {
		t.Errorf("login with the written password: %d", status)
	}
	first.end(t)

	if err := os.Remove(filepath.Join(dir, "admin-password")); err != nil {
		t.Fatal(err)
	}
	second := start(t, settings(t, dir, "TOCSIN_ISSUER", "http://auth.test"))
	second.get(t, "/.well-known/jwks.json", &after)
	second.get(t, "/.well-known/oauth-authorization-server", &metadata)
	if fmt.Sprint(before) != fmt.Sprint(after) || metadata["issuer"] != "http://auth.test" {
		t.Errorf("keys %v became %v; metadata %v", before, after, metadata)
	}
	if status := second.login(t, strings.TrimSpace(string(password))); status != 200 {
		t.Errorf("login after a restart: %d", status)
	}
	if _, err := os.Stat(filepath.Join(dir, "admin-password")); err == nil {
		t.Error("the password was written twice")
	}
	second.end(t)
}

func TestReadyMeansDatabaseNATSAndFeed(t *testing.T) {
	r := start(t, settings(t, t.TempDir()))
	defer r.end(t)
	var state struct {
		Ready  bool
		Checks map[string]bool
	}
	for status := 0; status != 200; { // the first term begins beside the start
		status = r.get(t, "/readyz", &state)
	}
	if !state.Ready || len(state.Checks) != 3 {
		t.Errorf("%+v", state)
	}
}

func TestBadStartsSayWhyInOneLine(t *testing.T) {
	held := t.TempDir()
	lock, err := config.OpenDataDir(held)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	port := busy.Addr().String()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		command string
		env     []string
		exit    int
		names   string
	}{
		"bad duration":         {"serve", []string{"TOCSIN_ACCESS_TTL", "soon"}, exitUsage, "TOCSIN_ACCESS_TTL"},
		"held directory":       {"serve", []string{"TOCSIN_DATA_DIR", held}, exitFailure, held},
		"held, migrating":      {"migrate", []string{"TOCSIN_DATA_DIR", held}, exitFailure, held},
		"directory is a file":  {"serve", []string{"TOCSIN_DATA_DIR", file}, exitFailure, file},
		"busy port":            {"serve", []string{"TOCSIN_HTTP_ADDR", port}, exitFailure, port},
		"busy NATS port":       {"serve", []string{"TOCSIN_NATS_LISTEN", port}, exitFailure, port},
		"no database":          {"serve", []string{"TOCSIN_DATABASE_URL", "postgres://" + port + "/x?connect_timeout=1"}, exitFailure, "database"},
		"bad master key":       {"serve", []string{"TOCSIN_SECRETS_KEY", "short"}, exitUsage, "TOCSIN_SECRETS_KEY"},
		"guessable password":   {"serve", []string{"TOCSIN_BOOTSTRAP_ADMIN_PASSWORD", "password1234"}, exitUsage, "TOCSIN_BOOTSTRAP_ADMIN_PASSWORD"},
		"no credentials file":  {"serve", []string{"TOCSIN_NATS_URL", "nats://127.0.0.1:1", "TOCSIN_NATS_CREDS", "/nonexistent"}, exitFailure, "/nonexistent"},
		"unknown command":      {"swerve", nil, exitUsage, "swerve"},
		"bad URL for migrate":  {"migrate", []string{"TOCSIN_DATABASE_URL", "mysql://x"}, exitUsage, "TOCSIN_DATABASE_URL"},
		"SQLite in a bad path": {"migrate", []string{"TOCSIN_DATABASE_URL", "sqlite:" + file + "/x.db"}, exitFailure, "database"},
	} {
		t.Run(name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			exit := run([]string{test.command}, environment(filepath.Join(t.TempDir(), "data"), test.env...), &stdout, &stderr)
			text := stderr.String()
			if exit != test.exit || strings.Count(text, "\n") != 1 || !strings.Contains(text, test.names) {
				t.Errorf("exit %d, want %d and one line that names %s:\n%s%s", exit, test.exit, test.names, text, &stdout)
			}
		})
	}
}

func TestMigrateAndVersionEnd(t *testing.T) {
	for _, command := range []string{"migrate", "version", "--help"} {
		var stdout, stderr bytes.Buffer
		if exit := run([]string{command}, environment(t.TempDir()), &stdout, &stderr); exit != exitOK || stdout.Len() == 0 {
			t.Errorf("%s: exit %d, %s%s", command, exit, &stdout, &stderr)
		}
	}
}
