package quota

import (
	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/pkg/events"
)

// holder is what one instance is allowed of an account. Allowed is never less than Spent: it is the charge.
type holder struct {
	store.QuotaHolder
	dirty bool
}

// settle takes a report in and answers it.
func (a *account) settle(h *holder, r report) events.QuotaGrant {
	taken := false
	if r.seq > h.Seq { // otherwise it is repeated or overtaken, and what was told after it stands
		a.hear(h, r)
		a.enter(h, r.service)
		taken = r.Take && a.take(h, r.service)
		a.allow(h, r)
		h.Seq, h.dirty = r.seq, true
		h.EndsAt = max(h.EndsAt, a.EndsAt)
	}
	return events.QuotaGrant{Term: h.Term, EndsIn: max(0, h.Term-a.now), Allowed: h.Allowed, Taken: taken, Limits: a.describe(h)}
}

// hear learns what the holder has spent, and which term it goes by.
func (a *account) hear(h *holder, r report) {
	switch {
	case r.Term != 0 && r.Term == h.Term:
		a.hearOf(h, r)
	case r.Term != 0 && r.Term == h.BeforeTerm:
		a.takeBack(h, r.service)
		a.hearBefore(h, r)
	default:
		a.hearAnew(h, r)
	}
}

// hearOf is about the term of the last grant, which has arrived.
func (a *account) hearOf(h *holder, r report) {
	spent := max(h.Spent, r.Spent)
	held := min(max(h.Allowed-spent, 0), r.Want)
	a.charge(h, r.service, spent, spent+held)
	h.Met = true
	a.book(h.BeforeTerm, -h.BeforeHeld, 0, r.service)
	h.BeforeTerm, h.BeforeSpent, h.BeforeHeld = 0, 0, 0
}

// hearBefore is about the term before that of the last grant.
func (a *account) hearBefore(h *holder, r report) {
	spent := max(h.BeforeSpent, r.Spent)
	held := min(max(h.BeforeSpent+h.BeforeHeld-spent, 0), r.Want)
	a.book(h.BeforeTerm, spent+held-h.BeforeSpent-h.BeforeHeld, spent-h.BeforeSpent, r.service)
	h.BeforeSpent, h.BeforeHeld = spent, held
}

// hearAnew is of who has forgotten, or never had a grant: what it was allowed and has shown to know stays counted.
func (a *account) hearAnew(h *holder, r report) {
	if h.Met {
		h.Spent, h.Allowed, h.Met = 0, 0, false
	}
	a.takeBack(h, r.service)
	a.book(r.Term, r.Spent, r.Spent, r.service)
	h.BeforeTerm, h.BeforeSpent, h.BeforeHeld = r.Term, r.Spent, 0
}

// enter begins the present term, if the holder isn't in it. It may still go by the one that it was in.
func (a *account) enter(h *holder, service string) {
	if h.Term == a.Term {
		return
	}
	if h.Met {
		h.BeforeTerm, h.BeforeSpent, h.BeforeHeld = h.Term, h.Spent, h.Allowed-h.Spent
	} else {
		a.takeBack(h, service)
	}
	h.Term, h.Spent, h.Allowed, h.Met = a.Term, 0, 0, false
	a.Holders++
	a.dirty = true
}

// takeBack takes an allowance back that has never arrived. What was taken for the holder stays spent.
func (a *account) takeBack(h *holder, service string) { a.charge(h, service, h.Spent, h.Spent) }

// take spends one of what nobody has spent or holds, the holder itself neither.
func (a *account) take(h *holder, service string) bool {
	if a.left(h)-(h.Allowed-h.Spent) < 1 {
		return false
	}
	a.charge(h, service, h.Spent+1, h.Allowed+1)
	return true
}

// allow raises what the holder is allowed to its share, or leaves it what it still holds.
func (a *account) allow(h *holder, r report) {
	grant := min(r.Want, a.share(a.left(h)))
	a.charge(h, r.service, h.Spent, max(h.Allowed, h.Spent+grant))
}

// charge sets what the holder has spent and is allowed in its term.
func (a *account) charge(h *holder, service string, spent, allowed int64) {
	a.book(h.Term, allowed-h.Allowed, spent-h.Spent, service)
	h.Spent, h.Allowed = spent, allowed
}
