package verifier

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/clock"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/quota"
)

// metering is what the requests of a route spend.
type metering struct {
	name          string
	resource      *quota.Resource
	exact, strict bool
	// spent is the route of a request that has spent: the same but for this.
	spent *Route
}

// Quota has each accepted request spend one of what the user's plan allows of a resource, [a-z0-9_-]{1,32}; without a limit in the plan
// nothing is counted. What may be spent is shared by all of the user's credentials, and by all services. An instance spends in-process what
// authsvc has allowed it, and never more: over all instances no window's limit is exceeded. When nothing is left, requests are refused with
// [ErrQuotaExceeded]; [QuotaStrict] tells what happens while authsvc can't be asked. A refused request spends nothing, but one whose
// credential died while it waited may.
//
// The first request of a user waits for an answer of authsvc; so does one that finds that others have just taken what was left. It
// waits up to a second to be asked for, behind others, and is refused with [ErrAuthUnavailable] then; and up to another for the answer.
func Quota(resource string) RouteOption {
	return func(r *Route) error { return r.meter(metering{name: resource}) }
}

// QuotaExact is [Quota], with authsvc asked about each request: nothing is set aside for instances that may not need it, so a
// request is refused only when as many as the limit were accepted, or are counted for requests whose answer was lost or whose credential died
// meanwhile. What that costs is a question each time, and that requests are refused with [ErrAuthUnavailable] when there is no answer.
func QuotaExact(resource string) RouteOption {
	return func(r *Route) error { return r.meter(metering{name: resource, exact: true}) }
}

// QuotaStrict has requests refused with [ErrAuthUnavailable] when what they spend can't be counted, because authsvc gives no
// answer. Default: they are accepted, and told to authsvc when it is back, so that an outage refuses nobody; what was known to be used up
// stays so until its window ends. An authsvc that answers that it is busy isn't away: whoever needs another answer is refused then, strict or not.
// Give it after [Quota].
func QuotaStrict() RouteOption {
	return func(r *Route) error {
		if r.metered == nil {
			return errors.New("quota strict: the route has no quota")
		}
		r.metered.strict = true
		return nil
	}
}

func (r *Route) meter(m metering) error {
	switch {
	case r.metered != nil:
		return errors.New("quota: a route has one")
	case !events.ValidService(m.name): // the same form
		return errors.New("quota: resource must match [a-z0-9_-]{1,32}")
	}
	r.metered = &m
	return nil
}

// count makes a route with a quota ready for use.
func (v *Verifier) count(r *Route) {
	spent := *r
	spent.metered = nil
	r.metered.spent = &spent
	r.metered.resource = v.quotas.Resource(r.metered.name)
	v.account.start(v)
}

// begun returns the route by which a request is judged that was accepted once: it spends nothing more.
func (r *Route) begun() *Route {
	if r.metered == nil {
		return r
	}
	return r.metered.spent
}

// quotaAsk is a refusal of spend that isn't final: authsvc has to be asked, and then the request is judged again.
type quotaAsk struct {
	user   events.ID
	ticket quota.Ticket // none for an exact route
}

func (*quotaAsk) Error() string { return "the quota isn't known" }

// spend spends one request of a user, whom nothing else refuses. Its errors are refusals, or *quotaAsk.
func (v *Verifier) spend(route *Route, user events.ID, now clock.Reading) error {
	m := route.metered
	switch {
	case m == nil || !m.exact && v.quotas.Spend(user, m.resource, now):
		return nil
	case m.exact:
		return &quotaAsk{user: user}
	}
	_, err := v.spendOrAsk(m, user, now)
	return err
}

// spendOrAsk also returns what was spent.
func (v *Verifier) spendOrAsk(m *metering, user events.ID, now clock.Reading) (quota.Ticket, error) {
	verdict, ticket := v.quotas.SpendOrAsk(user, m.resource, now, m.strict)
	switch verdict {
	case quota.Wait:
		return ticket, &quotaAsk{user, ticket}
	case quota.Exceeded:
		return ticket, v.exceeded(m, user, now)
	case quota.Away:
		return ticket, errQuotaUnknown
	case quota.Busy:
		return ticket, errQuotaOverload
	}
	return ticket, nil
}

var errQuotaUnknown = fmt.Errorf("%w: the quota isn't known", ErrAuthUnavailable)

// exceeded is ErrQuotaExceeded, with what the caller is told.
type exceeded struct {
	rateLimit
	retry time.Duration
}

func (*exceeded) Error() string { return ErrQuotaExceeded.Error() }
func (*exceeded) Unwrap() error { return ErrQuotaExceeded }

func (v *Verifier) exceeded(m *metering, user events.ID, now clock.Reading) error {
	limits, retry := v.quotas.Limits(user, m.resource, now)
	return &exceeded{rateLimit{m.name, limits}, retry}
}

// RetryAfter returns in how long it is worth trying again what was refused, or 0 where waiting doesn't help. It is what the header
// Retry-After says, rounded up to seconds.
func RetryAfter(err error) time.Duration {
	var e *exceeded
	switch {
	case errors.As(err, &e):
		return max(e.retry, time.Second)
	case outcomeOf(CodeOf(err)).retry:
		return time.Second
	}
	return 0
}

// rateLimit is what callers are told of a resource.
type rateLimit struct {
	resource string
	limits   []quota.Limit
}

// SetRateLimit sets the headers RateLimit and RateLimit-Policy (draft-ietf-httpapi-ratelimit-headers-10) for an accepted request of a route
// with a quota, as [Verifier.Require] does. They tell what is known here: it was true when authsvc was asked last. Without a quota, or a
// limit in the user's plan, nothing is set.
func (v *Verifier) SetRateLimit(h http.Header, p *Principal, route *Route) {
	if route.metered == nil {
		return
	}
	user, err := events.ParseID(p.Subject)
	if err != nil {
		return // it can't be: the principal is this verifier's
	}
	limits, _ := v.quotas.Limits(user, route.metered.resource, v.clock.Now())
	rateLimit{route.metered.name, limits}.set(h)
}

// set names each policy after the resource and the window.
func (l rateLimit) set(h http.Header) {
	if len(l.limits) == 0 {
		return
	}
	var now, policy []string
	for _, limit := range l.limits {
		window := wholeSeconds(limit.Window)
		name := `"` + l.resource + "-" + window + `"`
		now = append(now, name+";r="+strconv.FormatInt(limit.Left, 10)+";t="+wholeSeconds(limit.EndsIn))
		policy = append(policy, name+";q="+strconv.FormatInt(limit.Limit, 10)+";w="+window)
	}
	h.Set("RateLimit", strings.Join(now, ", "))
	h.Set("RateLimit-Policy", strings.Join(policy, ", "))
}

// wholeSeconds rounds up.
func wholeSeconds(d time.Duration) string {
	return strconv.FormatInt(int64((d+time.Second-1)/time.Second), 10)
}
