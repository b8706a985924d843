package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/tocsin-auth/tocsin/pkg/verifier"
	"github.com/tocsin-auth/tocsin/resourcesvc/internal/exchange"
)

const (
	alice = "0198c5a0-0000-7000-8000-00000000000a"
	bob   = "0198c5a0-0000-7000-8000-00000000000b"
)

// fakeGuard lets everybody in, as whom the header User says.
type fakeGuard struct{ unready error }

func (fakeGuard) Require(...verifier.RouteOption) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			p := &verifier.Principal{Subject: r.Header.Get("User"), Roles: []string{"user"}, Method: "bearer", Mode: "live"}
			next.ServeHTTP(w, r.WithContext(verifier.NewContext(r.Context(), p)))
		})
	}
}

func (fakeGuard) Refuse(w http.ResponseWriter, _ *http.Request, err error) {
	writeBody(w, "application/problem+json", http.StatusUnauthorized, newProblem(http.StatusUnauthorized, string(verifier.CodeOf(err)), ""))
}

func (g fakeGuard) Ready() error        { return g.unready }
func (fakeGuard) Stats() verifier.Stats { return verifier.Stats{} }

// service is the API over a fresh database.
type service struct {
	t     *testing.T
	h     http.Handler
	store *store
	room  *showroom
}

func newService(t *testing.T, databaseURL string, g guard) service {
	t.Helper()
	return newServiceWith(t, databaseURL, g, nil)
}

func newServiceWith(t *testing.T, databaseURL string, g guard, issuer *exchange.Client) service {
	t.Helper()
	db, err := openStore(t.Context(), databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.close(); err != nil {
			t.Error(err)
		}
	})
	if err := db.useKeys(t.Context(), newKeys(t)); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	a := &api{guard: g, store: db, showroom: newShowroom(db, log), rules: jobRules{30 * time.Second, 3}, issuer: issuer, metrics: prometheus.NewRegistry(), log: log, stopping: t.Context().Done()}
	var tasks sync.WaitGroup
	tasks.Go(func() { a.showroom.run(t.Context()) })
	t.Cleanup(tasks.Wait)
	return service{t, a.routes(), db, a.showroom}
}

// answer is what a request got; Code is there for problems.
type answer struct {
	status int
	header http.Header
	body   string
	Code   string       `json:"code"`
	Errors []fieldError `json:"errors"`
}

func (s service) do(user, method, path, body string) answer {
	s.t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set("User", user)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	return s.send(r)
}

func (s service) send(r *http.Request) answer {
	s.t.Helper()
	rec := httptest.NewRecorder()
	s.h.ServeHTTP(rec, r)
	got := answer{status: rec.Code, header: rec.Header(), body: strings.TrimSpace(rec.Body.String())}
	if rec.Header().Get("Content-Type") == "application/problem+json" {
		if err := json.Unmarshal(rec.Body.Bytes(), &got); err != nil {
			s.t.Errorf("problem is not JSON: %v", err)
		}
	}
	return got
}

// create makes a car and returns it.
func (s service) create(user, body string) car {
	s.t.Helper()
	got := s.do(user, "POST", "/v1/cars", body)
	if got.status != http.StatusCreated {
		s.t.Fatalf("create a car: %d %s", got.status, got.body)
	}
	return decode[car](s.t, got.body)
}

func decode[T any](t *testing.T, body string) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(body), &v); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	return v
}

const golf = `{"make":"VW","model":"Golf","year":1999,"price":1500.50}`

func TestCarIsListedBoughtOnceAndDeleted(t *testing.T) {
	eachEngine(t, func(t *testing.T, s service) {
		made := s.create(alice, golf)
		if made.Owner != alice || made.Make != "VW" || *made.Year != 1999 || made.Price != 150050 || made.Sold {
			t.Errorf("made %+v", made)
		}
		read := decode[car](t, s.do(bob, "GET", "/v1/cars/"+made.ID, "").body)
		if diff := cmp.Diff(made, read); diff != "" {
			t.Errorf("read differs from made:\n%s", diff)
		}
		bought := s.do(bob, "POST", "/v1/cars/"+made.ID+"/purchase", "")
		if c := decode[car](t, bought.body); bought.status != 200 || c.Owner != bob || !c.Sold {
			t.Errorf("bought: %d %s", bought.status, bought.body)
		}
		if again := s.do(alice, "POST", "/v1/cars/"+made.ID+"/purchase", ""); again.status != 409 || again.Code != "sold" {
			t.Errorf("bought again: %d %s", again.status, again.body)
		}
		if gone := s.do(alice, "DELETE", "/v1/cars/"+made.ID, ""); gone.status != 204 || gone.body != "" {
			t.Errorf("deleted: %d %s", gone.status, gone.body)
		}
		for _, call := range [][2]string{{"GET", ""}, {"DELETE", ""}, {"POST", "/purchase"}} {
			if got := s.do(alice, call[0], "/v1/cars/"+made.ID+call[1], ""); got.status != 404 || got.Code != "not_found" {
				t.Errorf("%v of a deleted car: %d %s", call, got.status, got.body)
			}
		}
	})
}

