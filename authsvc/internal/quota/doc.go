// Package quota counts what users spend, over all instances of all services, and hands out allowances: how many requests of a
// user an instance may accept by itself until it asks again.
//
// # What is counted
//
// A plan's limit bounds the requests to a resource in a window: windows of a length are aligned to the epoch of Unix time. A
// term of a user and a resource ends when the first of the plan's windows does, so that a term lies in one window of each length.
// An account has, for each window that is open, what is used of it: the sum of the charges of all holders in terms within the
// window. A holder is one start of one instance of a service; its charge is what it is allowed in a term in all, at least
// what it has told to have spent. What was spent is never given back; what is allowed and unspent is when its holder wants no more of
// it, and otherwise counts until the window ends.
//
// # Why no limit is exceeded
//
// Every change of an account is made with its row locked, so that they are one after the other. A holder is allowed more only as
// far as the charges of all stay at most each limit. So at any time
//
//	accepted ≤ sum of the charges ≤ limit,
//
// if no holder accepts more than its charge. It doesn't, as long as it follows [events.QuotaEntry]:
//
//   - In a term that it reports, its charge is lowered only to Spent + Want, beyond which it accepts nothing from when it sent that
//     until it has the answer; and then it goes by the answer, whose Allowed is the charge. If the answer is lost, it goes on by
//     what it has, within Spent + Want. If an older question comes late, its Seq tells, and nothing is changed.
//   - When its term ends or the plan has changed the terms, its charge in the old term stays Spent + Want, or what it was allowed if
//     that is less, until it shows by a question that it goes by the new term. Then it has moved what it accepted
//     meanwhile into the new one, and the old charge becomes what it had told.
//   - When it asks for a term that isn't known, or for none though it has told of the present one, it has forgotten; its charges
//     stay as they are, and it begins anew.
//
// A limit that was lowered takes nothing back that was handed out: it holds when the terms of that moment have ended, or the
// holders have asked for less. Whoever goes on while nobody answers, accepts more than its charge; that is counted when it is
// told, and left out of what the others may have.
//
// # Why nobody is locked out for longer than a window
//
// A window is forgotten when it ends, and with it every charge, whatever was lost.
package quota
