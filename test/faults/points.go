package faults

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/test/system"
)

// points is the folder by which a program that was built with system.DefectsTag is told what to do at a point of its
// dispatcher; see authsvc/internal/defect.
type points string

// ask makes the first process that reaches a point do something: kill or stop itself, or hold the goroutine.
func (p points) ask(t testing.TB, point, what string) {
	t.Helper()
	p.release(point)
	asked := filepath.Join(string(p), point)
	if err := os.WriteFile(asked+".new", []byte(what), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(asked+".new", asked); err != nil { // at once, with its content
		t.Fatal(err)
	}
}

// await waits until a process has come to a point that was asked for, and returns its id: nothing else tells.
func (p points) await(t testing.TB, point string) (pid int) {
	t.Helper()
	for limit := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		for _, file := range p.reached(point) {
			if pid, err := strconv.Atoi(strings.TrimPrefix(filepath.Ext(file), ".")); err == nil {
				return pid
			}
		}
		if time.Now().After(limit) {
			t.Fatalf("nobody has come to the point %s", point)
		}
	}
}

// release lets a goroutine go on that is held.
func (p points) release(point string) {
	for _, file := range p.reached(point) {
		os.Remove(file)
	}
}

func (p points) reached(point string) []string {
	files, _ := filepath.Glob(filepath.Join(string(p), point+".*")) // the pattern is good
	return files
}

// startAuth starts an authsvc that can be told by points, without the defences that the run takes away.
func (s *System) startAuth(t testing.TB, env map[string]string) *system.Auth {
	t.Helper()
	dir, err := system.BuildDefective(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	a := system.PrepareAuth(t, env)
	a.Use(filepath.Join(dir, "authsvc"), "TOCSIN_POINTS="+string(s.points), s.clocks.environment(ofDatabase), "TOCSIN_DEFECTS="+s.authDefects)
	a.Restart(t)
	return a
}
