//go:build tocsin_defects

package defect

// Set by tests, while nothing else runs.
var Contiguity, Chain, Signature, CatchUp, FillLimit, Generation, Stamp bool

// Between, if set, is what [Meanwhile] calls.
var Between func()

// Meanwhile is the moment in which a test lets something happen that would seldom happen just then.
func Meanwhile() {
	if Between != nil {
		Between()
	}
}
