// Package quota counts what one process spends of its users' quotas, and decides what to ask authsvc about them: a state
// machine without I/O, goroutines or a clock of its own.
//
// authsvc hands out allowances, each for a user, a resource and a term, so that their sum never exceeds the limit; see the
// comments of [events.QuotaEntry] for the exchange. A process spends only what it was allowed, so the fleet never exceeds a limit
// while authsvc can be asked. That rests on three things here:
//
//  1. Nothing is spent beyond an allowance. What may still be spent is one word, purse.left, which a spender takes from
//     by compare-and-swap and only while it is above zero. So what was spent, allowed − left, never exceeds allowed, and there is
//     no moment at which two words disagree.
//
//  2. Until the answer to a question has come, no more is spent than the question's Spent + Want. Before a question is made, the
//     same word is lowered to Want at most, by compare-and-swap again, and Spent is what was spent at that very
//     moment: allowed' − left', where left' ≤ Want. From then on only an answer raises left. Whoever spends meanwhile takes from
//     left', so that all in all at most Spent + left' ≤ Spent + Want is spent, however many spend at once and whenever the
//     question is sent, lost, repeated or answered. If the answer is lost, the word stays as it was lowered until another comes.
//
//  3. Nothing is spent in a term that is over. A term ends EndsIn after its question was sent, by this process's clocks: before it
//     ends at authsvc, which looked at its own later. When a question is made for a term that is over, left is lowered to 0 in
//     the same way: then Spent is final, and a request that had looked at its clock in time, but was slow, finds nothing and is
//     judged again.
//
// Several questions may be on their way at once, each about other states: a state is in no question before the last one about it has
// ended, and each question has a higher number than all that ended before it was made. So of a state, an answer is always to the
// last question; and authsvc, which keeps the last number by user, resource and process, takes no question for news that a later
// one about the same state has overtaken. Which of two questions about different states comes first matters to neither. A process
// that dies leaves an allowance that nobody spends, until the term ends.
//
// What a request has spent that is refused after all is put back: left rises by what nobody was accepted for, so Spent + Want of the
// last question still bounds what is. Spent never falls; one that was told may be another's. If the term ends without notice, all that
// was spent since the question is carried into the next, put back or not.
//
// When authsvc gives no answer, requests may be let through beyond what was allowed (unless their route is strict), until it gives
// one: it is asked once a second. They are counted, in the term if it holds and apart otherwise, and added to Spent as soon as a
// question can be made that carries them. Those apart are given up when some may have been in a window that is over: they are
// nothing in the present one. What was told to be used up stays used up until its term ends.
//
// When authsvc answers that it is busy, with a question or with entries of it, that is an answer, and nothing is let through: who can make it
// busy must gain nothing. What is known stays as it is, so that all of the above holds as if the answer were lost; who needs another is refused until the next
// tick, and then it is asked again. A question without an answer is put off like that if another was since it was made, so that an
// authsvc that manages to say it to some only isn't away.
package quota
