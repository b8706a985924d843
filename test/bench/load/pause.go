package load

import (
	"syscall"
	"time"
)

// Pause waits with a precision of some 60 µs: the runtime's own timers may be late by a millisecond when a process has nothing
// else to do. It keeps a thread for itself meanwhile.
func Pause(d time.Duration) {
	for end := time.Now().Add(d); d > 0; d = time.Until(end) {
		left := syscall.NsecToTimespec(d.Nanoseconds())
		_ = syscall.Nanosleep(&left, nil) // interrupted, it goes on
	}
}
