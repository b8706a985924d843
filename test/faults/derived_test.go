package faults

import (
	"testing"
	"time"
)

// derivedIssue is a token d that a worker w has of the user u from 1 s on, for a minute.
var derivedIssue = Issue{Span: at(0.9, 1), Credential: "d", User: "u", Derived: "exchanged", Actor: "w", Short: true, Life: time.Minute}

func derivedHistory(entries ...any) *History {
	return history().with(append([]any{derivedIssue}, entries...)...)
}

// ofWorker is a change of the worker's that ends, suspends or revives what was derived.
func (c Change) ofWorker() Change { c.User = "w"; return c }

func onDerived(c Change) Change {
	for _, names := range [][]string{c.Kills, c.Suspends, c.Revives} {
		if len(names) > 0 {
			names[0] = "d"
		}
	}
	return c.ofWorker()
}

func TestDerivedTokensAreSeenToOutliveTheirParents(t *testing.T) {
	both := func(h *History) []Violation {
		_, late := BoundedAcceptance(h)
		_, elite := EliteLinearizable(h)
		return append(append(late, elite...), NothingLost(h)...)
	}
	check(t, both, []example{
		{"within B", false, derivedHistory(onDerived(kill(4, 5, "")), accepted(7.9, 8, "d"))},
		{"beyond B", true, derivedHistory(onDerived(kill(4, 5, "")), accepted(8.1, 8.2, "d"))},
		{"elite", true, derivedHistory(onDerived(kill(4, 5, "")), accepted(5.1, 5.2, "d").elite())},
		{"elite, and perhaps", false, derivedHistory(onDerived(kill(4, 5, "")).unknown(), accepted(5.1, 5.2, "d").elite())},
		{"in the end", true, derivedHistory(onDerived(kill(4, 5, "")), sweep(10, 12), accepted(11, 11.1, "d"))},
		{"while the actor's key is suspended", true, derivedHistory(onDerived(suspend(4, 5)), accepted(8.1, 8.2, "d"))},
		{"when the actor's key is resumed", false, derivedHistory(onDerived(suspend(4, 5)), onDerived(resume(6, 7)), accepted(8.1, 8.2, "d"))},
		{"with a role that the user has lost", true, derivedHistory(setRole(2, 3, 7), setRole(4, 5, 8), accepted(8.1, 8.2, "d").role(7))},
		{"with a role that the actor has lost", true, derivedHistory(setRole(2, 3, 7), setRole(4, 5, 8).ofWorker(), accepted(8.1, 8.2, "d").role(7))},
		{"without a role", false, derivedHistory(setRole(2, 3, 7), setRole(4, 5, 8).ofWorker(), accepted(8.1, 8.2, "d"))},
		{"elite with a role that the user has lost", true, derivedHistory(setRole(2, 3, 7), setRole(4, 5, 8), accepted(5.1, 5.2, "d").role(7).elite())},
		{"elite with a role that the actor has lost", true, derivedHistory(setRole(2, 3, 7), setRole(4, 5, 8).ofWorker(), accepted(5.1, 5.2, "d").role(7).elite())},
		{"elite without a role", false, derivedHistory(setRole(2, 3, 7), setRole(4, 5, 8).ofWorker(), accepted(5.1, 5.2, "d").elite())},
	})
}

func TestNoCollateralIsSeenToBeBrokenForDerivedTokens(t *testing.T) {
	clock := func(begin float64, name string, ahead time.Duration) Clock {
		return Clock{at(begin, begin+0.1), name, ahead}
	}
	expired := func(begin, end float64) Call { c := refused(begin, end, "d"); c.Code = "expired"; return c }
	check(t, func(h *History) []Violation { _, broken := NoCollateral(h); return broken }, []example{
		{"its parents live", true, derivedHistory(refused(5, 5.1, "d"))},
		{"a parent has ended", false, derivedHistory(onDerived(kill(4, 5, "")), refused(5, 5.1, "d"))},
		{"called expired", true, derivedHistory(expired(50, 50.1))},
		{"expired", false, derivedHistory(expired(61, 61.1))},
		{"expired by the clock of the service", false, derivedHistory(clock(40, "one", 30*time.Second), expired(41, 41.1))},
		{"expired by the clock of another service", true, derivedHistory(clock(40, "two", 30*time.Second), expired(41, 41.1))},
		{"expired by the database's clock", false, derivedHistory(clock(40, ofDatabase, 30*time.Second), expired(41, 41.1))},
		{"by a clock that was set right again", true, derivedHistory(clock(30, "one", 30*time.Second), clock(40, "one", 0), expired(41, 41.1))},
		{"issued while the database's clock was ahead", true, derivedHistory(clock(0.1, ofDatabase, time.Minute), clock(0.1, "one", time.Minute), expired(50, 50.1))},
	})
}
