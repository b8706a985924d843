package reading

import (
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/test/bench/figure"
)

// row is one line of the page.
type row struct {
	kind     kind
	inFlight int
	version
	figure.Distribution
	took                 time.Duration
	clientCPU, serverCPU time.Duration
}

// measure makes calls for a while, the given number at any time.
func (r *row) measure(t *testing.T) {
	t.Helper()
	call := r.kind.prepare(t, r.scene)
	if call == nil {
		return
	}
	var wait sync.WaitGroup
	var failure atomic.Pointer[error]
	durations := make([][]time.Duration, r.inFlight)
	client, server, began := ownCPU(t), r.scene.serverCPU(t), time.Now()
	for worker := range r.inFlight {
		wait.Go(func() {
			for i := worker; time.Since(began) < *each && failure.Load() == nil; i += r.inFlight {
				start := time.Now()
				more, err := call(i)
				if err != nil {
					failure.Store(&err)
				}
				if !more || err != nil {
					return
				}
				durations[worker] = append(durations[worker], time.Since(start))
			}
		})
	}
	wait.Wait()
	r.took += time.Since(began)
	r.clientCPU += ownCPU(t) - client
	r.serverCPU += r.scene.serverCPU(t) - server
	if err := failure.Load(); err != nil {
		t.Fatalf("%s, %d in flight: %v", r.kind.name, r.inFlight, *err)
	}
	for _, some := range durations {
		r.Add(some...)
	}
}

// ownCPU is the processor time that this process has used.
func ownCPU(t *testing.T) time.Duration {
	t.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		t.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

func table(rows []*row) [][]string {
	lines := [][]string{{"call", "in flight", "calls/s", "p50", "p99", "max", "CPU client", "CPU authsvc", "calls"}}
	for _, r := range rows {
		if r.Len() == 0 {
			continue
		}
		name := r.kind.name
		if r.version.name != "" {
			name += ", " + r.version.name
		}
		lines = append(lines, []string{name, strconv.Itoa(r.inFlight), fmt.Sprintf("%.0f", float64(r.Len())/r.took.Seconds()),
			figure.Millis(r.At(0.5)), figure.Millis(r.At(0.99)), figure.Millis(r.At(1)),
			perCall(r.clientCPU, r.Len()), perCall(r.serverCPU, r.Len()), strconv.Itoa(r.Len())})
	}
	return lines
}

func perCall(cpu time.Duration, calls int) string {
	return strconv.FormatInt(cpu.Microseconds()/int64(calls), 10)
}
