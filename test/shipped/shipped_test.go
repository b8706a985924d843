// Package shipped looks into the programs as users get them.
package shipped

import (
	"bytes"
	"debug/buildinfo"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tocsin-auth/tocsin/test/system"
)

// tag takes the verifier's defences away; see pkg/verifier/internal/defect. The package writes its name at start.
const tag = "tocsin_defects"

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
	root, err := system.Root()
	if err != nil {
		t.Fatal(err)
	}
	broken := filepath.Join(t.TempDir(), "resourcesvc")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-tags", tag, "-o", broken, system.Programs["resourcesvc"])
	cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if !hasSwitches(t, broken) {
		t.Error("this test wouldn't notice a program with switches")
	}
}

// hasSwitches looks for the warning of such a program, and at how it was built.
func hasSwitches(t *testing.T, path string) bool {
	t.Helper()
	program, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range info.Settings {
		if s.Key == "-tags" && strings.Contains(s.Value, tag) {
			return true
		}
	}
	return bytes.Contains(program, []byte("built with "+tag))
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
