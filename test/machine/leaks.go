package machine

import (
	"fmt"
	"os"
	"time"

	"go.uber.org/goleak"
)

// Exit ends a test program with the code of its tests, from TestMain. A goroutine that is left makes it fail: one that doesn't end,
// however long it is waited for.
func Exit(code int) {
	if err := leaks(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func leaks() (err error) {
	for deadline := time.Now().Add(Patience); ; {
		if err = goleak.Find(); err == nil || time.Now().After(deadline) {
			return err
		}
	}
}