func TestOfManyBuyersOneWins(t *testing.T) {
	eachEngine(t, func(t *testing.T, s service) {
		id := s.create(alice, golf).ID
		statuses := make(chan int, 16)
		var wg sync.WaitGroup
		for range cap(statuses) {
			wg.Go(func() { statuses <- s.do(bob, "POST", "/v1/cars/"+id+"/purchase", "").status })
		}
		wg.Wait()
		close(statuses)
		won := map[int]int{}
		for status := range statuses {
			won[status]++
		}
		if diff := cmp.Diff(map[int]int{200: 1, 409: 15}, won); diff != "" {
			t.Error(diff)
		}
	})
}

func TestCarListPages(t *testing.T) {
	eachEngine(t, func(t *testing.T, s service) {
		var made, listed []string
		for range 5 {
			made = append(made, s.create(alice, golf).ID)
		}
		path := "/v1/cars?limit=2"
		for range 3 {
			page := decode[struct {
				Items []car  `json:"items"`
				Next  string `json:"next_cursor"`
			}](t, s.do(bob, "GET", path, "").body)
			for _, c := range page.Items {
				listed = append(listed, c.ID)
			}
			path = "/v1/cars?limit=2&cursor=" + page.Next
		}
		if diff := cmp.Diff(made, listed); diff != "" {
			t.Error(diff)
		}
	})
	s := newService(t, "sqlite:"+t.TempDir()+"/empty.db", fakeGuard{})
	if got := s.do(bob, "GET", "/v1/cars", ""); got.body != `{"items":[]}` {
		t.Errorf("no cars: %s", got.body)
	}
}

func TestSameJobIDIsTheSameJobForOneUserOnly(t *testing.T) {
	eachEngine(t, func(t *testing.T, s service) {
		first := s.do(alice, "POST", "/v1/ai/jobs", `{"job_id":"j/1 ü","payload":{"prompt":"hi","n":[1,2.50]}}`)
		want := `{"job_id":"j/1 ü","status":"queued","payload":{"prompt":"hi","n":[1,2.50]}}`
		if first.status != 202 || first.body != want {
			t.Errorf("first: %d %s", first.status, first.body)
		}
		if again := s.do(alice, "POST", "/v1/ai/jobs", `{"job_id":"j/1 ü","payload":"other"}`); again.status != 202 || again.body != want {
			t.Errorf("again: %d %s", again.status, again.body)
		}
		path := "/v1/ai/jobs/j%2F1%20%C3%BC"
		if got := s.do(alice, "GET", path, ""); got.status != 200 || got.body != want {
			t.Errorf("read: %d %s", got.status, got.body)
		}
		if got := s.do(bob, "GET", path, ""); got.status != 404 || got.Code != "not_found" {
			t.Errorf("read by another tenant: %d %s", got.status, got.body)
		}
		other := s.do(bob, "POST", "/v1/ai/jobs", `{"job_id":"j/1 ü","payload":"bob's"}`)
		if other.status != 202 || !strings.Contains(other.body, "bob's") {
			t.Errorf("the same id of another tenant: %d %s", other.status, other.body)
		}
		if got := s.do(alice, "GET", path, ""); got.body != want {
			t.Errorf("changed by another tenant: %s", got.body)
		}
	})
}

