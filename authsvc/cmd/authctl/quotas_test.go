package main

import (
	"strings"
	"testing"
)

func TestPlansAreShownAndReplaced(t *testing.T) {
	f := newFakeAuth(t)
	const plans = `{"plans":[{"name":"free","limits":[{"resource":"jobs","limit":5,"window":"1h"}]},{"name":"pro","limits":[]}],"unlimited":{"gold":3}}`
	f.answers["GET /v1/admin/plans"], f.answers["PUT /v1/admin/plans"] = plans, plans
	login(t)
	code, stdout, stderr := ctl(t, "", "plans")
	if code != 0 || !strings.Contains(stdout, "free  jobs      5      1h") || !strings.Contains(stdout, "pro   -") || !strings.Contains(stderr, "3 users have the plan gold") {
		t.Errorf("exit %d: %s%s", code, stdout, stderr)
	}
	code, shown, _ := ctl(t, "", "--json", "plans", "get")
	if code != 0 {
		t.Fatal(shown)
	}
	code, stdout, stderr = ctl(t, shown, "plans", "set", "-") // what was shown may be set
	want := `PUT /v1/admin/plans {"plans":[{"limits":[{"limit":5,"resource":"jobs","window":"1h"}],"name":"free"},{"limits":[],"name":"pro"}]}`
	if got := f.asked[len(f.asked)-1]; code != 0 || got != want || !strings.Contains(stdout, "jobs") {
		t.Errorf("exit %d, asked %s, want %s: %s%s", code, got, want, stdout, stderr)
	}
	if code, _, stderr := ctl(t, "plans: []", "plans", "set", "-"); code != 2 {
		t.Errorf("no JSON: exit %d, %s", code, stderr)
	}
}

func TestUsageIsShownAndReset(t *testing.T) {
	f := newFakeAuth(t)
	const usage = `{"plan":"free","items":[{"resource":"jobs","window":"1h","limit":5,"used":3,"held":1,"resets_at":"2027-01-02T03:04:05Z","services":{"cars":2,"ai":1}}]}`
	f.answers["GET /v1/me/usage"], f.answers["GET /v1/admin/users/"+aliceID+"/usage"] = usage, usage
	login(t)
	for _, args := range [][]string{{"usage"}, {"usage", "show"}, {"usage", aliceID}, {"usage", "show", "alice"}} {
		if code, stdout, stderr := ctl(t, "", args...); code != 0 || !strings.Contains(stdout, "ai=1,cars=2") {
			t.Errorf("%v: exit %d: %s%s", args, code, stdout, stderr)
		}
	}
	for _, c := range []struct{ args, query string }{{"", ""}, {"--resource=jobs", "?resource=jobs"}} {
		code, stdout, stderr := ctl(t, "", append([]string{"usage", "reset", "alice"}, strings.Fields(c.args)...)...)
		if got, want := f.asked[len(f.asked)-1], "DELETE /v1/admin/users/"+aliceID+"/usage"+c.query; code != 0 || got != want {
			t.Errorf("exit %d, asked %s, want %s: %s%s", code, got, want, stdout, stderr)
		}
	}
}
