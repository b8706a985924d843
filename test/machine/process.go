package machine

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// AwaitFrozen waits until every thread of a process that was sent SIGSTOP stands still, which the signal alone doesn't wait for.
func AwaitFrozen(t testing.TB, pid int) {
	t.Helper()
	Await(t, fmt.Sprintf("a standstill of process %d", pid), func() bool { return Frozen(pid) })
}

// Frozen reports whether every thread of a process stands still. It reads the state behind the name in each thread's stat.
func Frozen(pid int) bool {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	for _, file := range threads {
		b, readErr := os.ReadFile(file)
		_, state, _ := bytes.Cut(b, []byte(") "))
		if readErr != nil || !bytes.HasPrefix(state, []byte("T")) {
			return false
		}
	}
	return err == nil && len(threads) > 0
}
