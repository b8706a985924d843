// Package defect lets tests run authsvc without one of its defences, and end or stop it at a chosen point. Both are
// possible only in a program built for Linux with the tag tocsin_defects: without it every switch is the constant false,
// [Reach] does nothing, and the compiler removes both. No shipped program is built so, and a test looks.
//
// # Switches
//
// TOCSIN_DEFECTS lists, separated by commas, what is taken away:
//
//   - late-event: an event is written after the transaction of its change, not in it.
//   - unfenced: numbering goes on from what the dispatcher remembers; it looks neither at the term nor at what others have numbered.
//   - elite-memory: a check is answered by what the same check found before.
//   - overdraft: each holder of a quota is allowed what the plan does, whatever others have spent or hold.
//   - cheap-hashes: a password hash costs next to nothing, so that what else a login costs can be measured.
//
// # Points
//
// TOCSIN_POINTS names a folder. A process that reaches a point looks for a file there with the point's name, and does
// what it says: "kill" and "stop" are SIGKILL and SIGSTOP, and "hold" lets only the goroutine wait. The file is renamed
// to <point>.<process id> first, so that it happens once, in one process; who is held goes on when that is removed.
package defect

// Point is a moment at which a test can have a process end.
type Point string

// The points, in the order in which an event passes them.
const (
	// Committed: a change is committed, its event has no number, and the call hasn't returned.
	Committed Point = "committed"
	// Numbering: inside the transaction, the row of the lease is locked and numbers are written.
	Numbering Point = "numbering"
	// Numbered: that is committed, and nothing is sent.
	Numbered Point = "numbered"
	// Live: the bus has it for whoever is listening, the stream doesn't.
	Live Point = "live"
	// Stored: the stream has acknowledged it, and the row has no mark.
	Stored Point = "stored"
)
