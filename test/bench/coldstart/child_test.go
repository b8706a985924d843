package coldstart

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/pkg/verifier"
)

// childVariable makes this program the process of verifiers that start; its value says how.
const childVariable = "TOCSIN_BENCH_COLDSTART"

// start is how verifiers start, all at once.
type start struct {
	Issuer, Credentials, URL string
	Verifiers                int
}

// started is what became of it.
type started struct {
	Fresh       []time.Duration // of each verifier, from its making to its first proof
	CPU         time.Duration   // of the process until all were fresh
	Peak        int64           // bytes of memory until then
	Settled     int64           // bytes of memory a second later
	Revocations int             // that the last one knows
	CatchUps    map[string]uint64
	Log         string
}

// run starts a process of its own, so that its memory and processor time are those of verifiers alone.
func (s start) run(t testing.TB) (done started) {
	t.Helper()
	arg, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env, cmd.Stderr = append(os.Environ(), childVariable+"="+string(arg)), os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(out, &done); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return done
}

// child is the process.
func child(arg string) error {
	var s start
	if err := json.Unmarshal([]byte(arg), &s); err != nil {
		return err
	}
	done := started{Fresh: make([]time.Duration, s.Verifiers), CatchUps: map[string]uint64{}}
	all, errs := make([]*verifier.Verifier, s.Verifiers), make([]error, s.Verifiers)
	var log bytes.Buffer
	var group sync.WaitGroup
	for i := range all {
		group.Go(func() {
			began := time.Now()
			all[i], errs[i] = s.verifier(i, &log)
			done.Fresh[i] = time.Since(began)
		})
	}
	group.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	done.CPU, done.Peak = processorTime(), status("self", "VmHWM")
	time.Sleep(time.Second) // for what was needed at the start only
	done.Settled, done.Log = status("self", "VmRSS"), log.String()
	for _, v := range all {
		stats := v.Stats()
		done.Revocations = stats.Revocations
		for source, n := range stats.CatchUps {
			done.CatchUps[source] += n
		}
	}
	return json.NewEncoder(os.Stdout).Encode(done)
}

// verifier returns one that is fresh. The first one's log is kept.
func (s start) verifier(i int, log *bytes.Buffer) (*verifier.Verifier, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	defer cancel()
	logger := slog.New(slog.DiscardHandler)
	if i == 0 {
		logger = slog.New(slog.NewTextHandler(log, nil))
	}
	v, err := verifier.New(ctx, verifier.Config{Issuer: s.Issuer, Audience: "tocsin", Service: "resourcesvc", NATSURL: s.URL},
		verifier.WithNATSCredentials(s.Credentials), verifier.WithInstance(fmt.Sprintf("cold-%d-%d", os.Getpid(), i)),
		verifier.WithTokenCacheSize(1<<10), verifier.WithKeyCacheSize(1<<10), verifier.WithLogger(logger))
	if err != nil {
		return nil, err
	}
	if err := v.WaitReady(ctx); err != nil {
		return nil, fmt.Errorf("verifier %d: %w; %+v", i, err, maps.Clone(v.Stats().CatchUps))
	}
	return v, nil
}

func processorTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// status reads a size from the system's description of a process, in bytes.
func status(pid, name string) int64 {
	b, err := os.ReadFile("/proc/" + pid + "/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			n, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			return n << 10
		}
	}
	return 0
}

// spent is the processor time of another process, in the system's hundredths of a second.
func spent(t testing.TB, pid int) time.Duration {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	user, err := strconv.Atoi(fields[11])
	if err != nil {
		t.Fatal(err)
	}
	system, err := strconv.Atoi(fields[12])
	if err != nil {
		t.Fatal(err)
	}
	return time.Duration(user+system) * 10 * time.Millisecond
}
