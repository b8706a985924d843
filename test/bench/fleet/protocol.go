// Package fleet runs many verifiers in one child process, each with its own connection to the bus, its own revocation set and
// its own checks of signatures, and tells when each of them learned what. All times are those of the machine's one wall clock.
package fleet

import "time"

// Config is what the verifiers of a fleet are given.
type Config struct {
	Issuer, Credentials string
	// URLs is where each verifier finds the bus: one verifier for each element.
	URLs  []string
	Bound time.Duration
	// Proofs makes each member keep a record of its proofs. It costs a look at the verifier's state after each.
	Proofs bool
	// Watchers is how many members look whether they refuse, evenly among all; 0 is all. It matters where looking costs too much.
	Watchers int
	// Tokens is for how many tokens each has room; 0: a thousand.
	Tokens int
}

// Usage is what the process of a fleet has used and what its members have been through, summed up.
type Usage struct {
	CPU time.Duration // user and system
	// Heap is what its Go heap and stacks hold, after a collection if that was asked for.
	Heap                                 uint64
	Proofs, Events, CatchUps, Reconnects uint64
	Fresh                                int    // members
	Applied                              uint64 // the least of all members
	Revocations                          int    // the most of all members
}

// Proof is one accepted proof: a verifier is fresh from At until Asked + B.
type Proof struct{ At, Asked time.Time }

// Member is what one verifier has been through.
type Member struct {
	Proofs []Proof
	// Lost and Found are when its connection to the bus was given up, and when it stood again.
	Lost, Found []time.Time
}

// FreshAt returns from when on a member was fresh that wasn't at a moment: that moment if it was.
func (m Member) FreshAt(moment time.Time, bound time.Duration) (time.Time, bool) {
	for _, p := range m.Proofs {
		if p.Asked.Add(bound).After(moment) && p.Asked.Add(bound).After(p.At) {
			return later(p.At, moment), true
		}
	}
	return time.Time{}, false
}

// ProvenAt returns when a member accepted the first proof that it had asked for after a moment.
func (m Member) ProvenAt(moment time.Time) (time.Time, bool) {
	for _, p := range m.Proofs {
		if p.Asked.After(moment) {
			return p.At, true
		}
	}
	return time.Time{}, false
}

// First returns the first of some times that isn't before a moment.
func First(times []time.Time, moment time.Time) (time.Time, bool) {
	for _, t := range times {
		if !t.Before(moment) {
			return t, true
		}
	}
	return time.Time{}, false
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// order is one line to the child; answer its one line back.
type order struct {
	// Make comes first, and once: the answer comes when all verifiers are fresh.
	Make *Config
	// Watch has each verifier accept this token; the answer of an Await comes when each has refused it.
	Watch  string
	Await  bool
	Report bool
	// Usage asks what has been used, Collect to collect garbage before that.
	Usage, Collect bool
	// Load begins a load, Unload ends it.
	Load   *Load
	Unload bool
}

type answer struct {
	Error   string
	Refused []time.Time
	// Numbered is when the newest event was numbered, as the feed says.
	Numbered time.Time
	Members  []Member
	Usage    Usage
	Slices   []Slice
	Elite    []Call
}
