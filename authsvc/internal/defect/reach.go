//go:build tocsin_defects && linux

package defect

import (
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"
)

var points = os.Getenv("TOCSIN_POINTS")

// Reach says that a point has been reached, and does what a test asked for there.
func Reach(p Point) {
	if points == "" {
		return
	}
	asked := filepath.Join(points, string(p))
	reached := asked + "." + strconv.Itoa(os.Getpid())
	if os.Rename(asked, reached) != nil {
		return // nothing is asked for, or another process was first
	}
	what, err := os.ReadFile(reached)
	if err != nil {
		return
	}
	switch string(what) {
	case "kill":
		signal(syscall.SIGKILL)
	case "stop":
		signal(syscall.SIGSTOP)
	case "hold":
		hold(reached)
	}
}

// signal is sent to this very thread: it doesn't go on before the signal has done its work.
func signal(s syscall.Signal) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := syscall.Tgkill(os.Getpid(), syscall.Gettid(), s); err != nil {
		panic(err)
	}
}

func hold(reached string) {
	for {
		if _, err := os.Stat(reached); err != nil {
			return
		}
		time.Sleep(time.Millisecond) // a test of real processes: nothing tells when the file goes
	}
}
