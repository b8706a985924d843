// Package shipped looks into the programs as users get them.
package shipped

import (
	"bytes"
	"debug/buildinfo"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tocsin-auth/tocsin/test/system"
)

// tag takes defences away; see the packages defect of pkg/verifier and authsvc, which write its name at start.
const tag = system.DefectsTag

// traces are in a program that was built with the tag: what it writes, and what it is told by.
var traces = []string{"built with " + tag, "TOCSIN_DEFECTS", "TOCSIN_POINTS", "TOCSIN_WRONG_CLOCK"}

func TestMain(m *testing.M) {
	code := m.Run()
	system.RemoveBuild()
	os.Exit(code)
}

// No shipped program has a switch by which a defence could be taken away; one that was built with the tag does.
func TestNoShippedProgramCanLoseADefence(t *testing.T) {
	dir, err := system.Build(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for name := range system.Programs {
		if hasSwitches(t, filepath.Join(dir, name)) {
			t.Errorf("%s was built with %s", name, tag)
		}
	}
	dir, err = system.BuildDefective(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for program, want := range map[string]int{"resourcesvc": 3, "authsvc": 4} {
		broken := filepath.Join(dir, program)
		if !hasSwitches(t, broken) || countTraces(t, broken) != want {
			t.Errorf("this test wouldn't notice a %s with switches", program)
		}
	}
}

// hasSwitches looks at how a program was built, and into it.
func hasSwitches(t *testing.T, path string) bool {
	t.Helper()
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range info.Settings {
		if s.Key == "-tags" && strings.Contains(s.Value, tag) {
			return true
		}
	}
	return countTraces(t, path) > 0
}

func countTraces(t *testing.T, path string) (n int) {
	t.Helper()
	program, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, trace := range traces {
		if bytes.Contains(program, []byte(trace)) {
			n++
		}
	}
	return n
}

// Nothing that makes programs for users passes the tag.
func TestNothingShipsTheTag(t *testing.T) {
	root, err := system.Root()
	if err != nil {
		t.Fatal(err)
	}
	for _, pattern := range []string{"deploy/*", "deploy/*/*", ".ci/*", ".github/*/*"} {
		paths, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			if info, err := os.Stat(path); err != nil || info.IsDir() {
				continue
			}
			content, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(content), tag) {
				t.Errorf("%s names %s", path, tag)
			}
		}
	}
}
