package faults

import (
	"testing"
	"time"
)

// spent makes accepted calls of a route with a quota, evenly from a moment to another one.
func spent(n int, from, to float64, resource string) (all []any) {
	for i := range n {
		moment := from + (to-from)*float64(i)/float64(n)
		c := accepted(moment, moment+0.01, "t")
		c.Quota = resource
		all = append(all, c)
	}
	return all
}

func beyond(begin float64, resource string) Call {
	return Call{Span: at(begin, begin+0.01), Instance: "one", Credential: "t", Quota: resource, Status: 429, Code: "quota_exceeded"}
}

// quotaHistory has windows of 10 s, from 0 s on, with a limit of 3.
func quotaHistory(entries ...[]any) *History {
	h := history().with(Meter{Resource: "calls", Limit: 3, Window: 10 * time.Second}, Meter{Resource: "strict", Limit: 3, Window: 10 * time.Second, Strict: true})
	for _, some := range entries {
		h = h.with(some...)
	}
	return h
}

func tells(begin float64, uncounted int) Sample {
	return Sample{Span: at(begin, begin+0.01), Instance: "one", Fresh: true, Uncounted: uncounted}
}

func TestWithinQuotaIsSeenToBeBroken(t *testing.T) {
	clock := func(begin float64, ahead float64) []any {
		return []any{Clock{at(begin, begin+0.1), ofDatabase, seconds(ahead)}}
	}
	one := func(entries ...any) []any { return entries }
	check(t, func(h *History) []Violation { _, broken := WithinQuota(h); return broken }, []example{
		{"up to the limit", false, quotaHistory(spent(3, 11, 19, "strict"), one(beyond(19.1, "strict")))},
		{"beyond it", true, quotaHistory(spent(4, 11, 19, "strict"))},
		{"beyond it on a route that isn't strict", true, quotaHistory(spent(4, 11, 19, "calls"), one(tells(10, 0), tells(20, 0)))},
		{"beyond it, and said so", false, quotaHistory(spent(4, 11, 19, "calls"), one(tells(10, 5), tells(20, 6)))},
		{"beyond it, and said so on a strict route", true, quotaHistory(spent(4, 11, 19, "strict"), one(tells(10, 5), tells(20, 6)))},
		{"beyond it, and said so of the window before", true, quotaHistory(spent(4, 11, 19, "calls"), one(tells(5, 5), tells(9.9, 6), tells(20, 6)))},
		{"beyond it, by one that was started again", false, quotaHistory(spent(4, 11, 19, "calls"), one(tells(10, 5), tells(15, 0), tells(20, 1)))},
		{"beyond it, by one that died before it could say so", false, quotaHistory(spent(4, 11, 19, "calls"), one(tells(10, 0), Start{at(19.5, 19.5), "one"}, tells(20, 0)))},
		{"in two windows", false, quotaHistory(spent(3, 11, 19, "strict"), spent(3, 21, 29, "strict"))},
		{"of two resources", false, quotaHistory(spent(3, 11, 19, "strict"), spent(3, 11, 19, "calls"))},
		{"beyond it, by the database's clock", true, quotaHistory(clock(1, 5), spent(4, 16, 24, "strict"))},
		{"in two windows by the database's clock", false, quotaHistory(clock(1, 5), spent(2, 11, 14, "strict"), spent(2, 16, 19, "strict"))},
		{"while its clock is set", false, quotaHistory(clock(15, 5), spent(4, 11, 19, "strict"))},
		{"at the edge of a window", false, quotaHistory(spent(4, 9.9, 10.1, "strict"))},
		{"refused before anybody has called", true, quotaHistory(one(beyond(21, "strict")))},
		{"refused while somebody calls", false, quotaHistory(one(beyond(21, "strict")), spent(1, 21.005, 22, "strict"))},
		{"refused after somebody has called", false, quotaHistory(spent(1, 20.5, 21, "strict"), one(beyond(21, "strict")))},
		{"refused after somebody has called in the window before", true, quotaHistory(spent(1, 15, 16, "strict"), one(beyond(21, "strict")))},
		{"refused after the machine stood still", false, quotaHistory(one(Fault{Span: at(19, 20.5), Kind: standstill}, beyond(21, "strict")))},
		{"refused though the clock has stepped back", false, quotaHistory(clock(70, -30), one(beyond(111, "strict")))},
	})
}
