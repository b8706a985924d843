package faults

import "fmt"

// OneGuarantee: tokens, derived ones, keys and roles are all in the traffic, so that what the other validators say holds for each of
// them. It looks for what a history has to hold to mean anything.
func OneGuarantee(h *History) []Violation {
	all := livesOf(h)
	seen := map[string]int{}
	for _, c := range h.Calls {
		l := all[c.Credential]
		kind := "token"
		switch {
		case l.Key:
			kind = "key"
		case l.Derived != "":
			kind = "derived token"
		}
		route := "ordinary"
		if c.Elite {
			route = "elite"
		}
		switch {
		case c.Accepted() && c.Role > 0:
			seen[route+" call that showed a changed role"]++
			fallthrough
		case c.Accepted():
			seen[route+" call accepted with a "+kind]++
		case c.Refused() && l.dead(c.Begin, c.End) != nil:
			seen[route+" call refused with an ended "+kind]++
		}
	}
	var broken []Violation
	for _, route := range []string{"ordinary", "elite"} {
		for _, what := range []string{"accepted with a token", "accepted with a key", "accepted with a derived token", "refused with an ended token", "refused with an ended key", "refused with an ended derived token", "that showed a changed role"} {
			if name := fmt.Sprintf("%s call %s", route, what); seen[name] == 0 {
				broken = append(broken, Violation{Promise: "OneGuarantee", Text: "the history has no " + name})
			}
		}
	}
	return broken
}
