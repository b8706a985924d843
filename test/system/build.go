// Package system runs the real programs as child processes on free loopback ports, for end-to-end tests, benchmarks
// and faults. Everything it starts ends with the test, and dies with the test process whatever happens to that.
package system

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
)

// Programs are the binaries that Build makes.
var Programs = map[string]string{
	"authsvc":     "./authsvc/cmd/authsvc",
	"authctl":     "./authsvc/cmd/authctl",
	"resourcesvc": "./resourcesvc",
}

var build struct {
	once sync.Once
	dir  string
	err  error
}

// Build compiles the programs once for the life of the process and returns their folder. TOCSIN_BIN names a folder
// of finished binaries to use instead.
func Build(ctx context.Context) (string, error) {
	build.once.Do(func() {
		if dir := os.Getenv("TOCSIN_BIN"); dir != "" {
			build.dir, build.err = filepath.Abs(dir)
			return
		}
		build.dir, build.err = compile(ctx)
	})
	return build.dir, build.err
}

// RemoveBuild deletes what Build compiled. TestMain calls it last.
func RemoveBuild() {
	if build.dir != "" && os.Getenv("TOCSIN_BIN") == "" {
		os.RemoveAll(build.dir)
	}
}

func compile(ctx context.Context) (string, error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp("", "tocsin-bin-")
	if err != nil {
		return "", err
	}
	for name, pkg := range Programs {
		cmd := exec.CommandContext(ctx, "go", "build", "-o", filepath.Join(dir, name), pkg)
		cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("build %s: %w\n%s", name, err, out)
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
