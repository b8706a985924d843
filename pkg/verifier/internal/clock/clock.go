// Package clock gives the two readings by which the verifier measures how old its knowledge is.
//
// Wall time alone can be set back, and a monotonic clock alone may stand still while the machine sleeps; either would
// let old knowledge look young. So a [Reading] holds both, and [Reading.Since] is the larger of the two differences:
// whatever one of the clocks does, age is never under-estimated unless both are wrong.
package clock

import (
	"sync"
	"time"
)

// Reading is one moment by two clocks, in nanoseconds. The zero Reading is "never".
type Reading struct {
	Wall int64 // since 1970 UTC
	Boot int64 // since the machine started, sleep included
}

// IsZero reports whether r is "never".
func (r Reading) IsZero() bool { return r == Reading{} }

// Since returns how much time has passed from earlier to r: the larger of both clocks' answers.
func (r Reading) Since(earlier Reading) time.Duration {
	return time.Duration(max(r.Wall-earlier.Wall, r.Boot-earlier.Boot))
}

// Micros returns the wall time in microseconds since 1970 UTC, the unit of the feed.
func (r Reading) Micros() int64 { return r.Wall / 1000 }

// Clock reads both clocks. Implementations MUST NOT cache: a process that was frozen has to see that it was.
type Clock interface {
	Now() Reading
}

// Fake is a clock for tests that moves only when told. It is safe for concurrent use.
type Fake struct {
	mu  sync.Mutex
	now Reading
}

// NewFake returns a clock that stands at a wall time.
func NewFake(wall time.Time) *Fake {
	return &Fake{now: Reading{Wall: wall.UnixNano(), Boot: int64(time.Hour)}}
}

// Now implements [Clock].
func (f *Fake) Now() Reading {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now
}

// Advance moves both clocks.
func (f *Fake) Advance(d time.Duration) { f.Move(d, d) }

// Move moves the clocks by different amounts, as a set wall clock or a sleeping machine would.
func (f *Fake) Move(wall, boot time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now.Wall += int64(wall)
	f.now.Boot += int64(boot)
}
