package faults

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// The histories of these tests are written by hand, in seconds: B is 3 s, and a token t and a key k of the user u are
// good from 1 s on.

func at(begin, end float64) Span {
	return Span{time.Duration(begin * float64(time.Second)), time.Duration(end * float64(time.Second))}
}

func history() *History {
	return &History{
		Bound:  3 * time.Second,
		Issues: []Issue{{Span: at(0.9, 1), Credential: "t", User: "u"}, {Span: at(0.9, 1), Credential: "k", User: "u", Key: true}},
		Starts: []Start{{at(0.1, 0.1), "one"}, {at(0.1, 0.1), "two"}},
	}
}

func (h *History) with(entries ...any) *History {
	r := Recorder{h: *h}
	for _, e := range entries {
		r.Add(e)
	}
	return r.History()
}

func accepted(begin, end float64, credential string) Call {
	return Call{Span: at(begin, end), Instance: "one", Credential: credential, Status: 200}
}

func refused(begin, end float64, credential string) Call {
	return Call{Span: at(begin, end), Instance: "one", Credential: credential, Status: 401, Code: "revoked"}
}

func unavailable(begin, end float64, credential string) Call {
	return Call{Span: at(begin, end), Instance: "one", Credential: credential, Status: 503, Code: "stale"}
}

func (c Call) elite() Call { c.Elite = true; return c }

func (c Call) role(n int) Call { c.Role = n; return c }

func (c Call) two() Call { c.Instance = "two"; return c }

func kill(begin, end float64, credential string) Change {
	return Change{Span: at(begin, end), Name: "revoke", Outcome: Done, User: "u", Kills: []string{credential}}
}

func (c Change) unknown() Change { c.Outcome = Unknown; return c }

func (c Change) fleet(applied, total int, laggards ...string) Change {
	c.Fleet = &Fleet{applied, &total, laggards}
	return c
}

func suspend(begin, end float64) Change {
	return Change{Span: at(begin, end), Name: "suspend", Outcome: Done, User: "u", Suspends: []string{"k"}}
}

func resume(begin, end float64) Change {
	return Change{Span: at(begin, end), Name: "resume", Outcome: Done, User: "u", Revives: []string{"k"}}
}

func disable(begin, end float64) Change {
	return Change{Span: at(begin, end), Name: disabling, Outcome: Done, User: "u", Suspends: []string{"k"}}
}

func enable(begin, end float64) Change {
	return Change{Span: at(begin, end), Name: enabling, Outcome: Done, User: "u", Revives: []string{"k"}}
}

func setRole(begin, end float64, n int) Change {
	return Change{Span: at(begin, end), Name: "roles", Outcome: Done, User: "u", Role: n}
}

func revokeAll(begin, end float64) Change {
	return Change{Span: at(begin, end), Name: "all", Outcome: Done, AllTokens: true}
}

func sweep(begin, end float64) Sweep { return Sweep{at(begin, end)} }

// example is a history and whether a validator has to find something in it.
type example struct {
	name   string
	broken bool
	h      *History
}

func check(t *testing.T, validate func(*History) []Violation, examples []example) {
	t.Helper()
	for _, e := range examples {
		t.Run(strings.ReplaceAll(e.name, " ", "_"), func(t *testing.T) {
			broken := validate(e.h)
			if (len(broken) > 0) != e.broken {
				t.Errorf("found %d violations, want some: %v; %v", len(broken), e.broken, broken)
			}
		})
	}
}

func TestBoundedAcceptanceIsSeenToBeBroken(t *testing.T) {
	check(t, func(h *History) []Violation { _, broken := BoundedAcceptance(h); return broken }, []example{
		{"within B", false, history().with(kill(4, 5, "t"), accepted(7.9, 8, "t"))},
		{"beyond B", true, history().with(kill(4, 5, "t"), accepted(8.1, 8.2, "t"))},
		{"a key beyond B", true, history().with(kill(4, 5, "k"), accepted(8.1, 8.2, "k"))},
		{"another credential", false, history().with(kill(4, 5, "t"), accepted(8.1, 8.2, "k"))},
		{"of unknown outcome", false, history().with(kill(4, 5, "t").unknown(), accepted(8.1, 8.2, "t"))},
		{"an elite call is another promise's", false, history().with(kill(4, 5, "t"), accepted(8.1, 8.2, "t").elite())},
		{"everybody's tokens", true, history().with(revokeAll(4, 5), accepted(8.1, 8.2, "t"))},
		{"everybody's tokens but not keys", false, history().with(revokeAll(4, 5), accepted(8.1, 8.2, "k"))},
		{"everybody's before this was issued", false, history().with(revokeAll(0.5, 0.6), accepted(8.1, 8.2, "t"))},
		{"suspended", true, history().with(suspend(4, 5), accepted(8.1, 8.2, "k"))},
		{"suspended and resumed", false, history().with(suspend(4, 5), resume(6, 7), accepted(8.1, 8.2, "k"))},
		{"resumed while it was called", false, history().with(suspend(4, 5), resume(8.15, 9), accepted(8.1, 8.2, "k"))},
		{"resumed too late to explain it", true, history().with(suspend(4, 5), resume(8.3, 9), accepted(8.1, 8.2, "k"))},
		{"suspended again", true, history().with(suspend(2, 3), resume(3.1, 3.2), suspend(4, 5), accepted(8.1, 8.2, "k"))},
		{"a role within B", false, history().with(setRole(4, 5, 7), accepted(7.9, 8, "t"))},
		{"a role beyond B", true, history().with(setRole(4, 5, 7), accepted(8.1, 8.2, "t").role(6))},
		{"a newer role", false, history().with(setRole(4, 5, 7), setRole(8, 9, 8), accepted(8.1, 8.2, "t").role(8))},
	})
}

