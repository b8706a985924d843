package quota

import (
	"time"

	"github.com/tocsin-auth/tocsin/pkg/events"
)

// authority is the rule of authsvc, and nothing else: in every window the allowances that may be spent, and what was spent of those
// that are over, never exceed the limit.
type authority struct {
	now     int64 // microseconds
	windows []window
	ends    window             // without a limit
	holders map[string]*holder // by start and resource
}

type window struct{ limit, seconds int64 }

// holder is what one process has of one user's quota.
type holder struct {
	seq   uint64
	last  int64 // term of the last grant
	terms map[int64]*share
}

type share struct {
	spent, allowed int64
	final          bool
	before         int64 // spent when the term was left, and came back: a plan was changed and changed again
}

func newAuthority(windows ...window) *authority {
	return &authority{now: 1_800_000_000_000_000, windows: windows, ends: window{1 << 40, 3600}, holders: map[string]*holder{}}
}

func (a *authority) end(w window) int64 {
	n := w.seconds * 1e6
	return (a.now/n + 1) * n
}

func (a *authority) term() int64 {
	term := a.end(a.ends)
	for _, w := range a.windows {
		term = min(term, a.end(w))
	}
	return term
}

// inUse is what counts against a window, besides one share.
func (a *authority) inUse(w window, besides *share) (n int64) {
	end := a.end(w)
	for _, h := range a.holders {
		for term, s := range h.terms {
			switch {
			case term <= end-w.seconds*1e6 || term > end || s == besides:
			case s.final:
				n += s.before + s.spent
			default:
				n += s.before + max(s.spent, s.allowed)
			}
		}
	}
	return n
}

func (a *authority) answer(start string, seq uint64, entries []events.QuotaEntry) events.QuotaAnswer {
	var out events.QuotaAnswer
	for _, e := range entries {
		out.Grants = append(out.Grants, a.grant(start, seq, e))
	}
	return out
}

func (a *authority) grant(start string, seq uint64, e events.QuotaEntry) events.QuotaGrant {
	key := start + e.Subject + e.Resource
	h := a.holders[key]
	if h == nil {
		h = &holder{terms: map[int64]*share{}}
		a.holders[key] = h
	}
	taken := false
	if seq > h.seq {
		h.seq = seq
		taken = a.update(h, e)
	}
	return a.describe(h, taken)
}

func (a *authority) update(h *holder, e events.QuotaEntry) (taken bool) {
	term := a.term()
	base := int64(0)
	if old := h.terms[e.Term]; old != nil && e.Term != term {
		old.spent, old.final = max(old.spent, e.Spent), true
	} else if e.Term == term {
		base = e.Spent
	}
	own := h.terms[term]
	if own == nil {
		own = &share{}
		h.terms[term] = own
	}
	h.last = term
	if e.Term != term { // who speaks of another term holds nothing of this one
		*own = share{before: own.before + own.spent}
	}
	own.spent = max(own.spent, base)
	own.allowed = min(own.allowed, base+e.Want)
	if e.Take && a.room(own) > own.allowed {
		own.spent, own.allowed = own.spent+1, max(own.allowed, own.spent)+1
		taken = true
	}
	own.allowed = max(own.allowed, min(own.spent+e.Want, a.room(own)))
	return taken
}

// room is what may be allowed in a share.
func (a *authority) room(own *share) int64 {
	room := int64(1 << 40)
	for _, w := range a.windows {
		room = min(room, w.limit-a.inUse(w, own)-own.before)
	}
	return max(room, own.spent)
}

func (a *authority) describe(h *holder, taken bool) events.QuotaGrant {
	own := h.terms[h.last]
	g := events.QuotaGrant{Term: h.last, EndsIn: max(h.last-a.now, 0), Allowed: own.allowed, Taken: taken}
	for _, w := range a.windows {
		g.Limits = append(g.Limits, events.QuotaLimit{
			Limit: w.limit, Window: w.seconds, Left: max(w.limit-a.inUse(w, own)-own.before-own.spent, 0), EndsIn: a.end(w) - a.now,
		})
	}
	return g
}

func (a *authority) advance(d time.Duration) { a.now += d.Microseconds() }
