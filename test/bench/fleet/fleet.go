package fleet

import (
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// Fleet is a running child process. Its methods are not safe for concurrent use.
type Fleet struct {
	cmd   *exec.Cmd
	stdin io.Closer
	in    *json.Encoder
	out   *json.Decoder
	seen  []Member
}

// Start starts a fleet and returns when all of its verifiers are fresh. It ends with Close, with the test, or with this
// process.
func Start(t testing.TB, cfg Config) *Fleet {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	f := &Fleet{cmd: exec.Command(self), seen: make([]Member, len(cfg.URLs))}
	f.cmd.Env, f.cmd.Stderr = append(os.Environ(), childVariable+"=1"), os.Stderr
	f.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stdin, err := f.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := f.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := f.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	f.stdin, f.in, f.out = stdin, json.NewEncoder(stdin), json.NewDecoder(stdout)
	t.Cleanup(f.Close)
	f.tell(t, order{Make: &cfg})
	return f
}

// Close ends the fleet; it may be called again.
func (f *Fleet) Close() {
	if f.cmd == nil {
		return
	}
	f.cmd.Process.Kill()
	f.stdin.Close()
	f.cmd.Wait()
	f.cmd = nil
}

func (f *Fleet) tell(t testing.TB, o order) answer {
	t.Helper()
	if err := f.in.Encode(o); err != nil {
		t.Fatal(err)
	}
	var a answer
	if err := f.out.Decode(&a); err != nil {
		t.Fatal(err)
	}
	if a.Error != "" {
		t.Fatal(a.Error)
	}
	return a
}

// Watch has every verifier accept a token, and look at it after each change from then on.
func (f *Fleet) Watch(t testing.TB, token string) {
	t.Helper()
	f.tell(t, order{Watch: token})
}

// Refusals waits until every verifier has refused the token, and returns when each did, and when the event was numbered.
func (f *Fleet) Refusals(t testing.TB) (each []time.Time, numbered time.Time) {
	t.Helper()
	a := f.tell(t, order{Await: true})
	return a.Refused, a.Numbered
}

// Usage returns what the process has used, after a collection of garbage if that is wanted.
func (f *Fleet) Usage(t testing.TB, collect bool) Usage {
	t.Helper()
	return f.tell(t, order{Usage: true, Collect: collect}).Usage
}

// PID is the process's id.
func (f *Fleet) PID() int { return f.cmd.Process.Pid }

// Report returns what each member has been through since the start or the last Forget.
func (f *Fleet) Report(t testing.TB) []Member {
	t.Helper()
	for i, m := range f.tell(t, order{Report: true}).Members {
		seen := &f.seen[i]
		seen.Proofs = append(seen.Proofs, m.Proofs...)
		seen.Lost = append(seen.Lost, m.Lost...)
		seen.Found = append(seen.Found, m.Found...)
	}
	return f.seen
}

// Forget begins the records anew, with the last proof of each.
func (f *Fleet) Forget(t testing.TB) {
	t.Helper()
	f.Report(t)
	for i := range f.seen {
		f.seen[i] = Member{Proofs: f.seen[i].Proofs[max(0, len(f.seen[i].Proofs)-1):]}
	}
}

// Freeze is SIGSTOP for the whole fleet, and Thaw SIGCONT.
func (f *Fleet) Freeze() { f.cmd.Process.Signal(syscall.SIGSTOP) }
func (f *Fleet) Thaw()   { f.cmd.Process.Signal(syscall.SIGCONT) }
