package model

import (
	"flag"
	"os"
	"testing"

	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

// TestMain raises what rapid does by default; flags given win.
func TestMain(m *testing.M) {
	flag.Parse()
	given := make(map[string]bool)
	flag.Visit(func(f *flag.Flag) { given[f.Name] = true })
	for name, value := range map[string]string{"rapid.checks": "300", "rapid.steps": "60"} {
		if given[name] {
			continue
		}
		if err := flag.Set(name, value); err != nil {
			panic(err)
		}
	}
	code := m.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		panic(err)
	}
	os.Exit(code)
}

// The real dispatcher and the real verifier, in any schedule of faults: BoundedAcceptance, NotReadyUntilProven, Monotone
// and the verifier's half of TrueReceipts after every step, NothingLost and NoCollateral when the faults have ended.
func TestModelAnySchedule(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) { anySchedule(t, defects{}) })
}

func anySchedule(t *rapid.T, d defects) {
	w := newWorld(d)
	w.populate(3, 2)
	defer w.close()
	s := &schedule{world: w, t: t}
	t.Repeat(s.actions())
	if err := w.heal(); err != nil {
		t.Fatal(err)
	}
}
