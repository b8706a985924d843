// Package proxytest runs real proxies with the configurations of deploy/forwardauth, for tests and benchmarks.
package proxytest

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/test/machine"
	"github.com/tocsin-auth/tocsin/test/system"
)

// Installed finds a program, or skips the test; with its name in TOCSIN_REQUIRE the test fails.
func Installed(t testing.TB, name string) string {
	t.Helper()
	root, err := system.Root()
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{name, "/usr/sbin/" + name, filepath.Join(root, "bin", name)} {
		if found, err := exec.LookPath(path); err == nil {
			return found
		}
	}
	if slices.Contains(strings.Split(os.Getenv("TOCSIN_REQUIRE"), ","), name) {
		t.Fatalf("no %s on this machine", name)
	}
	t.Skipf("no %s on this machine", name)
	return ""
}

// Configuration returns a file of deploy/forwardauth with other addresses in place of its own.
func Configuration(t testing.TB, name, proxy, sidecar, backend string) string {
	t.Helper()
	root, err := system.Root()
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(filepath.Join(root, "deploy", "forwardauth", name))
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(proxy)
	if err != nil {
		t.Fatal(err)
	}
	return strings.NewReplacer("127.0.0.1:8000", proxy, "http://:8000", "http://:"+port, "127.0.0.1:8082", sidecar, "127.0.0.1:9000", backend).Replace(string(content))
}

// NginxArguments writes a configuration around ours, as a distribution's does that includes it, and returns nginx's arguments.
func NginxArguments(t testing.TB, ours string) []string {
	t.Helper()
	dir := t.TempDir()
	user := ""
	if os.Getuid() == 0 {
		user = "user root;"
	}
	text := fmt.Sprintf(`%[3]s daemon off; pid %[1]s/pid; error_log stderr; events { worker_connections 1024; } http { access_log off; keepalive_requests 1000000;
client_body_temp_path %[1]s; proxy_temp_path %[1]s; fastcgi_temp_path %[1]s; uwsgi_temp_path %[1]s; scgi_temp_path %[1]s;
%[2]s }`, dir, ours, user)
	path := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return []string{"-e", "stderr", "-c", path}
}

// Start runs a proxy until the test ends, and waits until it listens.
func Start(t testing.TB, addr, program string, args ...string) {
	t.Helper()
	dir := t.TempDir()
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, args...)
	cmd.Stdout, cmd.Stderr, cmd.Dir = log, log, dir
	cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { cmd.Wait(); close(ended) }()
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		<-ended
		if t.Failed() {
			text, _ := os.ReadFile(log.Name())
			t.Logf("%s printed:\n%s", program, text[max(0, len(text)-4000):])
		}
		log.Close()
	})
	await(t, addr, program, ended)
}

func await(t testing.TB, addr, program string, ended <-chan struct{}) {
	t.Helper()
	for deadline := time.Now().Add(machine.Patience); time.Now().Before(deadline); {
		if c, err := net.Dial("tcp", addr); err == nil {
			c.Close()
			return
		}
		select {
		case <-ended:
			t.Fatalf("%s has ended", program)
		case <-time.After(10 * time.Millisecond): // a real process: nothing else tells when it listens
		}
	}
	t.Fatalf("%s doesn't listen", program)
}
