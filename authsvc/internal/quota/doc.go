// Package quota counts what users spend, over all instances of all services, and hands out allowances: how many requests of a
// user an instance may accept by itself until it asks again.
//
// # What is counted
//
// A plan's limit bounds the requests to a resource in a window: windows of a length are aligned to the epoch of Unix time. Whenever
// a window opens, because one has ended or the plan has changed, a new term of the account begins, with a name that is greater than
// all before. So no window opens in a term, and there is one rule of what belongs where: a charge of a term is in the windows that
// were open when the term began, those with Since at most its name, and in no others. An account has, for each window that is open,
// what is used of it: the sum of the charges of all holders that are in it. What takes something out of a charge takes it out of
// those windows only, so none ever has less than what is spent and held. The window of a limit that is new to the plan
// begins with the charges of the longest open window within it, Since and all. Test traffic has accounts of its own. A holder is one start of one instance of a service; its charge is what it is allowed in a term in all, at least
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
//   - When it asks for a term that isn't known, or for none, it has forgotten, or its first grant was lost. If it has shown that
//     it goes by the present term, its charge stays as it is; otherwise only what was taken for it does. In either case that belongs to
//     nobody from then on, and it begins anew with nothing: what is allowed it next doesn't contain it again.
//
// A limit that is new or was lowered takes nothing back that was handed out before: it holds for what is accepted by allowances of the
// next term and those after it, and for everything when the present one has ended, or the holders have asked for less. A limit that stays in the plan, or is raised,
// holds throughout. A clock that was set back by more than a minute is believed: windows begin again. Whoever goes on while nobody answers, accepts more than its charge; that is counted when it is
// told, and left out of what the others may have.
//
// # What one service may cost
//
// An account knows at most 512 holders of a service at once. Holders become known at most 500 times a second for a service and replica, and 100,000
// times at once. Of one more, nothing is kept or allowed, and the entry's answer is that it is busy; those that are known are counted all the same. A holder that hasn't
// asked for about an hour is forgotten: its charges stay in their windows. If it comes back with a term in which it had told something, after so
// long a silence, that is counted once more.
//
// # Why nobody is locked out for longer than a window
//
// A window is forgotten when it ends, and with it every charge, whatever was lost.
package quota
