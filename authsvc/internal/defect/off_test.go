//go:build !tocsin_defects || !linux

package defect

import "testing"

// Every defence is on, and can't be switched off: this doesn't compile if one is a variable.
func TestNoDefenceCanBeSwitchedOff(t *testing.T) {
	const any = LateEvent || Unfenced || EliteMemory || Overdraft || CheapHashes
	if any {
		t.Error("a defence is off")
	}
}