func TestBoundedAcceptanceTellsTheLargestLateness(t *testing.T) {
	h := history().with(kill(4, 5, "t"), accepted(5.5, 6, "t"), accepted(6.5, 7, "t"), kill(6, 6.1, "k"), accepted(6.2, 7, "k"))
	if late, _ := BoundedAcceptance(h); late.Largest != 1500*time.Millisecond {
		t.Errorf("largest lateness %v, want 1.5s", late)
	}
}

func TestEliteLinearizableIsSeenToBeBroken(t *testing.T) {
	check(t, func(h *History) []Violation { _, broken := EliteLinearizable(h); return broken }, []example{
		{"while it is revoked", false, history().with(kill(4, 5, "t"), accepted(4.5, 6, "t").elite(), refused(5.5, 6, "t").elite())},
		{"after it was revoked", true, history().with(kill(4, 5, "t"), accepted(5.1, 6, "t").elite())},
		{"back after a refusal, before the revocation returned", true,
			history().with(kill(4, 9, "t"), refused(5, 6, "t").elite(), accepted(7, 8, "t").elite())},
		{"refused without a reason", true, history().with(refused(5, 6, "t").elite())},
		{"of unknown outcome, later", false, history().with(kill(4, 5, "t").unknown(), accepted(6, 7, "t").elite(), refused(8, 9, "t").elite())},
		{"of unknown outcome, and back", true, history().with(kill(4, 5, "t").unknown(), refused(6, 7, "t").elite(), accepted(8, 9, "t").elite())},
		{"suspended and resumed", false, history().with(suspend(2, 3), refused(3.5, 4, "k").elite(), resume(5, 6), accepted(7, 8, "k").elite())},
		{"refused after it was resumed", true, history().with(suspend(2, 3), resume(5, 6), refused(7, 8, "k").elite())},
		{"an old role", true, history().with(setRole(2, 3, 7), accepted(4, 5, "t").role(6).elite())},
		{"a role of the future", true, history().with(setRole(6, 7, 7), accepted(4, 5, "t").role(7).elite())},
		{"one role with the token and an older with the key", true,
			history().with(setRole(2, 9, 7), accepted(3, 4, "t").role(7).elite(), accepted(5, 6, "k").elite())},
		{"everybody's", true, history().with(revokeAll(2, 3), accepted(4, 5, "t").elite())},
		{"nobody could be asked", false, history().with(kill(2, 3, "t"), unavailable(4, 5, "t").elite())},
		{"ordinary calls are another promise's", false, history().with(kill(2, 3, "t"), accepted(4, 5, "t"))},
	})
}

