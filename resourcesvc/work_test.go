package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/pkg/verifier"
	"github.com/tocsin-auth/tocsin/pkg/verifier/verifiertest"
	"github.com/tocsin-auth/tocsin/resourcesvc/internal/exchange"
	"github.com/tocsin-auth/tocsin/resourcesvc/internal/queue"
)

const ofAlice = "/v1/ai/tenants/" + alice + "/jobs/j"

// granted puts a job of alice's that has a grant into the store.
func (s service) granted() {
	s.t.Helper()
	grant := "grant of alice"
	if _, err := s.store.addJob(s.t.Context(), alice, newJob{ID: "j", Payload: []byte(`1`)}, &grant); err != nil {
		s.t.Fatal(err)
	}
}

// pass lets the store's time pass.
func (s service) pass(d time.Duration) {
	now := s.store.now
	s.store.now = func() time.Time { return now().Add(d) }
}

func (s service) want(status int, code string, got answer) answer {
	s.t.Helper()
	if got.status != status || got.Code != code {
		s.t.Fatalf("%d %s, want %d %s", got.status, got.body, status, code)
	}
	return got
}

func (s service) status(user string) string {
	s.t.Helper()
	return decode[job](s.t, s.want(200, "", s.do(user, "GET", "/v1/ai/jobs/j", "")).body).Status
}

func (s service) claimed(path string) claim {
	s.t.Helper()
	return decode[claim](s.t, s.want(200, "", s.do(bob, "POST", path+"/claim", "")).body)
}

func TestAClaimIsOneWorkersUntilItsLeaseEnds(t *testing.T) {
	eachEngine(t, func(t *testing.T, s service) {
		s.granted()
		first := s.claimed(ofAlice)
		if first.JobID != "j" || first.Grant != "grant of alice" || first.LeaseMS != 30_000 || s.status(alice) != "running" {
			t.Errorf("%+v", first)
		}
		s.want(409, "job_taken", s.do(bob, "POST", ofAlice+"/claim", ""))
		s.pass(20 * time.Second)
		s.want(204, "", s.do(bob, "POST", ofAlice+"/renew", fmt.Sprintf(`{"claim":%d}`, first.Claim)))
		s.pass(20 * time.Second)
		s.want(409, "job_taken", s.do(bob, "POST", ofAlice+"/claim", ""))
		s.pass(20 * time.Second)
		second := s.claimed(ofAlice)
		for _, call := range []string{"renew", "end"} {
			body := fmt.Sprintf(`{"claim":%d,"outcome":"failed","reason":"x"}`, first.Claim)
			if call == "renew" {
				body = fmt.Sprintf(`{"claim":%d}`, first.Claim)
			}
			s.want(409, "claim_lost", s.do(bob, "POST", ofAlice+"/"+call, body))
		}
		s.want(204, "", s.do(bob, "POST", ofAlice+"/renew", fmt.Sprintf(`{"claim":%d}`, second.Claim)))
	})
}

func TestAJobHasOneResultAndThenNoGrant(t *testing.T) {
	eachEngine(t, func(t *testing.T, s service) {
		s.granted()
		c := s.claimed(ofAlice)
		s.want(404, "not_found", s.do(bob, "PUT", "/v1/ai/jobs/j/result", `{"result":"bob's"}`))
		want := `{"job_id":"j","status":"done","payload":1,"result":{"n":2}}`
		for _, result := range []string{`{"n":2}`, `"another"`} {
			if got := s.want(200, "", s.do(alice, "PUT", "/v1/ai/jobs/j/result", `{"result":`+result+`}`)); got.body != want {
				t.Errorf("got %s, want %s", got.body, want)
			}
		}
		s.want(409, "claim_lost", s.do(bob, "POST", ofAlice+"/end", fmt.Sprintf(`{"claim":%d,"outcome":"failed","reason":"x"}`, c.Claim)))
		s.want(409, "job_over", s.do(bob, "POST", ofAlice+"/claim", ""))
		s.wantNoGrant()
	})
}

// wantNoGrant wants none left when those of jobs that are over were spent.
func (s service) wantNoGrant() {
	s.t.Helper()
	p, _ := s.spender()
	if err := s.spend(p); err != nil {
		s.t.Error(err)
	}
	var n int
	if err := s.store.db.QueryRowContext(s.t.Context(), `SELECT count(*) FROM ai_jobs WHERE job_grant IS NOT NULL OR sealed_grant IS NOT NULL OR grant_key IS NOT NULL`).Scan(&n); err != nil || n > 0 {
		s.t.Errorf("%d grants are left of jobs that are over, %v", n, err)
	}
}

