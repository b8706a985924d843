//go:build !tocsin_defects

package defect

import "testing"

// Every defence is on, and can't be switched off: this doesn't compile if one is a variable.
func TestNoDefenceCanBeSwitchedOff(t *testing.T) {
	const any = Contiguity || Chain || Signature || CatchUp || FillLimit || Generation || Stamp || RealClock || Pieces || Parents
	if any {
		t.Error("a defence is off")
	}
}