func TestNothingLostIsSeenToBeBroken(t *testing.T) {
	check(t, NothingLost, []example{
		{"effective in the end", false, history().with(kill(2, 3, "t"), sweep(10, 12), refused(11, 11.1, "t"))},
		{"lost in the end", true, history().with(kill(2, 3, "t"), sweep(10, 12), accepted(11, 11.1, "t"))},
		{"lost in the end on an elite route", true, history().with(kill(2, 3, "t"), sweep(10, 12), accepted(11, 11.1, "t").elite())},
		{"a lost role", true, history().with(setRole(2, 3, 5), sweep(10, 12), accepted(11, 11.1, "t"))},
		{"of unknown outcome, everywhere alike", false, history().with(kill(2, 3, "t").unknown(), sweep(10, 12), accepted(11, 11.1, "t"), accepted(11, 11.1, "t").two())},
		{"of unknown outcome, seen by one service only", true, history().with(kill(2, 3, "t").unknown(), sweep(10, 12), accepted(11, 11.1, "t"), refused(11, 11.1, "t").two())},
		{"not decided in the end", true, history().with(sweep(10, 12), unavailable(11, 11.1, "t"))},
		{"come back at once", true, history().with(kill(2, 3, "t").unknown(), refused(4, 5, "t"), accepted(5.1, 5.2, "t"))},
		{"elsewhere within B", false, history().with(kill(2, 3, "t").unknown(), refused(4, 5, "t"), accepted(5.1, 5.2, "t").two())},
		{"come back elsewhere", true, history().with(kill(2, 3, "t").unknown(), refused(4, 5, "t"), accepted(8.1, 8.2, "t").two())},
		{"back because the user is enabled again", false, history().with(kill(2, 3, "t"), disable(2.5, 2.6), refused(3, 3.1, "t"), enable(3.5, 3.6), accepted(4, 4.1, "t"))},
		{"back though the user was enabled long ago", true, history().with(disable(1.1, 1.2), enable(1.3, 1.4), kill(2, 3, "t"), refused(5, 5.1, "t"), accepted(5.5, 5.6, "t"))},
		{"back though nobody was disabled yet", true, history().with(kill(2, 3, "t"), refused(3, 3.1, "t"), disable(3.5, 3.6), enable(3.7, 3.8), accepted(4, 4.1, "t"))},
		{"come back on an elite route", true, history().with(kill(2, 3, "t").unknown(), refused(4, 5, "t"), accepted(5.1, 5.2, "t").two().elite())},
	})
}

func TestNotReadyUntilProvenIsSeenToBeBroken(t *testing.T) {
	again := Start{at(6, 6), "one"}
	apart := Fault{Span: at(5.9, 9), Name: "apart", Down: []string{"one"}, Apart: []string{"one"}, Healed: 8 * time.Second}
	check(t, NotReadyUntilProven, []example{
		{"ended before the start", true, history().with(kill(4, 5, "t"), again, accepted(6.1, 6.2, "t"))},
		{"ended after the start", false, history().with(again, kill(6.5, 7, "t"), accepted(7.1, 7.2, "t"))},
		{"by another service", false, history().with(kill(4, 5, "t"), again, accepted(6.1, 6.2, "t").two())},
		{"a role of before the start", true, history().with(setRole(4, 5, 3), again, accepted(6.1, 6.2, "t"))},
		{"without the bus", true, history().with(again, apart, accepted(7, 7.1, "t"))},
		{"with the bus", false, history().with(again, apart, accepted(8.5, 8.6, "t"))},
	})
}

func TestNoCollateralIsSeenToBeBroken(t *testing.T) {
	fault := Fault{Span: at(10, 16), Name: "a fault"}
	spared := Fault{Span: at(10, 16), Name: "a loss", Spared: true}
	restart := Fault{Span: at(10, 12), Name: "a restart", Down: []string{"one"}}
	leap := Fault{Span: at(10, 10), Name: "a leap", Spared: true, Leapt: []string{"one"}}
	short := history()
	short.Issues[0].Short = true
	early, newKey := Fault{Span: at(0.5, 9), Name: "a fault"}, Change{Span: at(0.2, 0.3), Name: emergency, Outcome: Done, AllTokens: true}
	check(t, func(h *History) []Violation { _, broken := NoCollateral(h); return broken }, []example{
		{"out of the blue", true, history().with(unavailable(5, 5.1, "t"))},
		{"called revoked", true, history().with(fault, refused(12, 12.1, "t"))},
		{"revoked", false, history().with(kill(4, 5, "t"), refused(5, 5.1, "t"))},
		{"perhaps revoked", false, history().with(kill(4, 5, "t").unknown(), refused(5, 5.1, "t"))},
		{"not yet issued", false, history().with(unavailable(0.8, 1.1, "t"))},
		{"too early in a fault", true, history().with(fault, unavailable(10.5, 10.6, "t"))},
		{"late in a fault", false, history().with(fault, unavailable(11.5, 11.6, "t"))},
		{"within a second of its end", false, history().with(fault, unavailable(16.9, 17, "t"))},
		{"more than a second after its end", true, history().with(fault, unavailable(17.1, 17.2, "t"))},
		{"under a loss that is spared", true, history().with(spared, unavailable(12, 12.1, "t"))},
		{"under a loss that meets another fault", false, history().with(spared, Fault{Span: at(9, 11), Name: "another"}, unavailable(12, 12.1, "t"))},
		{"a key that it never had, under a loss", false, history().with(spared, unavailable(12, 12.1, "k"))},
		{"a key that it had, under a loss", true, history().with(spared, accepted(3, 3.1, "k"), unavailable(12, 12.1, "k"))},
		{"a key that it had before its restart", false, history().with(spared, accepted(3, 3.1, "k"), Start{at(10.5, 10.5), "one"}, unavailable(12, 12.1, "k"))},
		{"signed with the key of an emergency that it could not hear of", false, history().with(newKey, early, unavailable(1.2, 1.3, "t"))},
		{"the same called invalid", true, history().with(newKey, early, refused(1.2, 1.3, "t"))},
		{"the same with nothing in its way", true, history().with(newKey, unavailable(1.2, 1.3, "t"))},
		{"the same after it was accepted", true, history().with(newKey, early, accepted(1.1, 1.2, "t"), unavailable(1.3, 1.4, "t"))},
		{"signed with the key of an emergency that it must know", true, history().with(newKey, Fault{Span: at(3.2, 9)}, unavailable(3.4, 3.5, "t"))},
		{"just after its clock leapt", false, history().with(leap, unavailable(10.5, 10.6, "t"))},
		{"just after another's clock leapt", true, history().with(leap, unavailable(10.5, 10.6, "t").two())},
		{"a while after its clock leapt", true, history().with(leap, unavailable(10.8, 10.9, "t"))},
		{"cut off just after its clock leapt", false, history().with(leap, Fault{Span: at(10.1, 13)}, unavailable(10.9, 11, "t"))},
		{"cut off a while after its clock leapt", true, history().with(leap, Fault{Span: at(10.8, 13)}, unavailable(10.85, 10.95, "t"))},
		{"called expired just after its clock leapt", true, history().with(leap, refused(10.5, 10.6, "t"))},
		{"a key whose resolution a leap has aged", false, history().with(leap, accepted(3, 3.1, "k"), Fault{Span: at(11, 16)}, unavailable(11.1, 11.2, "k"))},
		{"a key that was resolved again after it", true, history().with(leap, accepted(18.1, 18.2, "k"), Fault{Span: at(19, 22)}, unavailable(19.1, 19.2, "k"))},
		{"a token of a life that may be over", false, short.with(refused(5, 5.1, "t"))},
		{"a service that starts", false, history().with(restart, unavailable(10.5, 10.6, "t"))},
		{"another than the one that starts", true, history().with(restart, unavailable(10.5, 10.6, "t").two())},
		{"between faults that follow each other closely", false, history().with(fault, Fault{Span: at(16.5, 19)}, unavailable(18, 18.1, "t"))},
		{"a resumed key when everybody knows", true, history().with(suspend(2, 3), resume(4, 5), accepted(6, 6.1, "k"), refused(9.5, 9.6, "k"))},
		{"a resumed key too early", false, history().with(suspend(2, 3), resume(4, 5), refused(7, 7.1, "k"))},
	})
}

