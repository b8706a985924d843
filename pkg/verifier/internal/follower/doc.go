// Package follower is the verifier's side of the feed as a pure state machine: it applies events, asks "how far is the
// feed?", and decides when the signed answer proves that the set is complete. It does no I/O, starts no goroutine and
// reads no clock; package link drives it.
//
// # Coverage
//
// For each epoch the follower keeps runs: stretches of seqs, every one of them applied, linked by the hash chain
// chain(n) = SHA-256(chain(n−1) ‖ event n). Messages may come in any order; runs grow at both ends and join where they
// touch and their chains agree. An event that this version doesn't understand is left out of every run, unless it is
// ignorable, so a run ends before it.
//
// An answer {floor, head, chain} is accepted if one run of its epoch covers every seq from floor to head and has that
// chain at head. If floor is head + 1, nothing lives, so nothing has to be covered.
//
// # Why an accepted answer means completeness
//
// Let S be the reading taken before the question was published, and let a revoking call have returned before S.
//
//  1. Its event was committed before the question was sent, so before the dispatcher received it, so before the
//     numbering transaction that the answer rests on began. That transaction sees and numbers every committed event. So
//     the event's seq is at most head. (That the answer is to this question, nonce and request hash under the feed
//     key's signature say; a recorded or foreign answer has another nonce.)
//  2. If its seq is below floor, its until has passed by the database's clock, read in the same or an earlier transaction:
//     it concerns no living credential, see below. Resolutions of API keys that could have missed it are dropped, because [Config]'s
//     Skipped runs before the acceptance whenever the covering run doesn't continue the one proven last.
//  3. Otherwise its seq is in the covering run. chain(head) equals the answer's, and SHA-256 is collision-resistant, so
//     event head and chain(head − 1) are the dispatcher's own, and so on down to floor: what was applied under each seq
//     is what the dispatcher numbered, without trusting whoever delivered it. The chain before the run's first event
//     comes from a signed message, but the argument doesn't need it.
//  4. Events are applied before they are covered, and S is stored last. So a reader that loads [Follower.Fresh] first
//     and the set second sees the event. The same holds for the token key set, whose hash the answer names.
//
// S is never changed, and of two answers the one asked later wins. So from S on, for the bound, "not in the set" means
// "not revoked before S".
//
// What isn't accepted costs nothing: a hole, a mismatch or a new epoch never cancels what was proven, it only keeps the
// next answer waiting. An answer ahead of the events is held with its S, because events and answers come over different
// connections.
//
// # Contradictions
//
// Two chains in one epoch exist only if the database lost commits. Of two runs that contradict each other the later one
// wins, and if the newest answer contradicts the run that covers it, the position in that epoch is dropped and read
// again. Either costs another reading and the caches of resolved keys, never what was proven.
//
// # Time
//
// exp is judged by the latest of own wall time, the last signed time + elapsed, and T − KeyRetention ([Freshness.Time] and
// the set's horizon), where T is the greatest signed time by which this process has forgotten an event, not kept one or
// skipped to a floor. The last signed time may be below an earlier one: a database's clock that was ahead and is right
// again must not make tokens expire early for ever.
//
// That revives nothing. What this process lacks of the history had lapsed, until ≤ T, when the database's clock showed some
// T before the last proof. until is at least exp + KeyRetention + a minute of every token that the event concerns, so each
// of them ends, leeway included, before T − KeyRetention. If the clock never shows less than it ever showed − KeyRetention,
// the last signed time is at least T − KeyRetention: even for a floor that was raised by a leap that this process never
// heard of. If it is set back by more, the third term is at least that, for every T by which this process itself forgot or
// skipped; only who wasn't there when T was shown can't know it.
//
// Resolutions of API keys have no exp; they last [KeyLife] by each of this process's clocks, so by the one that counts since
// the start. An entry that concerns keys is forgotten no sooner than KeyLife after it came, by [Freshness.Past]: that is
// this clock and a distance that never grows, whatever the issuer's clock does. So when the entry is forgotten, KeyLife has
// passed by this clock since it came, and since any resolution was asked for that didn't see it. That clock is never set
// back, so no such resolution is used again. Of wall time none of this holds: it may be ahead when the entry is forgotten, which
// ends resolutions only as long as it is ahead. What is skipped or not kept empties the caches.
//
// # Memory
//
// Chains are kept for each seq as long as any question can still be answered, a little more than [events.MaxBound];
// after that a run is two numbers and two hashes. Answers to older questions are useless and are refused.
//
// Of compact pages, which may tell of millions at once, only the chains are kept that a held answer may be compared with,
// and the last. An answer whose head lies where none was kept can't be judged if it was asked for before the page came, and
// the next one is waited for; if it was asked for later, it contradicts what is known, as everywhere.
package follower
