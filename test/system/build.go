// Package system runs the real programs as child processes on free loopback ports, for end-to-end tests, benchmarks
// and faults. Everything it starts ends with the test, and dies with the test process whatever happens to that.
package system

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"

	"github.com/tocsin-auth/tocsin/test/machine"
)

// Programs are the binaries that Build makes.
var Programs = map[string]string{
	"authsvc":     "./authsvc/cmd/authsvc",
	"authctl":     "./authsvc/cmd/authctl",
	"resourcesvc": "./resourcesvc",
	"forwardauth": "./forwardauth",
}

// DefectsTag makes programs whose defences can be taken away, and which can be stopped at chosen points.
const DefectsTag = "tocsin_defects"

// built is one build, made once for the life of the process.
type built struct {
	once sync.Once
	dir  string
	err  error
}

var shipped, defective built

// Build compiles the programs once for the life of the process and returns their folder. TOCSIN_BIN names a folder
// of finished binaries to use instead.
func Build(ctx context.Context) (string, error) {
	shipped.once.Do(func() {
		if dir := os.Getenv("TOCSIN_BIN"); dir != "" {
			shipped.dir, shipped.err = filepath.Abs(dir)
			return
		}
		shipped.dir, shipped.err = compile(ctx, slices.Collect(maps.Keys(Programs)))
	})
	return shipped.dir, shipped.err
}

// BuildDefective compiles authsvc and resourcesvc with [DefectsTag], once, and returns their folder.
func BuildDefective(ctx context.Context) (string, error) {
	defective.once.Do(func() {
		defective.dir, defective.err = compile(ctx, []string{"authsvc", "resourcesvc"}, "-tags", DefectsTag)
	})
	return defective.dir, defective.err
}

// Exit ends the test program with a code, from TestMain: it leaves nothing behind, and fails if a goroutine is left.
func Exit(code int) {
	CloseIdle()
	RemoveBuild()
	machine.Exit(code)
}

// RemoveBuild deletes what was compiled. TestMain calls it last.
func RemoveBuild() {
	if shipped.dir != "" && os.Getenv("TOCSIN_BIN") == "" {
		os.RemoveAll(shipped.dir)
	}
	if defective.dir != "" {
		os.RemoveAll(defective.dir)
	}
}

func compile(ctx context.Context, programs []string, flags ...string) (string, error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp("", "tocsin-bin-")
	if err != nil {
		return "", err
	}
	for _, name := range programs {
		args := slices.Concat([]string{"build", "-o", filepath.Join(dir, name)}, flags, []string{Programs[name]})
		cmd := exec.CommandContext(ctx, "go", args...)
		cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return dir, fmt.Errorf("build %s: %w\n%s", name, err, out)
		}
	}
	return dir, nil
}

// Root returns the checkout: the nearest folder above that holds go.work.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.work")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("no go.work above the working folder")
		}
		dir = filepath.Dir(dir)
	}
}