func TestTrueReceiptsAreSeenToBeBroken(t *testing.T) {
	check(t, func(h *History) []Violation { _, broken := TrueReceipts(h); return broken }, []example{
		{"applied everywhere", false, history().with(kill(4, 5, "t").fleet(2, 2), refused(5.1, 5.2, "t"))},
		{"accepted by one that has applied", true, history().with(kill(4, 5, "t").fleet(2, 2), accepted(5.1, 5.2, "t"))},
		{"accepted by a laggard", false, history().with(kill(4, 5, "t").fleet(1, 2, "one"), accepted(5.1, 5.2, "t"))},
		{"accepted by another than the laggard", true, history().with(kill(4, 5, "t").fleet(1, 2, "two"), accepted(5.1, 5.2, "t"))},
		{"before the receipt", false, history().with(kill(4, 5, "t").fleet(2, 2), accepted(4.9, 5.2, "t"))},
		{"without a receipt", false, history().with(kill(4, 5, "t"), accepted(5.1, 5.2, "t"))},
		{"a sum that is wrong", true, history().with(kill(4, 5, "t").fleet(1, 2))},
		{"suspended", true, history().with(suspend(4, 5).fleet(2, 2), accepted(5.1, 5.2, "k"))},
		{"suspended and resumed", false, history().with(suspend(4, 5).fleet(2, 2), resume(5, 6), accepted(5.1, 5.2, "k"))},
		{"an old role", true, history().with(setRole(4, 5, 3).fleet(2, 2), accepted(5.1, 5.2, "t"))},
	})
}

func TestOneGuaranteeIsSeenToBeBroken(t *testing.T) {
	whole := []any{setRole(1.1, 1.2, 1), derivedIssue}
	for _, credential := range []string{"t", "k", "d"} {
		whole = append(whole, accepted(2, 3, credential).role(1), accepted(2, 3, credential).role(1).elite(),
			kill(4, 5, credential), refused(6, 7, credential), refused(6, 7, credential).elite())
	}
	examples := []example{{"all in the traffic", false, history().with(whole...)}}
	for i, e := range whole {
		if c, isCall := e.(Call); isCall {
			without := slices.Delete(slices.Clone(whole), i, i+1)
			if c.Refused() || c.Elite || c.Credential == "k" {
				examples = append(examples, example{"without " + c.Credential, true, history().with(without...)})
			}
		}
	}
	check(t, OneGuarantee, examples)
}
