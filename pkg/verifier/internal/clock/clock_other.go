//go:build !linux

package clock

import "time"

// bootNanos falls back to Go's monotonic clock, which may stand still while the machine sleeps; wall time covers that.
func bootNanos() int64 { return int64(time.Since(started)) + 1 }
