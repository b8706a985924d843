package verifiertest

import (
	"encoding/json"
	"time"

	"github.com/tocsin-auth/tocsin/pkg/events"
)

// QuotaWindow is that of all limits. The first begins on a full minute of the issuer's clock, as the others do.
const QuotaWindow = time.Minute

// account is what a user has spent of a resource in a term. There is one instance that spends: the verifier.
type account struct {
	limit int64
	term  int64
	gone  int64 // spent before the verifier began to count anew
	spent int64 // as it has told
	// exhausted: when the verifier has told what it has spent, the rest is gone.
	exhausted bool
}

type accountKey struct{ subject, resource string }

// Limit sets how many requests of a user routes with [verifier.Quota] of a resource accept in each [QuotaWindow]. What was spent of
// the present one stays spent. Without a limit none is refused.
func (i *Issuer) Limit(subject, resource string, limit int64) {
	i.t.Helper()
	i.changeQuota(func() {
		i.known(subject)
		if !events.ValidService(resource) || limit < 0 { // the same form
			i.t.Fatalf("verifiertest: limit %d of %q: want 0 or more of [a-z0-9_-]{1,32}", limit, resource)
		}
		key := accountKey{subject, resource}
		if i.accounts[key] == nil {
			i.accounts[key] = &account{}
		}
		i.accounts[key].limit = limit
	})
}

// Exhaust uses up what is left of a limit in the present window, as other instances would.
func (i *Issuer) Exhaust(subject, resource string) {
	i.t.Helper()
	i.changeQuota(func() {
		a := i.accounts[accountKey{subject, resource}]
		if a == nil {
			i.t.Fatalf("verifiertest: user %s has no limit of %q", subject, resource)
		}
		a.enter(i.micros())
		a.exhausted = true
	})
}

// changeQuota also takes back what the verifier was allowed.
func (i *Issuer) changeQuota(what func()) {
	i.t.Helper()
	i.change(what)
	i.recall()
}

func (a *account) enter(now int64) {
	window := QuotaWindow.Microseconds()
	if term := (now/window + 1) * window; a.term != term {
		a.term, a.gone, a.spent, a.exhausted = term, 0, 0, false
	}
}

func (i *Issuer) quota(body []byte) ([]byte, error) {
	q, err := events.DecodeQuotaRequest(body)
	if err != nil {
		return nil, err
	}
	answer := events.QuotaAnswer{Nonce: q.Nonce, Request: events.HashOf(body), Now: i.micros()}
	for _, e := range q.Entries {
		answer.Grants = append(answer.Grants, i.grant(e))
	}
	return json.Marshal(answer)
}

// grant follows the rules of [events.QuotaEntry].
func (i *Issuer) grant(e events.QuotaEntry) events.QuotaGrant {
	a, now := i.accounts[accountKey{e.Subject, e.Resource}], i.micros()
	if a == nil {
		return events.QuotaGrant{EndsIn: QuotaWindow.Microseconds()}
	}
	a.enter(now)
	if e.Term == a.term {
		a.spent = max(a.spent, e.Spent)
	} else {
		a.gone, a.spent = a.gone+a.spent, 0
	}
	if a.exhausted {
		a.gone, a.exhausted = max(a.gone, a.limit-a.spent), false
	}
	g := events.QuotaGrant{Term: a.term, EndsIn: a.term - now}
	if e.Take && a.gone+a.spent < a.limit {
		a.spent++
		g.Taken = true
	}
	left := max(a.limit-a.gone-a.spent, 0)
	g.Allowed = a.spent + min(e.Want, left)
	g.Limits = []events.QuotaLimit{{Limit: a.limit, Window: int64(QuotaWindow / time.Second), Left: left, EndsIn: a.term - now}}
	return g
}
