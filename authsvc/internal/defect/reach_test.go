//go:build tocsin_defects && linux

package defect

import (
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
)

// Of all who reach a point one does what is asked there, once.
func TestDefectAPointIsReachedOnce(t *testing.T) {
	points = t.TempDir()
	defer func() { points = "" }()
	file := filepath.Join(points, string(Numbered))
	if err := os.WriteFile(file, []byte("hold"), 0o600); err != nil {
		t.Fatal(err)
	}
	Reach(Live) // another point
	var running sync.WaitGroup
	var passed atomic.Int32
	all := make(chan struct{})
	for range 8 {
		running.Go(func() {
			Reach(Numbered)
			if passed.Add(1) == 7 {
				close(all)
			}
		})
	}
	<-all // seven pass, one is held
	if n := passed.Load(); n != 7 {
		t.Errorf("%d passed", n)
	}
	if err := os.Remove(file + "." + strconv.Itoa(os.Getpid())); err != nil {
		t.Fatal(err)
	}
	running.Wait()
	Reach(Numbered)
}
