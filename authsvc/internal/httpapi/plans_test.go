package httpapi

import (
	"fmt"
	"strings"
	"testing"

	"github.com/tocsin-auth/tocsin/authsvc/internal/auth"
	"github.com/tocsin-auth/tocsin/authsvc/internal/quota"
	"github.com/tocsin-auth/tocsin/pkg/events"
)

func limitsOf(resource string, limit int64, windows ...string) (limits []map[string]any) {
	for _, w := range windows {
		limits = append(limits, map[string]any{"resource": resource, "limit": limit, "window": w})
	}
	return limits
}

func plans(all ...map[string]any) map[string]any { return map[string]any{"plans": all} }

func plan(name string, limits ...map[string]any) map[string]any {
	return map[string]any{"name": name, "limits": append([]map[string]any{}, limits...)}
}

func TestPlansAreReplacedWhole(t *testing.T) {
	s := newSystem(t)
	s.person("alice")
	var got auth.Plans
	s.must(200, "GET", "/v1/admin/plans", s.admin, nil, &got)
	if len(got.Plans) != 0 || got.Unlimited["free"] != 2 {
		t.Errorf("at first: %+v", got)
	}
	got = auth.Plans{}
	s.must(200, "PUT", "/v1/admin/plans", s.admin, plans(plan("pro", limitsOf("jobs", 5, "1h", "36h", "90s")...), plan("free", limitsOf("jobs", 1, "744h")...)), &got)
	want := "{Plans:[{Name:free Limits:[{Resource:jobs Limit:1 Window:744h}]} {Name:pro Limits:[{Resource:jobs Limit:5 Window:1h} {Resource:jobs Limit:5 Window:36h} {Resource:jobs Limit:5 Window:1m30s}]}] Unlimited:map[]}"
	if fmt.Sprintf("%+v", got) != want {
		t.Errorf("got  %+v\nwant %s", got, want)
	}
	s.must(200, "PUT", "/v1/admin/plans", s.admin, map[string]any{"plans": got.Plans[1:]}, &got) // what was got may be put
	if len(got.Plans) != 1 || got.Unlimited["free"] != 2 {
		t.Errorf("without free: %+v", got)
	}
	w := s.must(200, "GET", "/v1/admin/audit?limit=1", s.admin, nil, nil)
	if !strings.Contains(w.Body.String(), `"action":"plans.set"`) || !strings.Contains(w.Body.String(), `"target":"plans"`) {
		t.Errorf("audit: %s", w.Body)
	}
}

func TestEveryFieldOfAPlanIsCheckedAndNamed(t *testing.T) {
	s := newSystem(t)
	var many []map[string]any
	for i := range 65 {
		many = append(many, limitsOf(fmt.Sprintf("r%d", i), 1, "1h")...)
	}
	for _, c := range []struct {
		body  map[string]any
		field string
	}{
		{plans(plan("Pro!")), "plans[0].name"},
		{plans(plan("pro"), plan("pro")), "plans[1].name"},
		{plans(plan("pro", many...)), "plans[0].limits"},
		{plans(plan("pro", limitsOf("a.b", 1, "1h")...)), "plans[0].limits[0].resource"},
		{plans(plan("pro", limitsOf("jobs", -1, "1h")...)), "plans[0].limits[0].limit"},
		{plans(plan("pro", limitsOf("jobs", 1_000_000_000_001, "1h")...)), "plans[0].limits[0].limit"},
		{plans(plan("pro", limitsOf("jobs", 1, "soon")...)), "plans[0].limits[0].window"},
		{plans(plan("pro", limitsOf("jobs", 1, "500ms")...)), "plans[0].limits[0].window"},
		{plans(plan("pro", limitsOf("jobs", 1, "1h", "1500ms")...)), "plans[0].limits[1].window"},
		{plans(plan("pro", limitsOf("jobs", 1, "745h")...)), "plans[0].limits[0].window"},
		{plans(plan("pro", limitsOf("jobs", 1, "1h", "60m")...)), "plans[0].limits[1].window"},
		{plans(plan("pro", limitsOf("jobs", 1, "1s", "1m", "1h", "24h", "48h")...)), "plans[0].limits[4].resource"},
		{plans(map[string]any{"name": "pro"}), "plans[0].limits"},
		{plans(map[string]any{"name": "pro", "limits": nil}), "plans[0].limits"},
		{plans(plan("pro", map[string]any{"resource": "jobs", "limit": 1, "window": "1h", "per": "user"})), "plans[0].limits[0].per"},
	} {
		w := s.do("PUT", "/v1/admin/plans", s.admin, c.body)
		if p := problem(t, w); w.Code != 400 || len(p.Errors) == 0 || p.Errors[0].Field != c.field {
			t.Errorf("%v: %d %s, want %s", c.body, w.Code, w.Body, c.field)
		}
	}
}

