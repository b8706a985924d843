package system

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/test/machine"
	"github.com/tocsin-auth/tocsin/test/pgtest/loopback"
)

// Process is one program, started once or more. Start, Set and Use belong to one goroutine; once it has been
// started, the others may be called from any, and speak of the last start that succeeded.
type Process struct {
	Name string
	path string
	args []string
	env  []string

	life   atomic.Pointer[life]
	output lockedBuffer
}

// life is one start of a program.
type life struct {
	*exec.Cmd
	done chan struct{} // closed at its end
}

// lockedBuffer collects what a program prints while the test reads it.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// Command prepares a program with only the variables given, PATH, HOME and TMPDIR.
func Command(t testing.TB, name string, env map[string]string, args ...string) *Process {
	t.Helper()
	dir, err := Build(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p := &Process{Name: name, path: filepath.Join(dir, name), args: args}
	for _, kept := range []string{"PATH", "HOME", "TMPDIR"} {
		p.env = append(p.env, kept+"="+os.Getenv(kept))
	}
	for k, v := range env {
		p.env = append(p.env, k+"="+v)
	}
	return p
}

// Run starts a program that ends by itself and returns its exit code and what it printed.
func Run(t testing.TB, name string, env map[string]string, args ...string) (int, string) {
	t.Helper()
	p := Command(t, name, env, args...)
	p.Start(t)
	select {
	case <-p.life.Load().done:
	case <-time.After(machine.Patience):
		p.Kill()
		t.Fatalf("%s %v didn't end:\n%s", name, args, p.Output())
	}
	return p.life.Load().ProcessState.ExitCode(), p.Output()
}

// Set gives the next starts variables in place of its own.
func (p *Process) Set(env ...string) { p.env = append(p.env, env...) }

// Use makes the next start run another binary, with variables beside its own.
func (p *Process) Use(path string, env ...string) { p.path, p.env = path, append(p.env, env...) }

// Start starts the program, again after it ended.
func (p *Process) Start(t testing.TB) {
	t.Helper()
	l := &life{exec.Command(p.path, p.args...), make(chan struct{})}
	l.Env, l.Stdout, l.Stderr = p.env, &p.output, &p.output
	l.Dir = t.TempDir()
	l.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := l.Start(); err != nil {
		t.Fatal(err)
	}
	p.life.Store(l)
	go func() {
		l.Wait()
		close(l.done)
	}()
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			t.Logf("%s printed:\n%s", p.Name, tail(p.Output(), 8000))
		}
	})
}

func tail(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return "…" + s[len(s)-n:]
}

// Output returns everything printed so far, standard error included.
func (p *Process) Output() string { return p.output.String() }

// PID returns the process id of the last start.
func (p *Process) PID() int { return p.life.Load().Process.Pid }

// Kill is kill -9; it returns when the process is gone.
func (p *Process) Kill() {
	l := p.life.Load()
	l.Process.Signal(syscall.SIGCONT)
	l.Process.Kill()
	<-l.done
}

// Signal sends a signal.
func (p *Process) Signal(sig syscall.Signal) { p.life.Load().Process.Signal(sig) }

// Freeze is SIGSTOP; it returns when every thread of the process stands still, which the signal alone doesn't wait for.
func (p *Process) Freeze(t testing.TB) {
	t.Helper()
	p.Signal(syscall.SIGSTOP)
	machine.AwaitFrozen(t, p.PID())
}

// Thaw is SIGCONT.
func (p *Process) Thaw() { p.Signal(syscall.SIGCONT) }

// Stop is SIGTERM; it waits for the end and returns the exit code.
func (p *Process) Stop(t testing.TB) int {
	t.Helper()
	l := p.life.Load()
	l.Process.Signal(syscall.SIGTERM)
	select {
	case <-l.done:
	case <-time.After(machine.Patience):
		t.Fatalf("%s doesn't stop:\n%s", p.Name, tail(p.Output(), 8000))
	}
	return l.ProcessState.ExitCode()
}

// Ended reports whether the process has ended.
func (p *Process) Ended() bool {
	select {
	case <-p.life.Load().done:
		return true
	default:
		return false
	}
}

// RSS returns the resident memory in bytes.
func (p *Process) RSS() (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", p.PID()))
	if err != nil {
		return 0, err
	}
	pages, err := strconv.ParseInt(strings.Fields(string(b))[1], 10, 64)
	return pages * int64(os.Getpagesize()), err
}

// WaitReady polls a URL until it answers 200.
func (p *Process) WaitReady(t testing.TB, url string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), machine.Patience)
	defer cancel()
	for {
		req, _ := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if res, err := http.DefaultClient.Do(req); err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return
			}
		}
		if p.Ended() || ctx.Err() != nil {
			t.Fatalf("%s isn't ready:\n%s", p.Name, tail(p.Output(), 8000))
		}
		time.Sleep(10 * time.Millisecond) // a real process: nothing else tells when it listens
	}
}

// FreeAddr returns a loopback address that is the test's until it ends.
func FreeAddr(t testing.TB) string {
	t.Helper()
	return fmt.Sprintf("127.0.0.1:%d", loopback.Free(t))
}
