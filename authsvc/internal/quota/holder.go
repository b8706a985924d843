package quota

import (
	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/pkg/events"
)

// holder is what one start of an instance is charged of an account: in the term that it was answered for last, and in the one
// before, as long as it may still go by that.
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
		if silent := a.now - h.AskedAt; silent < 0 || silent > askedStep {
			h.AskedAt = a.now
		}
	}
	g := events.QuotaGrant{Term: h.Present.Term, Allowed: h.Present.Spent + h.Present.Held, Taken: taken, Limits: a.describe(h)}
	if h.Present.Term == a.Term {
		g.EndsIn = a.ends - a.now
	}
	return g
}

// hear learns what the holder has spent, and which term it goes by.
func (a *account) hear(h *holder, r report) {
	switch {
	case r.Term != 0 && r.Term == h.Present.Term: // the last grant has arrived
		h.Met = true
		a.tell(&h.Present, r)
		a.change(&h.Before, r.service, h.Before.Spent, 0)
		h.Before = store.QuotaCharge{}
	case r.Term != 0 && r.Term == h.Before.Term: // it hasn't
		a.tell(&h.Before, r)
		a.takeBack(h, r.service)
	default:
		a.hearAnew(h, r)
	}
}

// tell raises what was spent of a charge to what is told, and lowers what is held besides to what is wanted.
func (a *account) tell(c *store.QuotaCharge, r report) {
	spent := max(c.Spent, r.Spent)
	a.change(c, r.service, spent, min(max(c.Spent+c.Held-spent, 0), r.Want))
}

// hearAnew is of who has forgotten, or never had a grant. What it is charged stays, in nobody's name, but for an allowance that it
// never showed to have. What it tells of a term that isn't known is counted on top.
func (a *account) hearAnew(h *holder, r report) {
	if !h.Met {
		a.takeBack(h, r.service)
	}
	h.Present, h.Met = store.QuotaCharge{Term: h.Present.Term}, false
	h.Before = store.QuotaCharge{Term: r.Term}
	a.change(&h.Before, r.service, r.Spent, 0)
}

// enter begins the present term, if the holder isn't in it. It may still go by the one that it was in.
func (a *account) enter(h *holder, service string) {
	if h.Present.Term == a.Term {
		return
	}
	if h.Met {
		h.Before = h.Present
	} else {
		a.takeBack(h, service)
	}
	h.Present, h.Met = store.QuotaCharge{Term: a.Term}, false
	a.Holders++
	a.dirty = true
}

// takeBack takes an allowance back that has never arrived. What was taken for the holder stays spent.
func (a *account) takeBack(h *holder, service string) {
	a.change(&h.Present, service, h.Present.Spent, 0)
}

// take spends one of what nobody has spent or holds, the holder itself neither.
func (a *account) take(h *holder, service string) bool {
	if a.left(h)-h.Present.Held < 1 {
		return false
	}
	a.change(&h.Present, service, h.Present.Spent+1, h.Present.Held)
	return true
}

// allow raises what the holder is allowed to its share, or leaves it what it still holds.
func (a *account) allow(h *holder, r report) {
	share := min(r.Want, a.share(a.left(h)))
	a.change(&h.Present, r.service, h.Present.Spent, max(h.Present.Held, share))
}

// change makes a charge what it is from now on. Nothing that was spent is ever taken out of one.
func (a *account) change(c *store.QuotaCharge, service string, spent, held int64) {
	a.book(c.Term, spent+held-c.Spent-c.Held, spent-c.Spent, service)
	c.Spent, c.Held = spent, held
}
