//go:build tocsin_defects

package clock

import (
	"os"
	"strings"
	"time"
)

// wrongBy sets the wall clock wrong by the duration in the file that TOCSIN_WRONG_CLOCK names, in nanoseconds, while the
// clock that counts since the machine's start goes right: that is what a machine sees whose wall clock is set.
var wrongBy = func() func() int64 {
	path := os.Getenv("TOCSIN_WRONG_CLOCK")
	if path == "" {
		return func() int64 { return 0 }
	}
	offset := OffsetIn(path)
	return func() int64 { return int64(offset()) }
}()

// OffsetIn returns a function that reads a duration from a file, each time anew; none while there is no such file.
// Whoever changes it MUST replace the file as a whole. A file that says something else ends the program.
func OffsetIn(path string) func() time.Duration {
	return func() time.Duration {
		text, err := os.ReadFile(path)
		if os.IsNotExist(err) {
			return 0
		}
		d, parseErr := time.ParseDuration(strings.TrimSpace(string(text)))
		if err != nil || parseErr != nil {
			panic("clock: no duration in " + path)
		}
		return d
	}
}
