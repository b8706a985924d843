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
		SetUp: "single", Seed: 1, Duration: 20 * time.Second, Bound: 3 * time.Second, Pause: time.Second, Faults: regexp.MustCompile("^(black hole between a resource|cut)"),
		Program: buildWithDefects(t), Environment: []string{"TOCSIN_DEFECTS=contiguity"},
	}
	report := Validate(Run(t, o))
	found := map[string]int{}
	for _, v := range report.Broken {
		found[v.Promise]++
	}
	t.Logf("found: %v", found)
	for _, promise := range []string{"BoundedAcceptance", "NothingLost"} {
		if found[promise] == 0 {
			t.Errorf("%s was not seen to be broken", promise)
		}
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
