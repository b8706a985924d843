package faults

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"
)

// EliteLinearizable: there is one order of a user's changes and elite calls that agrees with when they were called and
// answered, and with every answer; and, in words that need no search: no elite call is accepted that began after a
// change that ends its credential had returned. It also returns how many users were checked.
func EliteLinearizable(h *History) (users int, broken []Violation) {
	all, roles := livesOf(h), rolesOf(h)
	for _, c := range h.Calls {
		if !c.Elite || !c.Accepted() {
			continue
		}
		l := all[c.Credential]
		old := l.dead(c.Begin, c.End)
		if old == nil {
			old = roles.missed(l, c, c.Begin)
		}
		if old != nil {
			broken = append(broken, Violation{Promise: "EliteLinearizable",
				Text:  fmt.Sprintf("an elite call was accepted that began %v after the change had returned", c.Begin-old.End),
				Calls: []Call{c}, Changes: []Change{*old}})
		}
	}
	byUser := eliteOperations(h, all)
	for user, operations := range byUser {
		switch porcupine.CheckOperationsTimeout(eliteModel, operations, searchTime) {
		case porcupine.Illegal:
			broken = append(broken, Violation{Promise: "EliteLinearizable", Text: "no order explains the elite calls of " + user,
				Calls: eliteCalls(h, all, user), Changes: changesOf(h, user)})
		case porcupine.Unknown:
			broken = append(broken, Violation{Promise: "EliteLinearizable", Text: "undecided in " + searchTime.String() + ": the elite calls of " + user})
		}
	}
	return len(byUser), broken
}

// searchTime is for one user.
const searchTime = 2 * time.Minute

// eliteStep is one operation on a user: a change, or an elite call with its credential.
type eliteStep struct {
	kill, suspend, revive uint64 // sets of the user's credentials
	role                  int
	read                  uint64 // a set of one; 0: a change
	derived               bool   // it may show no role
}

type eliteAnswer struct {
	refused bool
	role    int
}

// eliteState is what authsvc's database holds of a user.
type eliteState struct {
	dead, suspended uint64
	role            int
}

var eliteModel = porcupine.Model{
	Init: func() any { return eliteState{} },
	Step: func(state, input, output any) (bool, any) {
		s, q := state.(eliteState), input.(eliteStep)
		if q.read == 0 {
			s.dead |= q.kill
			s.suspended = (s.suspended | q.suspend) &^ q.revive
			s.role = max(s.role, q.role)
			return true, s
		}
		a := output.(eliteAnswer)
		if a.refused {
			return (s.dead|s.suspended)&q.read != 0, s
		}
		return (s.dead|s.suspended)&q.read == 0 && (a.role == s.role || q.derived && a.role == 0), s
	},
}

// eliteOperations makes each user's operations: elite calls, and the changes of those who have any.
func eliteOperations(h *History, all lives) map[string][]porcupine.Operation {
	bits := bitsOf(h)
	byUser := eliteReads(h, all, bits)
	for user, changes := range eliteChanges(h, all, bits) {
		if len(byUser[user]) == 0 {
			continue
		}
		for c, s := range changes {
			end := int64(c.End)
			if c.Outcome == Unknown {
				end = math.MaxInt64 // it may still happen
			}
			byUser[user] = append(byUser[user], porcupine.Operation{Input: *s, Call: int64(c.Begin), Return: end})
		}
	}
	return byUser
}

// bitsOf numbers the credentials of each user.
func bitsOf(h *History) map[string]uint64 {
	bits, next := map[string]uint64{}, map[string]int{}
	for _, i := range h.Issues {
		bits[i.Credential] = 1 << next[i.User]
		next[i.User]++
	}
	return bits
}

// eliteReads are the elite calls that say something about the state: not those that had no answer, or were refused
// because nobody could be asked or the token's own time was over.
func eliteReads(h *History, all lives, bits map[string]uint64) map[string][]porcupine.Operation {
	byUser := map[string][]porcupine.Operation{}
	for _, c := range h.Calls {
		if c.Elite && (c.Accepted() || c.Refused() && !(c.Code == "expired" && all[c.Credential].Short)) {
			user := all[c.Credential].User
			byUser[user] = append(byUser[user], porcupine.Operation{Input: eliteStep{read: bits[c.Credential], derived: all[c.Credential].Derived != ""},
				Output: eliteAnswer{c.Refused(), c.Role}, Call: int64(c.Begin), Return: int64(c.End)})
		}
	}
	return byUser
}

// eliteChanges are what each change does to each user: all of it at once.
func eliteChanges(h *History, all lives, bits map[string]uint64) map[string]map[*Change]*eliteStep {
	steps := map[string]map[*Change]*eliteStep{}
	step := func(user string, c *Change) *eliteStep {
		if steps[user] == nil {
			steps[user] = map[*Change]*eliteStep{}
		}
		if steps[user][c] == nil {
			steps[user][c] = &eliteStep{role: c.Role}
		}
		return steps[user][c]
	}
	for name, l := range all {
		for _, c := range l.kills {
			step(l.User, c).kill |= bits[name]
		}
		for _, c := range l.suspends {
			step(l.User, c).suspend |= bits[name]
		}
		for _, c := range l.revives {
			step(l.User, c).revive |= bits[name]
		}
	}
	for n := range h.Changes {
		if c := &h.Changes[n]; c.Role > 0 && c.Outcome != Failed {
			step(c.User, c)
		}
	}
	return steps
}

func eliteCalls(h *History, all lives, user string) []Call {
	var calls []Call
	for _, c := range h.Calls {
		if c.Elite && all[c.Credential].User == user && (c.Accepted() || c.Refused()) {
			calls = append(calls, c)
		}
	}
	slices.SortFunc(calls, func(a, b Call) int { return cmp.Compare(a.Begin, b.Begin) })
	return calls
}

func changesOf(h *History, user string) []Change {
	var changes []Change
	for _, c := range h.Changes {
		if c.User == user || c.AllTokens || c.AllKeys {
			changes = append(changes, c)
		}
	}
	return changes
}