func TestAJobFailsAfterTheTriesThatCount(t *testing.T) {
	eachEngine(t, func(t *testing.T, s service) {
		s.granted()
		for i, outcome := range []string{"retry", "returned", "returned", "returned", "retry", "retry"} {
			if i > 0 {
				s.want(409, "job_taken", s.do(bob, "POST", ofAlice+"/claim", "")) // it rests
				s.pass(maxPause)
			}
			c := s.claimed(ofAlice)
			s.want(204, "", s.do(bob, "POST", ofAlice+"/end", fmt.Sprintf(`{"claim":%d,"outcome":%q,"reason":"it broke"}`, c.Claim, outcome)))
		}
		if got := s.do(alice, "GET", "/v1/ai/jobs/j", "").body; got != `{"job_id":"j","status":"failed","payload":1,"reason":"it broke"}` {
			t.Error(got)
		}
		s.want(409, "job_over", s.do(alice, "PUT", "/v1/ai/jobs/j/result", `{"result":1}`))
		s.wantNoGrant()
		list := s.do(bob, "GET", "/v1/ai/failures", "")
		if !strings.Contains(list.body, alice) || !strings.Contains(list.body, "it broke") || !strings.Contains(list.body, `"tries":3`) {
			t.Errorf("the operator sees %s", list.body)
		}
		if got := s.do(bob, "GET", "/v1/ai/failures?status=refused", ""); got.body != `{"items":[]}` {
			t.Errorf("refused: %s", got.body)
		}
	})
}

func TestAJobWhoseWorkersVanishFails(t *testing.T) {
	eachEngine(t, func(t *testing.T, s service) {
		s.granted()
		for range 3 {
			s.claimed(ofAlice)
			s.pass(31 * time.Second)
		}
		s.want(409, "job_over", s.do(bob, "POST", ofAlice+"/claim", ""))
		if got := s.status(alice); got != "failed" {
			t.Error(got)
		}
	})
}

func TestAUsersOwnWorkerGetsThatUsersJobsTheOldestFirst(t *testing.T) {
	eachEngine(t, func(t *testing.T, s service) {
		for _, id := range []string{"first", "second"} {
			s.want(202, "", s.do(alice, "POST", "/v1/ai/jobs", `{"job_id":"`+id+`","payload":1}`))
		}
		s.want(204, "", s.do(bob, "POST", "/v1/ai/claims", ""))
		for _, id := range []string{"first", "second"} {
			if c := decode[claim](t, s.do(alice, "POST", "/v1/ai/claims?wait=5s", "").body); c.JobID != id || c.Claim != 1 || c.Grant != "" {
				t.Errorf("%+v, want %s", c, id)
			}
		}
		s.want(204, "", s.do(alice, "POST", "/v1/ai/claims?wait=200ms", ""))
		s.want(409, "claim_lost", s.do(bob, "POST", ofAlice+"/renew", `{"claim":1}`)) // there is no job j
		s.want(204, "", s.do(alice, "POST", "/v1/ai/jobs/first/renew", `{"claim":1}`))
		s.want(204, "", s.do(alice, "POST", "/v1/ai/jobs/first/end", `{"claim":1,"outcome":"returned","reason":"stop"}`))
	})
}

func TestAJobWithoutAGrantIsNoneOfAServicesWorkers(t *testing.T) {
	eachEngine(t, func(t *testing.T, s service) {
		s.want(202, "", s.do(alice, "POST", "/v1/ai/jobs", `{"job_id":"j","payload":1}`))
		s.want(409, "job_taken", s.do(bob, "POST", ofAlice+"/claim", ""))
		if due, err := s.store.unoffered(t.Context(), 10); err != nil || len(due) > 0 {
			t.Errorf("it would be put on the queue: %v, %v", due, err)
		}
	})
}