func TestBadInputIsRefusedByFieldAndChangesNothing(t *testing.T) {
	s := newService(t, "sqlite:"+t.TempDir()+"/bad.db", fakeGuard{})
	deep := strings.Repeat(`{"a":`, 40) + "1" + strings.Repeat("}", 40)
	for _, tc := range []struct{ name, method, path, body, field string }{
		{"not JSON", "POST", "/v1/cars", `{"make"`, "body"},
		{"an array", "POST", "/v1/cars", `[]`, "body"},
		{"null", "POST", "/v1/cars", `null`, "body"},
		{"two objects", "POST", "/v1/cars", golf + golf, "body"},
		{"unknown field", "POST", "/v1/cars", `{"make":"a","model":"b","price":1,"owner":"x"}`, "body"},
		{"other case", "POST", "/v1/cars", `{"Make":"a","model":"b","price":1}`, "body"},
		{"twice", "POST", "/v1/cars", `{"make":"a","make":"b","model":"b","price":1}`, "body"},
		{"twice inside", "POST", "/v1/ai/jobs", `{"job_id":"a","payload":{"x":1,"x":2}}`, "body"},
		{"too deep", "POST", "/v1/ai/jobs", `{"job_id":"a","payload":` + deep + `}`, "body"},
		{"not UTF-8", "POST", "/v1/cars", "{\"make\":\"\xff\"}", "body"},
		{"no make", "POST", "/v1/cars", `{"model":"b","price":1}`, "make"},
		{"null make", "POST", "/v1/cars", `{"make":null,"model":"b","price":1}`, "make"},
		{"make of the wrong type", "POST", "/v1/cars", `{"make":7,"model":"b","price":1}`, "make"},
		{"NUL", "POST", "/v1/cars", `{"make":"a\u0000","model":"b","price":1}`, "make"},
		{"CRLF", "POST", "/v1/cars", `{"make":"a\r\n","model":"b","price":1}`, "make"},
		{"long", "POST", "/v1/cars", `{"make":"` + strings.Repeat("ü", 257) + `","model":"b","price":1}`, "make"},
		{"no price", "POST", "/v1/cars", `{"make":"a","model":"b"}`, "price"},
		{"price as text", "POST", "/v1/cars", `{"make":"a","model":"b","price":"1"}`, "price"},
		{"negative price", "POST", "/v1/cars", `{"make":"a","model":"b","price":-1}`, "price"},
		{"tiny negative price", "POST", "/v1/cars", `{"make":"a","model":"b","price":-0.01}`, "price"},
		{"too exact price", "POST", "/v1/cars", `{"make":"a","model":"b","price":1.005}`, "price"},
		{"huge price", "POST", "/v1/cars", `{"make":"a","model":"b","price":1e300}`, "price"},
		{"year with a fraction", "POST", "/v1/cars", `{"make":"a","model":"b","year":1999.5,"price":1}`, "year"},
		{"year too early", "POST", "/v1/cars", `{"make":"a","model":"b","year":1,"price":1}`, "year"},
		{"no job id", "POST", "/v1/ai/jobs", `{"payload":1}`, "job_id"},
		{"no payload", "POST", "/v1/ai/jobs", `{"job_id":"a"}`, "payload"},
		{"id that is none", "GET", "/v1/cars/*", "", "id"},
		{"id in another spelling", "GET", "/v1/cars/" + strings.ToUpper(alice), "", "id"},
		{"NUL in a path", "GET", "/v1/ai/jobs/%00", "", "job_id"},
		{"limit 0", "GET", "/v1/cars?limit=0", "", "limit"},
		{"limit 201", "GET", "/v1/cars?limit=201", "", "limit"},
		{"bad cursor", "GET", "/v1/cars?cursor=x", "", "cursor"},
		{"unknown parameter", "GET", "/v1/cars?sort=price", "", "query"},
		{"parameter twice", "GET", "/v1/cars?limit=1&limit=2", "", "limit"},
		{"wait that is no duration", "GET", "/v1/ai/jobs/a?wait=10", "", "wait"},
		{"negative wait", "GET", "/v1/ai/jobs/a?wait=-1s", "", "wait"},
		{"long wait", "GET", "/v1/ai/jobs/a?wait=51s", "", "wait"},
		{"malformed query", "GET", "/v1/cars?%zz", "", "query"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := s.do(alice, tc.method, tc.path, tc.body)
			if got.status != 400 || got.Code != "invalid_request" || len(got.Errors) != 1 || got.Errors[0].Field != tc.field {
				t.Errorf("%d %s, want 400 invalid_request about %s", got.status, got.body, tc.field)
			}
		})
	}
	if got := s.do(alice, "GET", "/v1/cars", ""); got.body != `{"items":[]}` {
		t.Errorf("a refused request left %s", got.body)
	}
}

