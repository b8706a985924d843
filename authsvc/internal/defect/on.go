//go:build tocsin_defects && linux

package defect

import (
	"os"
	"strings"
)

// Set at start, and never changed.
var LateEvent, Unfenced, EliteMemory, Overdraft, CheapHashes bool

func init() {
	os.Stderr.WriteString(Warning) // a program that was built so by mistake says what it is
	switches := map[string]*bool{"late-event": &LateEvent, "unfenced": &Unfenced, "elite-memory": &EliteMemory,
		"overdraft": &Overdraft, "cheap-hashes": &CheapHashes}
	for _, name := range strings.Split(os.Getenv("TOCSIN_DEFECTS"), ",") {
		if taken := switches[name]; taken != nil {
			*taken = true
		}
	}
}

// Warning is in every program that was built with the tag, and in no other.
const Warning = "built with tocsin_defects: for tests only, never to be shipped\n"

// Late is where the goroutine waits that writes an event after its change, with [LateEvent].
const Late Point = "late"
