package fanout

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// cpu returns what the threads of processes have run so far, to the nanosecond. Those of Go don't end while it runs.
func cpu(t testing.TB, pids ...int) (sum time.Duration) {
	t.Helper()
	for _, pid := range pids {
		threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
		for _, file := range threads {
			b, _ := os.ReadFile(file) // nothing: the thread has ended
			ns, _, _ := strings.Cut(string(b), " ")
			n, _ := strconv.ParseInt(ns, 10, 64)
			sum += time.Duration(n)
		}
	}
	if sum == 0 {
		t.Skip("this system doesn't tell what a process has run (/proc/PID/task/*/schedstat)")
	}
	return sum
}

// traffic is what nats-server tells of what went through it, without its protocol, TLS and TCP.
type traffic struct {
	InMsgs   uint64 `json:"in_msgs"`
	OutMsgs  uint64 `json:"out_msgs"`
	InBytes  uint64 `json:"in_bytes"`
	OutBytes uint64 `json:"out_bytes"`
}

func (t traffic) since(before traffic) traffic {
	return traffic{t.InMsgs - before.InMsgs, t.OutMsgs - before.OutMsgs, t.InBytes - before.InBytes, t.OutBytes - before.OutBytes}
}

// stored is what nats-server tells of its streams.
type stored struct {
	Messages uint64 `json:"messages"`
	Bytes    uint64 `json:"bytes"`
}

func monitored[T any](t testing.TB, base, path string) (v T) {
	t.Helper()
	res, err := http.Get(base + path)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if err := json.NewDecoder(res.Body).Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}