func TestRefusalsOfTheRouterAndOfBodiesAreProblems(t *testing.T) {
	s := newService(t, "sqlite:"+t.TempDir()+"/router.db", fakeGuard{})
	plain := httptest.NewRequest("POST", "/v1/cars", strings.NewReader(golf))
	plain.Header.Set("Content-Type", "text/plain")
	large := bytes.Repeat([]byte(" "), maxBody+1)
	if got := s.do(alice, "PUT", "/v1/cars?x=y", ""); got.status != 405 || got.header.Values("Allow")[0] != "GET" || len(got.header.Values("Allow")) != 2 {
		t.Errorf("%d, Allow %v", got.status, got.header.Values("Allow"))
	}
	for _, tc := range []struct {
		got    answer
		status int
		code   string
	}{
		{s.do(alice, "GET", "/v2", ""), 404, "not_found"},
		{s.do(alice, "PUT", "/v1/cars", golf), 405, "method_not_allowed"},
		{s.do(alice, "POST", "/v1/cars", string(large)), 413, "too_large"},
		{s.send(plain), 415, "unsupported_media_type"},
		{s.send(httptest.NewRequest("POST", "/v1/ai/jobs", nil)), 415, "unsupported_media_type"},
	} {
		if tc.got.status != tc.status || tc.got.Code != tc.code {
			t.Errorf("%d %s, want %d %s", tc.got.status, tc.got.body, tc.status, tc.code)
		}
	}
}

func TestDatabaseFailureIsUnavailable(t *testing.T) {
	s := newService(t, "sqlite:"+t.TempDir()+"/gone.db", fakeGuard{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	got := s.send(httptest.NewRequest("GET", "/v1/cars", nil).WithContext(ctx))
	if got.status != 503 || got.Code != "unavailable" || strings.Contains(got.body, "cancel") {
		t.Errorf("%d %s", got.status, got.body)
	}
}

func TestReadyOnlyWithAFreshVerifierAndADatabase(t *testing.T) {
	unready := newService(t, "sqlite:"+t.TempDir()+"/u.db", fakeGuard{unready: errors.New("no proof yet")})
	if got := unready.do("", "GET", "/readyz", ""); got.status != 503 || got.Code != "unavailable" {
		t.Errorf("unready: %d %s", got.status, got.body)
	}
	if got := unready.do("", "GET", "/healthz", ""); got.status != 200 {
		t.Errorf("alive: %d %s", got.status, got.body)
	}
	ready := newService(t, "sqlite:"+t.TempDir()+"/r.db", fakeGuard{})
	if got := ready.do("", "GET", "/readyz", ""); got.status != 200 {
		t.Errorf("ready: %d %s", got.status, got.body)
	}
}

func TestMetricsCountByRouteAndNeverByPath(t *testing.T) {
	s := newService(t, "sqlite:"+t.TempDir()+"/m.db", fakeGuard{})
	s.do(alice, "GET", "/v1/cars/"+alice, "")
	s.do(alice, "BREW", "/v1/cars", "")
	got := s.do("", "GET", "/metrics", "").body
	if !strings.Contains(got, `route="/v1/cars/{id}"`) || strings.Contains(got, alice) || strings.Contains(got, "BREW") {
		t.Errorf("metrics:\n%s", got)
	}
}

func TestWhoamiShowsTheCaller(t *testing.T) {
	s := newService(t, "sqlite:"+t.TempDir()+"/w.db", fakeGuard{})
	for _, path := range []string{"/v1/whoami", "/v1/whoami/elite", "/v1/whoami/quota", "/v1/whoami/strict"} {
		got := s.do(alice, "GET", path, "")
		want := `{"subject":"` + alice + `","roles":["user"],"method":"bearer","mode":"live"}`
		if got.status != 200 || got.body != want {
			t.Errorf("%s: %d %s", path, got.status, got.body)
		}
	}
}

func FuzzDecodeObject(f *testing.F) {
	for _, seed := range []string{golf, `{}`, `{"make":{"a":[1,{"b":null}]}}`, `{"price":1e9}`, `{"price":0.10}`, "\xff"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var in newCar
		err := decodeObject(body, &in)
		var p *problem
		if err != nil && !errors.As(err, &p) {
			t.Fatalf("not a problem: %v", err)
		}
		if err != nil || in.Price == nil {
			return
		}
		out, err := json.Marshal(in.Price)
		var again price
		if err != nil || json.Unmarshal(out, &again) != nil || again != *in.Price {
			t.Errorf("price %s was not read back as itself: %d, %d", out, again, *in.Price)
		}
	})
}
