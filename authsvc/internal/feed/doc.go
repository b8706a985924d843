// Package feed turns committed events into the numbered, signed feed that every verifier follows, and proves to verifiers
// how far it is. One process among the replicas does so at a time, the dispatcher ([Dispatcher]); [Start] runs a candidate
// over NATS. Beside it live what every replica has: who could be fresh ([Fleet]), how far an event has travelled
// ([Receipts]) and pages for those who can't catch up otherwise ([Pages]).
//
// # One round
//
// [Dispatcher.Step] takes the proof requests that have arrived, and then, in this order:
//
//  1. flushes the bus unless it did so lately, so that who can't publish loses the lease, and takes the lease if it
//     hasn't got it;
//  2. runs a numbering transaction ([store.DB.NumberEvents]): it locks the lease, checks term, epoch, head and chain, and
//     only then reads and numbers what is committed; it reads floor, key set and time too;
//  3. publishes everything up to the head that core hasn't had, and flushes;
//  4. repeats 2 and 3 until a transaction left nothing unnumbered and everything up to its head is out;
//  5. answers the requests from that transaction;
//  6. gives the stream what it has room for, without waiting for it.
//
// PubAcks are taken in by [Dispatcher.Pump]; the marks that they earn are written by a later numbering transaction, which
// flushes to disk anyway.
//
// # Why an answer covers every event that was committed before its question was sent
//
// A call that revokes returned after its commit; a question sent later arrived later; the numbering transaction of step 2
// began after that (Step is given only requests that have arrived). So it is enough that the transaction sees every commit
// that was reported before it began.
//
//   - PostgreSQL, READ COMMITTED: each statement takes a snapshot of its own, and a transaction is in every snapshot taken
//     after its commit was reported. The first statement may wait for the lease's row lock, and what it sees besides that
//     row is as old as its beginning, so the rows are read by a later one: its snapshot is newer than the lock, and holds
//     what the previous holder numbered as well. With REPEATABLE READ it would be older than the lock, and the unique index
//     would be all that keeps an event from being numbered twice.
//   - SQLite: BEGIN IMMEDIATE takes the one write lock and reads the last commit.
//
// Rows are chosen by having no seq, never by a cursor over ids: in PostgreSQL ids commit out of order, and a cursor would
// pass over a row whose transaction began early and committed late. So seq ≤ head holds for all of them, and step 4 keeps
// what a limit left over from being proven past.
//
// # Why a zombie can't prove
//
// A dispatcher that was frozen may wake with a stale idea of itself. To prove something new it needs a new numbering
// transaction, whose first statement finds a greater term and refuses ([store.ErrFenced]); the lease's time is only about
// who may try, never about safety. What it had already read it may still tell: that answer goes to questions which had
// arrived before its transaction began, by the step order, and is true for them however late it comes, since a verifier
// counts from the time at which it asked. What it publishes late are duplicates. If it was frozen inside the transaction,
// its lock dies with the connection's time-outs, and its commit with the lock.
//
// # Why a head is never ahead of what can be had
//
// All unmarked events go out on core before the first proof of a term (step 4, from [store.Lease.Unpublished]): whoever
// crashed may have numbered events that nobody has heard. A verifier accepts an answer only when it holds everything up to
// the head by the chain, so this is about availability; what it missed it takes from the stream or from pages.
//
// # The floor
//
// The floor is the lowest seq whose event may still concern a living credential. until of an event is KeyRetention and a
// minute after the greatest exp ever issued and one access life from its numbering. Credentials that an event kills
// were issued by commits before its own, each of which had raised exp_ceiling beforehand, and the bounds are read after the
// rows. So once the database's clock is past until, they have all expired, by the right time too if that clock is ahead
// by no more than KeyRetention. A floor is stored when it is first told and
// only ever raised: within an epoch a verifier that has skipped to it never learns that it shouldn't have. It may lag,
// which costs a few events.
//
// # Chain and epoch
//
// chain(seq) names the whole history up to a seq. Each numbering transaction compares the database with the head and chain
// that this process has last seen committed; a database that was set back, and has gone on from there, differs. Then
// nothing is proven ([store.ErrRegressed]) and the next term opens a greater epoch, into which all live events are numbered
// anew from 1 before the first proof. A process without memory takes the stream's last signed message for its memory
// ([Dispatcher.Observe]). Lost commits that nobody had numbered leave no trace: the database must not lose commits.
//
// # What a receipt means
//
// published: core was flushed and the stream has acknowledged, for this event and all before it. fleet: [Fleet] hears the
// requests of all services on every replica, and counts each start of each instance until the last answer that it could
// have had must have worn off. An instance says applied = n after it denies by the events up to n.
package feed
