// Package demo tests what a new user does first: make run with its three lines, make demo, and the README.
package demo

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/test/machine"
)

const root = "../.."

var packages = []string{
	"./authsvc/cmd/authsvc", "./authsvc/cmd/authctl", "./resourcesvc", "./test/demo/cmd/run", "./test/demo/cmd/demo",
}

var (
	binDir   string
	buildAll = sync.OnceValue(func() error {
		cmd := exec.Command("go", append([]string{"build", "-o", binDir + "/"}, packages...)...)
		cmd.Dir = root
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		cmd.Stderr = os.Stderr
		return cmd.Run()
	})
)

func TestMain(m *testing.M) { os.Exit(runTests(m)) }

func runTests(m *testing.M) int {
	dir, err := os.MkdirTemp("", "tocsin-demo-test-*")
	if err != nil {
		os.Stderr.WriteString(err.Error() + "\n")
		return 1
	}
	defer os.RemoveAll(dir)
	binDir = filepath.Join(dir, "bin")
	return m.Run()
}

func build(t *testing.T) {
	t.Helper()
	if err := buildAll(); err != nil {
		t.Fatal(err)
	}
}

// running is `make run` in a directory of its own, on free ports.
type running struct {
	dir    string
	output *bytes.Buffer
	cmd    *exec.Cmd
	read   chan struct{} // closed when all output was read
}

func startRun(t *testing.T) *running {
	t.Helper()
	build(t)
	r := &running{dir: t.TempDir(), output: &bytes.Buffer{}, read: make(chan struct{})}
	r.cmd = exec.Command(filepath.Join(binDir, "run"), "-bin", binDir,
		"-auth", "127.0.0.1:0", "-resource", "127.0.0.1:0", "-nats", "127.0.0.1:0")
	r.cmd.Dir = r.dir
	// What the user's shell holds must not reach the programs.
	r.cmd.Env = append(os.Environ(), "TOCSIN_HTTP_ADDR=nowhere", "TOCSIN_MAX_STALENESS=forever")
	pipe, err := r.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.stop(t) })
	r.waitFor(t, pipe, "Ctrl-C stops both.")
	return r
}

// waitFor reads until a line holds text, and goes on reading after that.
func (r *running) waitFor(t *testing.T, pipe io.Reader, text string) {
	t.Helper()
	killer := time.AfterFunc(time.Minute, func() { _ = r.cmd.Process.Kill() }) // ends the output, and so the wait
	defer killer.Stop()
	lines := bufio.NewScanner(pipe)
	for lines.Scan() {
		r.output.WriteString(lines.Text() + "\n")
		if strings.Contains(lines.Text(), text) {
			go func() {
				defer close(r.read)
				_, _ = io.Copy(io.Discard, pipe)
			}()
			return
		}
	}
	close(r.read)
	t.Fatalf("make run ended before it said %q:\n%s", text, r.output)
}

// stop is Ctrl-C.
func (r *running) stop(t *testing.T) {
	if r.cmd.ProcessState != nil {
		return
	}
	if err := r.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Error(err)
	}
	<-r.read
	if err := r.cmd.Wait(); err != nil {
		t.Errorf("make run did not stop cleanly: %v", err)
	}
}

// shell runs lines as a user would, in the directory of the running services.
func (r *running) shell(t *testing.T, script string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), machine.Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", script)
	cmd.Dir = r.dir
	cmd.Env = append(os.Environ(), "XDG_CONFIG_HOME="+r.dir, "HOME="+r.dir)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v:\n%s\nof:\n%s", err, out, script)
	}
	return string(out)
}

// needs skips where a tool of the printed lines is missing.
func needs(t *testing.T, tools ...string) {
	t.Helper()
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(err)
		}
	}
}

func TestThreeLinesOfMakeRunWorkAsPrinted(t *testing.T) {
	needs(t, "bash", "curl", "sed")
	r := startRun(t)
	var lines []string
	for _, line := range strings.Split(r.output.String(), "\n") {
		if strings.HasPrefix(line, "  TOKEN=") || strings.HasPrefix(line, "  curl ") {
			lines = append(lines, line)
		}
	}
	if len(lines) != 3 {
		t.Fatalf("%d lines to try:\n%s", len(lines), r.output)
	}
	out := r.shell(t, strings.Join(append(lines, lines[1]), "\n"))
	statuses := regexp.MustCompile(`(?m)^HTTP/1\.1 (\d+)`).FindAllStringSubmatch(out, -1)
	var got []string
	for _, status := range statuses {
		got = append(got, status[1])
	}
	if strings.Join(got, " ") != "200 204 401" || !strings.Contains(out, `"code":"revoked"`) {
		t.Errorf("statuses %v, want 200 204 401:\n%s", got, out)
	}
}

func TestNobodyOutlivesCtrlC(t *testing.T) {
	r := startRun(t)
	addresses := regexp.MustCompile(`http://(127\.0\.0\.1:\d+)`).FindAllStringSubmatch(r.output.String(), -1)
	r.stop(t)
	for _, address := range addresses {
		if isOpen(address[1]) {
			t.Errorf("%s is still open", address[1])
		}
	}
}

func TestServicesEndWithAKilledSupervisor(t *testing.T) {
	r := startRun(t)
	address := regexp.MustCompile(`http://(127\.0\.0\.1:\d+)`).FindStringSubmatch(r.output.String())[1]
	if err := r.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-r.read
	var exit *exec.ExitError
	if err := r.cmd.Wait(); !asExit(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("ended with %v", err)
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(machine.Patience); isOpen(address); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("%s outlived its supervisor", address)
		}
	}
}

func TestDemoTellsTheWholeStory(t *testing.T) {
	build(t)
	ctx, cancel := context.WithTimeout(t.Context(), 5*machine.Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(binDir, "demo"), "-bin", binDir, "-fresh")
	cmd.Dir = t.TempDir()
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "everything went as it should") {
		t.Errorf("%v:\n%s", err, out)
	}
}

func TestDemoUsesRunningServices(t *testing.T) {
	r := startRun(t)
	urls := regexp.MustCompile(`(?m)^(authsvc|resourcesvc) +(http://\S+)`).FindAllStringSubmatch(r.output.String(), -1)
	if len(urls) != 2 {
		t.Fatalf("URLs: %v", urls)
	}
	out := r.shell(t, filepath.Join(binDir, "demo")+" -bin "+binDir+" -auth "+urls[0][2]+" -resource "+urls[1][2])
	if !strings.Contains(out, "using the running services") {
		t.Errorf("it started its own:\n%s", out)
	}
}
