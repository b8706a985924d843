// Package load is the ordinary work of a system while something else is measured on it: a child process that sends requests
// with good credentials at a fixed rate, whether or not earlier ones are answered, and logs in and refreshes now and then.
//
// A request's time counts from when it was due, so one that has to wait for a late one isn't forgotten.
package load

import (
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// Config is what the child is given.
type Config struct {
	Resource string   // host and port of the resource service
	Path     string   // of the requests
	Auths    []string // host and port of each authsvc, which are used in turn
	Tokens   []string // of the requests, in turn
	// Rate is how many requests are due in a second.
	Rate int
	// Connections is how many requests may be in flight; those that are due beyond it wait.
	Connections int
	// Refreshes and Logins are due in a second, too. A refreshed access token takes the place of one of the Tokens.
	Refreshes, Logins float64
	// Sessions are refresh tokens, People have passwords.
	Sessions []string
	People   []Person
}

// Person can log in.
type Person struct{ Name, Password string }

// Report is what has happened since the start or the last report.
type Report struct {
	Lasted                      time.Duration
	Requests, Refreshes, Logins Kind
}

// Kind is what was seen of one kind of call.
type Kind struct {
	Answered      int
	P50, P99, Max time.Duration // from when it was due until it was answered
	// Refused counts answers other than the good one, and failures, by what they said. None of them is deserved.
	Refused map[string]int
}

// Load is a running child process. Its methods are not safe for concurrent use.
type Load struct {
	cmd   *exec.Cmd
	stdin io.Closer
	in    *json.Encoder
	out   *json.Decoder
}

// order is what the child is asked, answer what it says.
type order struct {
	Start *Config
}

type answer struct {
	Report Report
}

// Start returns when the work has begun. It ends with Close, with the test, or with this
// process.
func Start(t testing.TB, cfg Config) *Load {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	l := &Load{cmd: exec.Command(self)}
	l.cmd.Env, l.cmd.Stderr = append(os.Environ(), childVariable+"=1"), os.Stderr
	l.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stdin, err := l.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := l.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := l.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	l.stdin, l.in, l.out = stdin, json.NewEncoder(stdin), json.NewDecoder(stdout)
	t.Cleanup(l.Close)
	l.tell(t, order{Start: &cfg})
	return l
}

func (l *Load) tell(t testing.TB, o order) answer {
	t.Helper()
	if err := l.in.Encode(o); err != nil {
		t.Fatal(err)
	}
	var a answer
	if err := l.out.Decode(&a); err != nil {
		t.Fatal(err)
	}
	return a
}

// Report tells what has happened since the start or the last report.
func (l *Load) Report(t testing.TB) Report {
	t.Helper()
	return l.tell(t, order{}).Report
}

// PID returns the child's process id.
func (l *Load) PID() int { return l.cmd.Process.Pid }

// Close ends the load; it may be called again.
func (l *Load) Close() {
	if l.cmd == nil {
		return
	}
	l.cmd.Process.Kill()
	l.stdin.Close()
	l.cmd.Wait()
	l.cmd = nil
}