func TestAJobIsOfferedWhenItIsDueAndNotKnownToBeThere(t *testing.T) {
	eachEngine(t, func(t *testing.T, s service) {
		offered := func(want int) {
			t.Helper()
			due, err := s.store.unoffered(t.Context(), 10)
			if err == nil && len(due) != want {
				t.Fatalf("%d to be offered, want %d", len(due), want)
			}
			if err = s.store.offered(t.Context(), s.store.now(), due); err != nil {
				t.Fatal(err)
			}
		}
		s.granted()
		offered(1)
		offered(0)
		c := s.claimed(ofAlice)
		offered(0)
		s.pass(31 * time.Second) // the worker is dead
		offered(1)
		c = s.claimed(ofAlice)
		s.want(204, "", s.do(bob, "POST", ofAlice+"/end", fmt.Sprintf(`{"claim":%d,"outcome":"retry","reason":"x"}`, c.Claim)))
		offered(0)
		s.pass(maxPause)
		offered(1)
		if waiting, err := s.store.waiting(t.Context(), queue.Message{}, 10); err != nil || len(waiting) != 1 {
			t.Errorf("after a loss of the stream: %v, %v", waiting, err)
		}
		s.want(200, "", s.do(alice, "PUT", "/v1/ai/jobs/j/result", `{"result":1}`))
		if waiting, err := s.store.waiting(t.Context(), queue.Message{}, 10); err != nil || len(waiting) != 0 {
			t.Errorf("it is over: %v, %v", waiting, err)
		}
	})
}

func TestWhatWorkersSendIsChecked(t *testing.T) {
	s := newService(t, "sqlite:"+t.TempDir()+"/w.db", fakeGuard{})
	for _, tc := range []struct{ method, path, body, field string }{
		{"POST", "/v1/ai/tenants/alice/jobs/j/claim", "", "user_id"},
		{"POST", "/v1/ai/tenants/" + strings.ToUpper(alice) + "/jobs/j/claim", "", "user_id"},
		{"POST", "/v1/ai/tenants/" + alice + "/jobs/%00/claim", "", "job_id"},
		{"POST", "/v1/ai/tenants/" + alice + "/jobs/%2e%2E/claim", "", "job_id"},
		{"GET", "/v1/ai/jobs/%2e", "", "job_id"},
		{"POST", "/v1/ai/jobs", `{"job_id":".","payload":1}`, "job_id"},
		{"POST", "/v1/ai/jobs", `{"job_id":"..","payload":1}`, "job_id"},
		{"POST", ofAlice + "/end", `{"claim":1,"outcome":"done","reason":"x"}`, "outcome"},
		{"POST", ofAlice + "/end", `{"claim":1,"outcome":"failed"}`, "reason"},
		{"POST", ofAlice + "/end", `{"claim":"1","outcome":"failed","reason":"x"}`, "claim"},
		{"POST", ofAlice + "/renew", `{"claim":1,"lease_ms":9}`, "body"},
		{"PUT", "/v1/ai/jobs/j/result", `{}`, "result"},
		{"POST", "/v1/ai/claims?wait=1h", "", "wait"},
		{"POST", "/v1/ai/compute", `{}`, "payload"},
		{"GET", "/v1/ai/failures?status=done", "", "status"},
	} {
		if got := s.do(bob, tc.method, tc.path, tc.body); got.status != 400 || len(got.Errors) != 1 || got.Errors[0].Field != tc.field {
			t.Errorf("%s %s %s: %d %s, want 400 about %s", tc.method, tc.path, tc.body, got.status, got.body, tc.field)
		}
	}
}

// as sends a request with a credential.
func (s service) as(c verifiertest.Caller, method, path, body string) answer {
	s.t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set("Authorization", c.Authorization())
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	return s.send(r)
}

func TestOnlyWorkersNameTenantsAndOnlyAdminsSeeFailures(t *testing.T) {
	issuer := verifiertest.New(t)
	s := newService(t, "sqlite:"+t.TempDir()+"/r.db", issuer.Verifier)
	s.granted()
	user := issuer.Token(verifier.Principal{Subject: alice, Roles: []string{"user"}})
	admin := issuer.Token(verifier.Principal{Roles: []string{"user", "admin"}})
	worker := issuer.Key(verifier.Principal{Roles: []string{"user", "worker"}})
	for _, call := range []string{"claim", "renew", "end"} {
		for _, c := range []verifiertest.Caller{user, admin} { // alice's own job, too
			s.want(403, "forbidden", s.as(c, "POST", ofAlice+"/"+call, `{}`))
		}
	}
	s.want(403, "forbidden", s.as(user, "GET", "/v1/ai/failures", ""))
	s.want(403, "forbidden", s.as(worker, "GET", "/v1/ai/failures", ""))
	s.want(200, "", s.as(admin, "GET", "/v1/ai/failures", ""))
	s.want(200, "", s.as(worker, "POST", ofAlice+"/claim", ""))
	s.want(404, "not_found", s.as(worker, "GET", "/v1/ai/jobs/j", "")) // it sees no payload
	s.want(404, "not_found", s.as(worker, "PUT", "/v1/ai/jobs/j/result", `{"result":1}`))
	issuer.Revoke(worker)
	s.want(401, "revoked", s.as(worker, "POST", ofAlice+"/claim", ""))
}