func TestUsageIsSeenByItsUserAndByAdminsWhoResetIt(t *testing.T) {
	s := newSystem(t)
	alice, bob := s.person("alice"), s.person("bob")
	s.must(200, "PUT", "/v1/admin/plans", s.admin, plans(plan("free", append(limitsOf("jobs", 10, "744h", "24h"), limitsOf("mails", 3, "24h")...)...)), nil)
	ledger, start := quota.NewLedger(s.db), events.NewNonce()
	var term, seq int64
	tell := func(spent, want int64) {
		seq++
		answers, err := ledger.Settle(t.Context(), []quota.Question{{Service: "cars", QuotaRequest: events.QuotaRequest{StartNonce: start, Seq: uint64(seq),
			Entries: []events.QuotaEntry{{Subject: alice.User.ID, Resource: "jobs", Term: term, Spent: spent, Want: want}}}}})
		fatal(t, err)
		term = answers[0].Grants[0].Term
	}
	tell(0, 4)
	tell(4, 2)

	var own, seen auth.UsageList
	admins := "/v1/admin/users/" + alice.User.ID + "/usage"
	for _, authorization := range []string{alice.bearer(), alice.key()} {
		s.must(200, "GET", "/v1/me/usage", authorization, nil, &own)
		if own.Plan != "free" || len(own.Items) != 3 || own.Items[0].Used != 4 || own.Items[0].Held != 2 || own.Items[0].Window != "744h" ||
			own.Items[0].Services != nil || own.Items[2].Used != 0 || own.Items[2].ResetsAt.IsZero() {
			t.Errorf("own: %+v", own)
		}
	}
	s.must(200, "GET", admins, s.admin, nil, &seen)
	if seen.Items[1].Services["cars"] != 4 || seen.Items[1].Limit != 10 {
		t.Errorf("for admins: %+v", seen)
	}
	for _, method := range []string{"GET", "DELETE"} {
		if got := s.do(method, admins, bob.bearer(), nil); got.Code != 403 {
			t.Errorf("%s by another: %d", method, got.Code)
		}
	}

	s.must(204, "DELETE", admins+"?resource=mails", s.admin, nil, nil)
	s.must(200, "GET", "/v1/me/usage", alice.bearer(), nil, &own)
	if own.Items[0].Used != 4 {
		t.Errorf("another resource was reset: %+v", own)
	}
	s.must(204, "DELETE", admins+"?resource=jobs", s.admin, nil, nil)
	s.must(200, "GET", "/v1/me/usage", alice.bearer(), nil, &own)
	if own.Items[0].Used != 0 || own.Items[0].Held != 2 { // the service may spend it without asking
		t.Errorf("reset: %+v", own)
	}
	w := s.must(200, "GET", "/v1/admin/audit?limit=1", s.admin, nil, nil)
	if !strings.Contains(w.Body.String(), `"action":"usage.reset","target":"user:`+alice.User.ID) || !strings.Contains(w.Body.String(), `"resources":["jobs"]`) {
		t.Errorf("audit: %s", w.Body)
	}
	tell(5, 0)
	s.must(200, "GET", "/v1/me/usage", alice.bearer(), nil, &own)
	if own.Items[0].Used != 1 || own.Items[0].Held != 0 {
		t.Errorf("spent since: %+v", own)
	}
	if got := s.do("DELETE", admins+"?resource=A.b", s.admin, nil); got.Code != 400 || problem(t, got).Errors[0].Field != "resource" {
		t.Errorf("a bad resource: %d %s", got.Code, got.Body)
	}
	if got := s.do("DELETE", "/v1/admin/users/0190a5c0-0000-7000-8000-00000000000f/usage", s.admin, nil); got.Code != 404 {
		t.Errorf("nobody: %d %s", got.Code, got.Body)
	}
}
