//go:build tocsin_defects

package defect

import (
	"os"
	"strings"
)

// A program built with the tag takes away the defences that TOCSIN_DEFECTS lists, separated by commas, so that a test
// can run real processes without them.
func init() {
	switches := map[string]*bool{
		"contiguity": &Contiguity, "chain": &Chain, "signature": &Signature, "catch-up": &CatchUp,
		"fill-limit": &FillLimit, "generation": &Generation, "stamp": &Stamp, "pieces": &Pieces, "real-clock": &RealClock,
		"parents": &Parents,
	}
	for _, name := range strings.Split(os.Getenv("TOCSIN_DEFECTS"), ",") {
		if taken := switches[name]; taken != nil {
			*taken = true
		}
	}
}
