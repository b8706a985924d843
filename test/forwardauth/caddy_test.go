package forwardauth

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/tocsin-auth/tocsin/test/proxytest"
)

// Caddy is built by make caddy.
func TestBehindCaddy(t *testing.T) {
	program := proxytest.Installed(t, "caddy")
	s := startScene(t, "caddy", short)
	text, addr := s.configure(t, "caddy/Caddyfile")
	conf := filepath.Join(t.TempDir(), "Caddyfile")
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s.start(t, addr, program, "run", "--config", conf, "--adapter", "caddyfile")
	// It forwards announced ones, and has no matcher for them: docs/forwardauth.md says so.
	t.Run("unannounced trailers never reach the backend", func(t *testing.T) { s.stripsTrailers(t) })
	behindAProxy(t, s)
}
