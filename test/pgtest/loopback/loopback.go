// Package loopback reserves ports of the loopback address for the servers that a test starts, stops and starts again.
//
// A port that is merely looked up and let go can be given to anybody in between: to the test of another package that runs at
// the same time, which has happened: nodes of a NATS cluster found their ports taken.
package loopback

import "testing"

// Port is a port that the kernel gives to nobody who asks for any free one, whether a server listens on it or not.
// Whoever asks for it by its number gets it.
type Port struct {
	Number int
	let    func() error
}

// Reserve reserves a port until [Port.Close], or until this process ends. Where the kernel isn't Linux the port was merely
// free a moment ago.
func Reserve() (*Port, error) { return reserve() }

// Close lets the port go. A server that listens on it keeps it.
func (p *Port) Close() error { return p.let() }

// Free returns the number of a port that is reserved until the test ends.
func Free(t testing.TB) int {
	t.Helper()
	p, err := Reserve()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p.Number
}
