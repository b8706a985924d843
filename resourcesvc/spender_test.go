package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/tocsin-auth/tocsin/resourcesvc/internal/exchange"
)

// grantTaker is an issuer that takes spent grants.
type grantTaker struct {
	status int
	spent  []string
}

func (s service) spender() (*spender, *grantTaker) {
	taker := &grantTaker{status: http.StatusNoContent}
	auth := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body struct {
			JobGrants []string `json:"job_grants"`
		}
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil || r.URL.Path != "/v1/job-grants/spent" || r.Header.Get("Authorization") != "Api-Key own" {
			s.t.Errorf("asked for %s: %v", r.URL.Path, err)
		}
		if taker.status == http.StatusNoContent {
			taker.spent = append(taker.spent, body.JobGrants...)
		}
		w.WriteHeader(taker.status)
	}))
	s.t.Cleanup(auth.Close)
	issuer := &exchange.Client{Issuer: auth.URL, Key: "own", HTTP: auth.Client()}
	return newSpender(s.store, issuer, prometheus.NewRegistry(), slog.New(slog.DiscardHandler)), taker
}

func (s service) spend(p *spender) error { return p.spendAll(s.t.Context()) }

func TestAGrantIsSpentAndForgottenWhenItsJobIsOver(t *testing.T) {
	eachEngine(t, func(t *testing.T, s service) {
		p, taker := s.spender()
		for job, end := range map[string]string{"done": "", "failed": "failed", "refused": "refused", "back": "returned"} {
			grant := "grant of " + job
			if _, err := s.store.addJob(t.Context(), alice, newJob{ID: job, Payload: []byte(`1`)}, &grant); err != nil {
				t.Fatal(err)
			}
			c := s.claimed("/v1/ai/tenants/" + alice + "/jobs/" + job)
			if end == "" {
				s.want(200, "", s.do(alice, "PUT", "/v1/ai/jobs/done/result", `{"result":1}`))
			} else {
				s.want(204, "", s.do(bob, "POST", "/v1/ai/tenants/"+alice+"/jobs/"+job+"/end", fmt.Sprintf(`{"claim":%d,"outcome":%q,"reason":"x"}`, c.Claim, end)))
			}
		}
		for range 2 { // the second time there is nothing to do
			if err := s.spend(p); err != nil {
				t.Fatal(err)
			}
		}
		slices.Sort(taker.spent)
		if want := []string{"grant of done", "grant of failed", "grant of refused"}; !slices.Equal(taker.spent, want) {
			t.Errorf("spent %q, want %q", taker.spent, want)
		}
		if n := s.count(`SELECT count(*) FROM ai_jobs WHERE sealed_grant IS NOT NULL`); n != 1 {
			t.Errorf("%d grants are left, want that of the open job", n)
		}
	})
}

func TestGrantsWaitForTheIssuerUntilTheyAreDead(t *testing.T) {
	eachEngine(t, func(t *testing.T, s service) {
		p, taker := s.spender()
		over := func(id string) {
			grant := "grant of " + id
			_, err := s.store.addJob(t.Context(), alice, newJob{ID: id, Payload: []byte(`1`)}, &grant)
			if err == nil {
				_, err = s.store.finish(t.Context(), alice, id, []byte(`1`))
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		over("first")
		s.pass(20 * time.Hour)
		over("second")
		for _, taker.status = range []int{503, 404, 429, 500} { // 404: of a release that knows none
			if err := s.spend(p); !errors.Is(err, exchange.ErrAway) {
				t.Errorf("%d: %v", taker.status, err)
			}
		}
		if late := testutil.ToFloat64(p.late); late < 20*3600 {
			t.Errorf("late by %v s", late)
		}
		taker.status = 403
		if err := s.spend(p); !errors.Is(err, exchange.ErrClient) {
			t.Error(err)
		}
		s.pass(10 * time.Hour)
		taker.status = http.StatusNoContent
		if err := s.spend(p); err != nil || !slices.Equal(taker.spent, []string{"grant of second"}) {
			t.Errorf("spent %q, %v; the first is dead", taker.spent, err)
		}
		s.wantNoGrant()
		if late := testutil.ToFloat64(p.late); late != 0 {
			t.Errorf("late by %v s", late)
		}
	})
}

func TestManyGrantsAreSpentInOneSweep(t *testing.T) {
	eachEngine(t, func(t *testing.T, s service) {
		p, taker := s.spender()
		for i := range 3*spendAtOnce + 1 {
			id := fmt.Sprint(i)
			if _, err := s.store.addJob(t.Context(), alice, newJob{ID: id, Payload: []byte(`1`)}, &id); err != nil {
				t.Fatal(err)
			}
		}
		s.exec(`UPDATE ai_jobs SET status = 'done', ended_at = due_at`)
		if err := s.spend(p); err != nil {
			t.Fatal(err)
		}
		slices.Sort(taker.spent)
		if n := len(slices.Compact(taker.spent)); n != 3*spendAtOnce+1 {
			t.Errorf("%d were spent", n)
		}
		s.wantNoGrant()
	})
}

func TestAReplicaWithoutTheKeyForgetsNothingAndADamagedGrantHoldsNothingUp(t *testing.T) {
	eachEngine(t, func(t *testing.T, s service) {
		p, taker := s.spender()
		s.granted()
		s.exec(`INSERT INTO ai_jobs (user_id, job_id, status, payload, created_at, sealed_grant, grant_key, ended_at)
			SELECT user_id, 'damaged', 'done', payload, created_at, sealed_grant, grant_key, created_at FROM ai_jobs`)
		s.exec(`UPDATE ai_jobs SET status = 'done', ended_at = due_at WHERE job_id = 'j'`)
		right := s.store.keys
		s.store.keys = newKeys(t)
		if err := s.spend(p); !errors.Is(err, errGrantsKey) || s.count(`SELECT count(*) FROM ai_jobs WHERE sealed_grant IS NOT NULL`) != 2 {
			t.Errorf("another key: %v", err)
		}
		s.store.keys = right
		if err := s.spend(p); err != nil || !slices.Equal(taker.spent, []string{"grant of alice"}) {
			t.Errorf("spent %q, %v", taker.spent, err)
		}
		s.wantNoGrant()
	})
}
