package forwardauth

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tocsin-auth/tocsin/test/proxytest"
	"github.com/tocsin-auth/tocsin/test/system"
)

func TestBehindHAProxy(t *testing.T) {
	program := proxytest.Installed(t, "haproxy")
	s := startScene(t, "haproxy", short)
	text, addr := s.configure(t, "haproxy/haproxy.cfg")
	root, err := system.Root()
	if err != nil {
		t.Fatal(err)
	}
	text = strings.ReplaceAll(text, "/etc/haproxy/tocsin.lua", filepath.Join(root, "deploy/forwardauth/haproxy/tocsin.lua"))
	conf := filepath.Join(t.TempDir(), "haproxy.cfg")
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s.start(t, addr, program, "-db", "-f", conf)
	behindAProxy(t, s)
}
