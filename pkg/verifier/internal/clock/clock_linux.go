package clock

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// bootNanos reads CLOCK_BOOTTIME, which goes on while the machine sleeps. The raw call doesn't tell the scheduler,
// which halves its price; it can't block.
func bootNanos() int64 {
	var ts unix.Timespec
	_, _, errno := syscall.RawSyscall(unix.SYS_CLOCK_GETTIME, unix.CLOCK_BOOTTIME, uintptr(unsafe.Pointer(&ts)), 0)
	if errno != 0 {
		// Linux has had this clock since 2.6.39. Without it the age of knowledge can't be known.
		panic("clock: CLOCK_BOOTTIME: " + errno.Error())
	}
	return ts.Nano()
}
