package clock

import (
	"sync/atomic"
	"time"

	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/defect"
)

// System returns the machine's clocks. It doesn't allocate.
//
// CLOCK_BOOTTIME costs a system call, three times what the wall clock and the monotonic clock cost together. It is the
// monotonic clock plus the time that the machine has slept; the wall clock minus the monotonic clock changes by
// sleep too, and by being set, and by nothing else: slewing moves both. So while that difference stays, so does the other,
// and the boot-time clock needn't be read. What goes unnoticed is a sleep during which the wall clock was set back by
// the same time, to within slack.
func System() Clock { return system{} }

type system struct{}

// started has a monotonic reading; its wall time doesn't matter.
var started = time.Now()

// slack is what the difference of two readings, one after the other, may vary by. A boot-time reading is exact to twice
// as much.
const slack = 50 * time.Microsecond

// offsets are what is to be added to the monotonic clock, in nanoseconds.
type offsets struct{ wall, boot int64 }

var known atomic.Pointer[offsets]

func (system) Now() Reading {
	if defect.RealClock {
		return ownTime()
	}
	wall, mono := readTwo()
	if r, ok := known.Load().reading(wall, mono); ok {
		return r
	}
	return readAll()
}

func readTwo() (wall, mono int64) {
	t := time.Now()
	return t.UnixNano() + wrongBy(), int64(t.Sub(started))
}

// reading is that of all clocks, if the machine hasn't slept since the offsets were taken. They may be nil.
func (o *offsets) reading(wall, mono int64) (Reading, bool) {
	if o == nil {
		return Reading{}, false
	}
	moved := wall - mono - o.wall
	return Reading{Wall: wall, Boot: mono + o.boot}, -int64(slack) < moved && moved < int64(slack)
}

// readAll reads every clock, and notes the offsets unless the process was held up between the readings.
func readAll() Reading {
	before := bootNanos()
	wall, mono := readTwo()
	boot := bootNanos()
	if boot-before < int64(slack) {
		known.Store(&offsets{wall: wall - mono, boot: before - mono})
	}
	return Reading{Wall: wall, Boot: boot}
}