func TestAJobWithoutItsGrantIsNotAccepted(t *testing.T) {
	issuer := verifiertest.New(t)
	status, body, calls := 503, `{}`, 0
	auth := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls++
		if r.PostFormValue("job_id") != "j" || r.PostFormValue("requested_token_type") != exchange.TypeJobGrant || r.Header.Get("Authorization") != "Api-Key own" {
			t.Errorf("asked with %v", r.PostForm)
		}
		if kind := r.PostFormValue("subject_token_type"); kind != exchange.TypeAccessToken && kind != exchange.TypeAPIKey {
			t.Errorf("subject is %s", kind)
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}))
	defer auth.Close()
	s := newServiceWith(t, "sqlite:"+t.TempDir()+"/g.db", issuer.Verifier, &exchange.Client{Issuer: auth.URL, Key: "own", HTTP: auth.Client()})
	token := issuer.Token(verifier.Principal{Subject: alice, Roles: []string{"user"}})
	key := issuer.Key(verifier.Principal{Subject: alice, Roles: []string{"user"}})
	const one = `{"job_id":"j","payload":1}`
	for _, tc := range []struct {
		auth   int
		answer string
		status int
		code   string
	}{
		{503, `{}`, 503, "auth_unavailable"},
		{429, `{"error":"temporarily_unavailable"}`, 503, "auth_unavailable"},
		{401, `{"error":"invalid_client"}`, 503, "unavailable"},
		{400, `{"error":"unauthorized_client"}`, 503, "unavailable"},
		{400, `{"error":"invalid_grant"}`, 401, "revoked"},
		{400, `{"error":"invalid_request"}`, 403, "forbidden"},
		{200, `{"access_token":"x","issued_token_type":"other","expires_in":9}`, 503, "auth_unavailable"},
	} {
		status, body = tc.auth, tc.answer
		s.want(tc.status, tc.code, s.as(token, "POST", "/v1/ai/jobs", one))
		s.want(404, "not_found", s.as(token, "GET", "/v1/ai/jobs/j", ""))
	}
	status, body = 200, `{"access_token":"the grant","issued_token_type":"`+exchange.TypeJobGrant+`","expires_in":9}`
	asked := calls
	for _, c := range []verifiertest.Caller{key, token} { // the same job: one grant
		if got := s.want(202, "", s.as(c, "POST", "/v1/ai/jobs", one)); strings.Contains(got.body, "grant") {
			t.Errorf("the grant is shown: %s", got.body)
		}
	}
	if calls != asked+1 {
		t.Errorf("%d grants for one job", calls-asked)
	}
	long := `{"job_id":"` + strings.Repeat("ü", 200) + `","payload":1}`
	if got := s.as(token, "POST", "/v1/ai/jobs", long); got.status != 400 || got.Errors[0].Field != "job_id" {
		t.Errorf("an id that no grant can be bound to: %d %s", got.status, got.body)
	}
}

func TestComputeShowsForWhomAndThroughWhom(t *testing.T) {
	issuer := verifiertest.New(t)
	s := newService(t, "sqlite:"+t.TempDir()+"/c.db", issuer.Verifier)
	worker := issuer.Token(verifier.Principal{Subject: alice, Roles: []string{"user"}, Actor: bob})
	first := s.want(200, "", s.as(worker, "POST", "/v1/ai/compute", `{"payload":{"a": 1}}`))
	if !strings.Contains(first.body, `"subject":"`+alice) || !strings.Contains(first.body, bob) {
		t.Error(first.body)
	}
	if again := s.as(worker, "POST", "/v1/ai/compute", `{"payload": {"a":1}}`); again.body != first.body {
		t.Errorf("the same payload: %s, %s", again.body, first.body)
	}
}
