// Package machine holds what a test may expect of the machine that it runs on: that it gets there in the end, and nothing else.
// It may be slow, have other work, and stand still for seconds at any moment, as virtual machines do.
//
// A test of a promise judges by what the promise names, such as B, and by when a request began. Whatever else has to come is
// waited for, with [Await] or for [Patience]. What a program may do when it doesn't get to run, such as answering that it can't
// decide now, counts only while the machine ran: see [Beat].
package machine

import (
	"testing"
	"time"
)

// Patience is how long a test waits for what must come. It is for what hangs, not for what is slow.
const Patience = 2 * time.Minute

// Await looks every now and then until something is so, as it is the doing of other processes or goroutines. It fails the test
// when that never comes.
func Await(t testing.TB, what string, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(Patience); !so(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it never came: %s", what)
		}
	}
}

// Steadily tries something that a machine which stands still may spoil: again while it fails and the machine did stand still
// meanwhile. An error of the last try fails the test.
func Steadily(t testing.TB, try func() error) {
	t.Helper()
	for deadline := time.Now().Add(Patience); ; {
		beat := Listen()
		err := try()
		stood := beat.Stop()
		if err == nil {
			return
		}
		if stood < Stall || time.Now().After(deadline) {
			t.Fatal(err)
		}
		t.Logf("again, as the machine stood still for %v: %v", stood.Round(time.Millisecond), err)
	}
}
