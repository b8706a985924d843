//go:build tocsin_defects

package defect

import "os"

// Set by tests, while nothing else runs.
var Contiguity, Chain, Signature, CatchUp, FillLimit, Generation, Stamp, RealClock, Pieces, Parents bool

// Between, if set, is what [Meanwhile] calls.
var Between func()

// Meanwhile is the moment in which a test lets something happen that would seldom happen just then.
func Meanwhile() {
	if Between != nil {
		Between()
	}
}

// A program that was built so by mistake says what it is.
func init() { os.Stderr.WriteString(Warning) }

// Warning is in every program that was built with the tag, and in no other.
const Warning = "built with tocsin_defects: for tests only, never to be shipped\n"
