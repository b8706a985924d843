// Package elite answers the questions that resource services ask over NATS: check (is this credential alive right now?),
// resolve (whose API key is this?), keys (the token key set), snapshot (a page of the feed) and quota (how much more of its
// users' quotas may this instance spend?).
//
// Quotas are counted as package quota says, by a few transactions at a time, which questions that have arrived share, so that
// counting never keeps anything else waiting for long. Every other answer is read afresh from the primary database by one statement that begins after the question has arrived, and
// is signed over the question's nonce, the SHA-256 of its bytes, and the answer. So an asker that got an answer knows
// that every change whose call returned before it asked has been looked at. Checks and resolves that have arrived when a
// read can begin share it, also with what authsvc asks for itself: see package liveness. None joins a read that has begun.
//
// Nobody trusts a question: a service can ask anything, and learns only what it could by asking honestly. What can't be
// read gets no answer or one with [events.HeaderError], which is not signed, so that askers refuse.
//
// # Load and failure
//
// A fixed number of reads run at once; each service has a bounded queue and a bounded number of reads, taken in turns, so
// that a flood from one leaves the others their share. Beyond that it is told "busy": signed if the question is about quotas, whose askers refuse
// then what they let through when nobody answers. Those are told so, too, when they have waited for 200 ms, before they give up. While the database can't be
// read, the subscriptions are withdrawn, so that other replicas get the questions and, without any, askers learn at once
// that nobody answers.
package elite
