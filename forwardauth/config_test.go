package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestABadValueIsNamedInOneLine(t *testing.T) {
	good := write(t, testRoutes)
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"no proxy":        {[]string{"--routes", good}, "--proxy"},
		"other proxy":     {[]string{"--proxy", "apache", "--routes", good}, "TOCSIN_PROXY"},
		"no routes":       {[]string{"--proxy", "nginx"}, "--routes"},
		"missing file":    {[]string{"--proxy", "nginx", "--routes", good + "x"}, "TOCSIN_ROUTES"},
		"bad routes":      {[]string{"--proxy", "nginx", "--routes", write(t, testRoutes+"- {name: x}\n")}, "routes[4] (line 7): backend is missing"},
		"proxy addresses": {[]string{"--proxy", "nginx", "--routes", good, "--proxy-addrs", "10.0.0.0/33"}, "TOCSIN_PROXY_ADDRS"},
		"life":            {[]string{"--proxy", "nginx", "--routes", good, "--identity-life", "31s"}, "TOCSIN_IDENTITY_LIFE"},
		"issuer":          {[]string{"--proxy", "nginx", "--routes", good, "--identity-issuer", "http://127.0.0.1:8080"}, "TOCSIN_IDENTITY_ISSUER"},
		"key":             {[]string{"--proxy", "nginx", "--routes", good, "--identity-key-file", good}, "TOCSIN_IDENTITY_KEY_FILE"},
		"bound":           {[]string{"--proxy", "nginx", "--routes", good, "--max-staleness", "1ms"}, "TOCSIN_MAX_STALENESS"},
		"address":         {[]string{"--proxy", "nginx", "--routes", good, "--http-addr", "x"}, "TOCSIN_HTTP_ADDR"},
		"duration":        {[]string{"--proxy", "nginx", "--routes", good, "--max-staleness", "5"}, "TOCSIN_MAX_STALENESS"},
	} {
		var stderr bytes.Buffer
		code := run(t.Context(), append([]string{"serve"}, c.args...), &bytes.Buffer{}, &stderr)
		if line := strings.TrimSpace(stderr.String()); code != 2 || !strings.Contains(line, c.want) || strings.Contains(line, "\n") {
			t.Errorf("%s: %d %q, want %q", name, code, line, c.want)
		}
	}
	var stderr bytes.Buffer
	args := []string{"serve", "--proxy", "nginx", "--routes", write(t, strings.Replace(testRoutes, "5s", "50s", 1))}
	if code := run(t.Context(), args, &bytes.Buffer{}, &stderr); code != 2 || !strings.Contains(stderr.String(), "route cars: ") {
		t.Errorf("a bound above the verifier's: %d %s", code, stderr.String())
	}
}

func TestHelpNamesEveryVariable(t *testing.T) {
	var out bytes.Buffer
	if _, _, err := parse([]string{"serve", "--help"}, &out); !errors.Is(err, errHelp) {
		t.Fatal(err)
	}
	for _, name := range []string{"TOCSIN_PROXY", "TOCSIN_ROUTES", "TOCSIN_PROXY_ADDRS", "TOCSIN_NATS_URL", "TOCSIN_IDENTITY_KEY_FILE", "TOCSIN_GRPC_ADDR"} {
		if !strings.Contains(out.String(), name) {
			t.Errorf("%s is missing in\n%s", name, out.String())
		}
	}
}
