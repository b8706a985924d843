// Package faults runs the real programs under traffic while it kills, freezes and cuts them off, records everything
// that was called and answered in one history with one clock, and validates that history against the promises of
// docs/guarantees.md.
//
//	make faults DURATION=2m SEED=1 SETUP=single|cluster|both
//
// The seed draws the faults, their order and lengths, and what the traffic does; how the processes are scheduled it
// can't. Whatever is found is checked from the outside only: begin and end of HTTP calls by this process's
// monotonic clock, and what was answered. A validator bears the name of its promise, and has a test with histories
// that break the promise.
package faults
