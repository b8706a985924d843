package faults

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/test/system"
)

// Resource services that take proofs of events that they have missed, and don't read those again, accept what was
// revoked while they were cut off: the harness has to see that.
func TestFaultsShowWhatADefencePrevents(t *testing.T) {
	if *duration == 0 {
		t.Skip("make faults DURATION=… runs it")
	}
	o := Options{
		SetUp: "single", Duration: 20 * time.Second, Bound: 3 * time.Second, Pause: time.Second, Faults: regexp.MustCompile("^(black hole between a resource|cut)"),
		Program: buildWithDefects(t), Environment: []string{"TOCSIN_DEFECTS=contiguity"},
	}
	// A revocation has to fall into a cut, and its credential has to be used after that: chance, so several runs may be needed.
	unseen := map[string]bool{"BoundedAcceptance": true, "NothingLost": true}
	for o.Seed = 1; len(unseen) > 0 && o.Seed <= 6; o.Seed++ {
		for _, v := range Validate(Run(t, o)).Broken {
			delete(unseen, v.Promise)
		}
	}
	for promise := range unseen {
		t.Errorf("%s was not seen to be broken", promise)
	}
}

// buildWithDefects compiles resourcesvc with the switches that no shipped program has.
func buildWithDefects(t *testing.T) string {
	root, err := system.Root()
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(t.TempDir(), "resourcesvc")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-tags", "tocsin_defects", "-o", program, "./resourcesvc")
	cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return program
}
