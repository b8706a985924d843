package faults

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/test/pgtest"
	"github.com/tocsin-auth/tocsin/test/system"
)

var (
	duration = flag.Duration("duration", 0, "how long faults are injected into each set-up; 0: TestFaults is skipped")
	seed     = flag.Uint64("seed", uint64(time.Now().UnixNano()%1_000_000), "what draws the faults and the traffic; a fresh one by default")
	setUp    = flag.String("setup", "both", "single, cluster or both")
	bound    = flag.Duration("bound", 3*time.Second, "B of every verifier: small, so that short runs reach beyond it")
	only     = flag.String("faults", "", "a regular expression: the names of the faults that are injected, all by default")
	gap      = flag.Duration("pause", 4*time.Second, "the longest time between two faults")
	keep     = flag.String("history", "", "file to which histories are appended even when nothing is broken")
)

func TestMain(m *testing.M) { system.Exit(pgtest.Run(m)) } // and natstest, when this process is one of its nodes

func TestFaults(t *testing.T) {
	if *duration == 0 {
		t.Skip("make faults DURATION=… runs it")
	}
	for _, name := range []string{"single", "cluster"} {
		if *setUp == name || *setUp == "both" {
			t.Run(name, func(t *testing.T) { testFaults(t, name) })
		}
	}
}

func testFaults(t *testing.T, name string) {
	o := Options{SetUp: name, Seed: *seed, Duration: *duration, Bound: *bound, Pause: *gap}
	if *only != "" {
		o.Faults = regexp.MustCompile(*only)
	}
	t.Logf("seed %d, set-up %s", o.Seed, name)
	h := Run(t, o)
	report := Validate(h)
	t.Logf("\n%s", report.Figures())
	if len(report.Broken) > 0 {
		t.Errorf("%s\nagain with: %s", report.Complaint(), o)
	}
	if len(report.Broken) > 0 || *keep != "" {
		t.Logf("history: %s", write(t, h, name))
	}
}

// write writes the history to a file that stays.
func write(t *testing.T, h *History, name string) string {
	pattern := fmt.Sprintf("tocsin-history-%s-seed%d-*.jsonl", name, *seed)
	file, err := os.CreateTemp("", pattern)
	if *keep != "" {
		file, err = os.OpenFile(*keep, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	}
	if err == nil {
		err = h.Write(file)
	}
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(file.Name())
}
