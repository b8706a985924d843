// Package revset is the concurrent revocation set: what the feed says about dead credentials, in memory.
//
// It does no I/O and reads no clock. A miss is a claim: "not in the set" means "not revoked" only while the feed is
// complete and fresh, which the set doesn't know and its caller MUST have established first.
//
// # Invariants
//
//  1. Monotone. Versions (tv, rv, kv) and watermarks only rise, a key's not_after only falls, and an ended token or
//     session stays ended. So every permutation of the same events, with any repetition, ends in the same verdicts.
//  2. Visible before versioned. [Set.Apply] and [Set.ApplyAll] return after every reader sees the events and after
//     [Set.Version] has changed for them. Writers are serialised, so this holds for the caller that repeats an event, too: it can't return
//     between another writer's content and that writer's version.
//  3. Readers take no lock, never wait for a writer, and allocate nothing. They search a table while it is added to, and
//     while it is replaced; the proofs are beside the table and the index.
//  4. Nothing is forgotten that could concern a living credential; see below.
//
// # What a version promises
//
// A reader that loads version v, and after that looks a credential up and finds nothing, may rely on the verdict for as
// long as Version() == v (and the time is before [Verdict.NotAfter]). A stamp MUST be loaded before the look-up: an
// event that the look-up missed became visible after it, and its version after that, so it differs from the stamp.
// Loaded after the look-up, a stamp could be the version of an event that the look-up missed.
//
// In the moment between an event's content and its version, some milliseconds for a message of thousands of users, a reader
// may still rely on its stamp. That is harmless: the event's Apply hasn't returned, so no proof that covers it was accepted, and the acceptance rests on an older proof.
// A reader that loads freshness first and the version second sees every event under that proof.
//
// # Forgetting
//
// An event's until is KeyRetention after every credential that it concerns has expired, and after every API-key resolution
// made before it has left the caches. An entry goes when that has passed both by the last signed time and by what the
// issuer's clock would show had it never leapt ahead, so that neither a wrong clock of this machine nor a leap makes the
// set forget early. Until then the entry keeps the latest until of all its events, rounded up to the minute: what shares a
// minute goes together, and its memory with it. Whatever clock was wrong after all:
// exp is judged by no time before [Set.Horizon] − KeyRetention, so no token comes back to life; and the caller tells how
// long resolutions made before an event last, by a clock that isn't set. The two watermarks are never forgotten: they
// are two words, and what they say stays true.
//
// What is said of a user's tokens and keys is one entry; a user's state, a key's end and a key's suspension are one each.
//
// An event that is past until when it arrives isn't kept. It may be new all the same, when the issuer's clock was set
// back: [Set.Apply] then tells, so that resolutions made before it are dropped as if the feed had leapt over it.
//
// # Memory
//
// An entry is an id, a byte of its hash, four bytes of until, and at most eight more, in flat columns; tables grow by an
// eighth, small ones by half, one of 256 parts of an index at a time. All included, that is at most 40 bytes from a million entries on, and
// the garbage collector has nothing to scan. Only a user's state takes more, and holds pointers; and a user whose keys are cut off
// at a lower version than the tokens is there twice.
package revset
