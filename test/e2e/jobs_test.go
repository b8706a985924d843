package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/tocsin-auth/tocsin/test/machine"
	"github.com/tocsin-auth/tocsin/test/natstest"
	"github.com/tocsin-auth/tocsin/test/proxytest"
	"github.com/tocsin-auth/tocsin/test/system"
)

// keyFile returns a file that holds an API key.
func keyFile(t *testing.T, key string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, []byte(key+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// startWorker starts a worker that has this API key.
func startWorker(t *testing.T, a *system.Auth, r *system.Resource, key string, env ...string) *system.Process {
	t.Helper()
	w := system.Command(t, "resourcesvc", map[string]string{
		"TOCSIN_API_KEY_FILE": keyFile(t, key),
		"TOCSIN_SERVICE_URL":  r.Base,
		"TOCSIN_ISSUER":       a.Issuer,
		"TOCSIN_NATS_URL":     a.NATSURL,
		"TOCSIN_NATS_CREDS":   filepath.Join(a.DataDir, "nats", "resourcesvc.nk"),
	}, "worker")
	w.Set(env...)
	w.Start(t)
	return w
}

// doneJob is a job as its user sees it.
type doneJob struct {
	Status string          `json:"status"`
	Result json.RawMessage `json:"result"`
	Reason string          `json:"reason"`
}

// queueJob queues a job.
func queueJob(t *testing.T, r *system.Resource, authorization, id string, payload any) {
	t.Helper()
	r.Must(t, 202, "POST", "/v1/ai/jobs", authorization, map[string]any{"job_id": id, "payload": payload})
}

// awaitJob waits until a job is over.
func awaitJob(t *testing.T, r *system.Resource, authorization, id string) doneJob {
	t.Helper()
	var j doneJob
	for began := time.Now(); time.Since(began) < machine.Patience; {
		r.Must(t, 200, "GET", "/v1/ai/jobs/"+id+"?wait=10s", authorization, nil).Into(t, &j)
		if j.Status == "done" || j.Status == "failed" || j.Status == "refused" {
			return j
		}
	}
	t.Fatalf("job %s is still %s", id, j.Status)
	return j
}

// computer is a compute service that answers as the test says.
func computer(t *testing.T, answer http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		_, _ = io.Copy(io.Discard, q.Body) // else the server wouldn't notice that the client has gone
		answer(w, q)
	}))
	t.Cleanup(s.Close)
	t.Cleanup(s.CloseClientConnections)
	return "TOCSIN_COMPUTE_URL=" + s.URL
}

// stuck is one that never answers; it tells when it was asked.
func stuck(t *testing.T) (setting string, asked <-chan struct{}) {
	began := make(chan struct{}, 16)
	return computer(t, func(_ http.ResponseWriter, q *http.Request) {
		began <- struct{}{}
		<-q.Context().Done()
	}), began
}

// jobs is a system whose service has a key of its own, and a key with which workers may work for all.
type jobs struct {
	*system.Auth
	r         *system.Resource
	admin     system.User
	worker    system.User
	settings  map[string]string // of the service
	alice     system.User
	bob       system.User
	workerKey string
}

// onEachEngineWithJobs has leases that end soon, with so many tries that those whose leases a slow machine lets end don't count.
func onEachEngineWithJobs(t *testing.T, scenario func(t *testing.T, s *jobs)) {
	onEachEngineWithTries(t, "2s", "20", scenario)
}

func onEachEngineWithTries(t *testing.T, lease, tries string, scenario func(t *testing.T, s *jobs)) {
	for name, env := range engines {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // most of it is waiting for leases
			s := &jobs{Auth: system.StartAuth(t, env(t))}
			s.admin, s.worker = s.Admin(t), s.Register(t, "worker")
			s.Must(t, 200, "PUT", path("/v1/admin/users/%s/roles?wait=fleet&timeout=30s", s.worker.ID), s.admin.Auth(), map[string]any{"roles": []string{"user", "worker"}})
			s.settings = resourceDatabase(t, name)
			shop := s.Register(t, "shop")
			s.Must(t, 200, "PUT", path("/v1/admin/users/%s/roles?wait=fleet&timeout=30s", shop.ID), s.admin.Auth(), map[string]any{"roles": []string{"user", "queue"}})
			s.settings["TOCSIN_API_KEY_FILE"] = keyFile(t, shop.LiveKey)
			s.settings["TOCSIN_JOB_LEASE"], s.settings["TOCSIN_JOB_TRIES"] = lease, tries
			s.r = system.StartResource(t, s.Auth, s.settings)
			s.alice, s.bob, s.workerKey = s.Register(t, "alice"), s.Register(t, "bob"), s.worker.LiveKey
			scenario(t, s)
		})
	}
}

func (s *jobs) work(t *testing.T, env ...string) *system.Process {
	t.Helper()
	return startWorker(t, s.Auth, s.r, s.workerKey, env...)
}

func TestJobsAWorkerActsForEachJobsUser(t *testing.T) {
	onEachEngineWithJobs(t, func(t *testing.T, s *jobs) {
		s.work(t)
		for id, of := range map[string]struct{ user, authorization string }{
			"a token's":    {s.alice.ID, s.alice.Auth()},
			"an API key's": {s.bob.ID, system.Key(s.bob.LiveKey)},
		} {
			queueJob(t, s.r, of.authorization, id, map[string]any{"prompt": "hello"})
			got := awaitJob(t, s.r, of.authorization, url.PathEscape(id))
			var result struct{ Subject, SHA256 string }
			if err := json.Unmarshal(got.Result, &result); err != nil || got.Status != "done" || result.Subject != of.user {
				t.Errorf("%s: %+v, %v", id, got, err)
			}
			if !strings.Contains(string(got.Result), `"act"`) || !strings.Contains(string(got.Result), s.worker.ID) {
				t.Errorf("%s: the result doesn't name the worker: %s", id, got.Result)
			}
		}
		machine.Await(t, "a log that names subject and actor", func() bool {
			log := s.r.Output()
			return strings.Contains(log, "actor="+s.worker.ID) && strings.Contains(log, "subject="+s.alice.ID)
		})
		for _, log := range []string{s.r.Output()} {
			for _, secret := range []string{"eyJ", s.alice.Token, s.bob.LiveKey, s.workerKey} {
				if strings.Contains(log, secret) {
					t.Errorf("a secret is in the log: %.10s", secret)
				}
			}
		}
	})
}

func TestJobsOfADisabledUserAreRefused(t *testing.T) {
	onEachEngineWithJobs(t, func(t *testing.T, s *jobs) {
		queueJob(t, s.r, s.alice.Auth(), "j", 1)
		queueJob(t, s.r, s.bob.Auth(), "j", 1)
		queueJob(t, s.r, system.Key(s.bob.LiveKey), "of a key", 1)
		queueJob(t, s.r, s.alice.Auth(), "of a logout", 1)
		disable := path("/v1/admin/users/%s/status", s.bob.ID)
		s.Must(t, 200, "PUT", disable, s.admin.Auth(), map[string]any{"disabled": true})
		s.work(t)
		if got := awaitJob(t, s.r, s.alice.Auth(), "j"); got.Status != "done" {
			t.Errorf("alice's: %+v", got)
		}
		for _, id := range []string{"j", "of a key"} {
			s.awaitFailure(t, "refused", s.bob.ID, id)
		}
		s.Must(t, 200, "PUT", disable+"?wait=fleet&timeout=30s", s.admin.Auth(), map[string]any{"disabled": false})
		for _, id := range []string{"j", "of%20a%20key"} {
			if got := awaitJob(t, s.r, system.Key(s.bob.LiveKey), id); got.Status != "refused" || got.Reason == "" || got.Result != nil {
				t.Errorf("bob's %s: %+v", id, got)
			}
		}
	})
}

// awaitFailure waits until an operator finds a job among those that ended without a result.
func (s *jobs) awaitFailure(t *testing.T, status, user, id string) (reason string) {
	t.Helper()
	for began := time.Now(); time.Since(began) < machine.Patience; time.Sleep(20 * time.Millisecond) { // real processes
		var list struct {
			Items []struct {
				User   string `json:"user_id"`
				Job    string `json:"job_id"`
				Reason string `json:"reason"`
			} `json:"items"`
		}
		s.r.Must(t, 200, "GET", "/v1/ai/failures?status="+status, s.admin.Auth(), nil).Into(t, &list)
		for _, f := range list.Items {
			if f.User == user && f.Job == id {
				return f.Reason
			}
		}
	}
	t.Fatalf("no job %s of %s is %s", id, user, status)
	return ""
}

func TestJobsARevokedGrantRefusesTheJob(t *testing.T) {
	onEachEngineWithJobs(t, func(t *testing.T, s *jobs) {
		queueJob(t, s.r, s.alice.Auth(), "j", 1)
		s.Must(t, 204, "POST", "/v1/logout", s.alice.Auth(), nil)
		s.work(t)
		s.Login(t, &s.alice)
		if got := awaitJob(t, s.r, s.alice.Auth(), "j"); got.Status != "refused" || got.Result != nil {
			t.Errorf("%+v", got)
		}
	})
}

func TestJobsAKilledWorkersJobIsAnothers(t *testing.T) {
	onEachEngineWithJobs(t, func(t *testing.T, s *jobs) {
		never, asked := stuck(t)
		queueJob(t, s.r, s.alice.Auth(), "j", 1)
		w := s.work(t, never)
		<-asked
		w.Kill()
		s.work(t)
		if got := awaitJob(t, s.r, s.alice.Auth(), "j"); got.Status != "done" {
			t.Errorf("%+v", got)
		}
	})
}

func TestJobsAStoppedWorkerFinishesOrGivesBack(t *testing.T) {
	onEachEngineWithJobs(t, func(t *testing.T, s *jobs) {
		never, asked := stuck(t)
		queueJob(t, s.r, s.alice.Auth(), "j", 1)
		w := s.work(t, never)
		<-asked
		if code := w.Stop(t); code != 0 {
			t.Errorf("exit %d", code)
		}
		var j doneJob
		if s.r.Must(t, 200, "GET", "/v1/ai/jobs/j", s.alice.Auth(), nil).Into(t, &j); j.Status != "queued" {
			t.Errorf("after the stop: %+v", j)
		}
		s.work(t)
		if got := awaitJob(t, s.r, s.alice.Auth(), "j"); got.Status != "done" {
			t.Errorf("%+v", got)
		}
	})
}

func TestJobsPoisonIsDeadLettered(t *testing.T) {
	onEachEngineWithTries(t, "10m", "2", func(t *testing.T, s *jobs) {
		broken := computer(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })
		s.work(t, broken)
		queueJob(t, s.r, s.alice.Auth(), "poison", 1)
		if got := awaitJob(t, s.r, s.alice.Auth(), "poison"); got.Status != "failed" || !strings.Contains(got.Reason, "500") {
			t.Errorf("%+v", got)
		}
		s.awaitFailure(t, "failed", s.alice.ID, "poison")
	})
}

func TestJobsThatKillTheirWorkersAreDeadLettered(t *testing.T) {
	onEachEngineWithTries(t, "2s", "2", func(t *testing.T, s *jobs) {
		never, asked := stuck(t)
		queueJob(t, s.r, s.alice.Auth(), "killer", 1)
		for range 2 {
			w := s.work(t, never)
			<-asked
			w.Kill()
		}
		s.work(t)
		if got := awaitJob(t, s.r, s.alice.Auth(), "killer"); got.Status != "failed" {
			t.Errorf("%+v", got)
		}
	})
}

func TestJobsAcceptedBeforeAKillAreDone(t *testing.T) {
	onEachEngineWithJobs(t, func(t *testing.T, s *jobs) {
		accepted := make(chan string, 1000)
		go func() { // until the service is killed, between the commit of a job and its offer or elsewhere
			defer close(accepted)
			for i := range cap(accepted) {
				id := fmt.Sprintf("job-%d", i)
				got, err := s.r.Try(t.Context(), "POST", "/v1/ai/jobs", s.alice.Auth(), map[string]any{"job_id": id, "payload": i})
				switch {
				case err != nil:
					return
				case got.Status == 202:
					accepted <- id
				case got.Status != 503: // nothing was decided, as on a busy machine
					t.Errorf("%s: %v", id, got)
					return
				}
			}
		}()
		ids := []string{<-accepted}
		for range 10 {
			<-accepted
		}
		s.r.Kill()
		for id := range accepted {
			ids = append(ids, id)
		}
		s.r.Start(t)
		s.r.WaitReady(t, s.r.Base+"/readyz")
		s.work(t)
		for _, id := range ids {
			if got := awaitJob(t, s.r, s.alice.Auth(), id); got.Status != "done" {
				t.Errorf("%s: %+v", id, got)
			}
		}
	})
}

func TestJobsSurviveARestartAndTheLossOfTheQueue(t *testing.T) {
	onEachEngineWithJobs(t, func(t *testing.T, s *jobs) {
		queueJob(t, s.r, s.alice.Auth(), "restart", 1)
		w := s.work(t)
		awaitJob(t, s.r, s.alice.Auth(), "restart")
		w.Stop(t)
		queueJob(t, s.r, s.alice.Auth(), "loss", 1)
		s.Kill() // with the embedded server
		if err := os.RemoveAll(filepath.Join(s.DataDir, "nats", "jetstream", "SVC_RESOURCESVC")); err != nil {
			t.Fatal(err)
		}
		s.Restart(t)
		s.work(t)
		s.r.WaitReady(t, s.r.Base+"/readyz")
		if got := awaitJob(t, s.r, s.alice.Auth(), "loss"); got.Status != "done" {
			t.Errorf("%+v", got)
		}
	})
}

func TestJobsAUsersOwnWorkerDoesThatUsersJobsAndNoOthers(t *testing.T) {
	onEachEngineWithJobs(t, func(t *testing.T, s *jobs) {
		for range 2 {
			queueJob(t, s.r, s.alice.Auth(), "same", "alice's")
			queueJob(t, s.r, s.bob.Auth(), "same", "bob's")
		}
		w := startWorker(t, s.Auth, s.r, s.alice.LiveKey, "TOCSIN_NATS_CREDS=")
		got := awaitJob(t, s.r, s.alice.Auth(), "same")
		if got.Status != "done" || !strings.Contains(string(got.Result), s.alice.ID) || strings.Contains(string(got.Result), `"act"`) {
			t.Errorf("alice's: %+v", got)
		}
		var other doneJob
		s.r.Must(t, 200, "GET", "/v1/ai/jobs/same", s.bob.Auth(), nil).Into(t, &other)
		if other.Status != "queued" || other.Result != nil {
			t.Errorf("bob's: %+v", other)
		}
		if code := w.Stop(t); code != 0 {
			t.Errorf("the worker ended with %d", code)
		}
		s.work(t) // finds alice's over, and does bob's
		if got := awaitJob(t, s.r, s.bob.Auth(), "same"); got.Status != "done" || !strings.Contains(string(got.Result), s.bob.ID) {
			t.Errorf("bob's: %+v", got)
		}
	})
}

func TestJobsAMessageMovesNoTenant(t *testing.T) {
	onEachEngineWithJobs(t, func(t *testing.T, s *jobs) {
		nc := connectAs(t, s.Auth, "resourcesvc")
		queueJob(t, s.r, s.bob.Auth(), "bobs", "bob's")
		queueJob(t, s.r, s.alice.Auth(), "same", "alice's")
		queueJob(t, s.r, s.bob.Auth(), "same", "bob's")
		for i, forged := range []string{
			`{"user_id":"` + s.alice.ID + `","job_id":"bobs"}`,
			`{"user_id":"` + s.worker.ID + `","job_id":"same"}`,
			`{"user_id":"../../../cars","job_id":"x"}`,
			`{"user_id":"` + s.alice.ID + `","job_id":"same","grant":"x","tenant":"` + s.bob.ID + `"}`,
			`{"user_id":"` + s.bob.ID + `"}`, `[]`, ``,
		} {
			if _, err := nc.Request(fmt.Sprintf("jobs.%s.forged%d", s.alice.ID, i), []byte(forged), machine.Patience); err != nil {
				t.Fatal(err)
			}
		}
		w := s.work(t)
		for _, of := range []struct {
			system.User
			id string
		}{{s.bob, "bobs"}, {s.alice, "same"}, {s.bob, "same"}} {
			got := awaitJob(t, s.r, of.Auth(), of.id)
			if got.Status != "done" || !strings.Contains(string(got.Result), `"subject":"`+of.ID) {
				t.Errorf("%s of %s: %+v", of.id, of.Name, got)
			}
		}
		if got := s.r.Do(t, "GET", "/v1/ai/jobs/bobs", s.alice.Auth(), nil); got.Status != 404 {
			t.Errorf("alice has bob's job: %v", got)
		}
		if got := s.r.Do(t, "GET", "/v1/ai/jobs/same", s.worker.Auth(), nil); got.Status != 404 {
			t.Errorf("the worker has a job: %v", got)
		}
		if w.Ended() {
			t.Error("the worker ended")
		}
	})
}

// connectAs connects as a service does.
func connectAs(t *testing.T, a *system.Auth, service string) *nats.Conn {
	t.Helper()
	seed, err := nats.NkeyOptionFromSeed(filepath.Join(a.DataDir, "nats", service+".nk"))
	if err != nil {
		t.Fatal(err)
	}
	nc := natstest.Dial(t, a.NATSURL, seed, nats.CustomInboxPrefix("_INBOX_"+service))
	t.Cleanup(nc.Close)
	return nc
}

func TestJobsOfAUserDisabledMeanwhileKeepNoResult(t *testing.T) {
	onEachEngineWithJobs(t, func(t *testing.T, s *jobs) {
		asked, goOn := make(chan struct{}, 16), make(chan struct{})
		slow := computer(t, func(w http.ResponseWriter, q *http.Request) {
			asked <- struct{}{}
			select {
			case <-goOn:
			case <-q.Context().Done():
			}
			_, _ = io.WriteString(w, `"too late"`)
		})
		s.work(t, slow)
		queueJob(t, s.r, s.alice.Auth(), "j", 1)
		<-asked
		status := path("/v1/admin/users/%s/status?wait=fleet&timeout=30s", s.alice.ID)
		s.Must(t, 200, "PUT", status, s.admin.Auth(), map[string]any{"disabled": true})
		close(goOn)
		s.awaitFailure(t, "refused", s.alice.ID, "j")
		s.Must(t, 200, "PUT", status, s.admin.Auth(), map[string]any{"disabled": false})
		if got := awaitJob(t, s.r, system.Key(s.alice.LiveKey), "j"); got.Status != "refused" || got.Result != nil {
			t.Errorf("%+v", got)
		}
	})
}

func TestJobsAFrozenWorkersJobIsAnothersAndHasOneResult(t *testing.T) {
	onEachEngineWithJobs(t, func(t *testing.T, s *jobs) {
		asked, goOn := make(chan struct{}, 16), make(chan struct{})
		slow := computer(t, func(w http.ResponseWriter, _ *http.Request) {
			asked <- struct{}{}
			<-goOn
			_, _ = io.WriteString(w, `"of the frozen one"`)
		})
		queueJob(t, s.r, s.alice.Auth(), "j", 1)
		frozen := s.work(t, slow)
		<-asked
		frozen.Freeze(t)
		s.work(t)
		got := awaitJob(t, s.r, s.alice.Auth(), "j")
		close(goOn)
		frozen.Thaw()
		frozen.Stop(t)
		if again := awaitJob(t, s.r, s.alice.Auth(), "j"); got.Status != "done" || string(again.Result) != string(got.Result) || strings.Contains(string(got.Result), "frozen") {
			t.Errorf("%+v, then %+v", got, again)
		}
	})
}

func TestJobsADelegatedCredentialQueuesNone(t *testing.T) {
	onEachEngineWithJobs(t, func(t *testing.T, s *jobs) {
		derived := make(chan string, 1)
		tells := computer(t, func(w http.ResponseWriter, q *http.Request) {
			derived <- q.Header.Get("Authorization")
			_, _ = io.WriteString(w, `1`)
		})
		s.work(t, tells)
		queueJob(t, s.r, s.alice.Auth(), "j", 1)
		authorization := <-derived
		awaitJob(t, s.r, s.alice.Auth(), "j")
		got := s.r.Do(t, "POST", "/v1/ai/jobs", authorization, map[string]any{"job_id": "chain", "payload": 1})
		if got.Status != 403 {
			t.Errorf("%v", got)
		}
		if got := s.Do(t, "GET", "/v1/me", authorization, nil); got.Status/100 == 2 {
			t.Errorf("authsvc took it: %v", got)
		}
	})
}

// TestJobsAnOwnWorkerInPython: a user's own worker of the standard library only.
func TestJobsAnOwnWorkerInPython(t *testing.T) {
	python := proxytest.Installed(t, "python3")
	root, err := system.Root()
	if err != nil {
		t.Fatal(err)
	}
	a := system.StartAuth(t, nil)
	r := system.StartResource(t, a, nil)
	alice, bob := a.Register(t, "alice"), a.Register(t, "bob")
	worker := func(key string) (string, error) {
		cmd := exec.CommandContext(t.Context(), python, "-B", filepath.Join(root, "resourcesvc", "examples", "worker.py"),
			"--url", r.Base, "--key-file", keyFile(t, key), "--jobs", "1")
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	queueJob(t, r, bob.Auth(), "a/b c", "bob's")
	queueJob(t, r, alice.Auth(), "a/b c", "draw a bell")
	if out, err := worker(alice.LiveKey); err != nil || out != "" {
		t.Fatal(out, err)
	}
	if got := awaitJob(t, r, alice.Auth(), url.PathEscape("a/b c")); got.Status != "done" || string(got.Result) != `{"words":3}` {
		t.Errorf("%+v", got)
	}
	var other doneJob
	if r.Must(t, 200, "GET", "/v1/ai/jobs/a%2Fb%20c", bob.Auth(), nil).Into(t, &other); other.Status != "queued" {
		t.Errorf("bob's: %+v", other)
	}
	if out, err := worker(alice.TestKey); err == nil || !strings.Contains(out, "refused: 401 wrong_mode") {
		t.Error(out, err)
	}
}

// A grant that was copied while its job was done is of no use when the job is over, also when authsvc was away then and the service was
// killed: then a while later.
func TestJobsAGrantEndsWithItsJob(t *testing.T) {
	onEachEngineWithJobs(t, func(t *testing.T, s *jobs) {
		s.r.Stop(t)
		s.r.Set("TOCSIN_MAX_STALENESS=5m") // it is to take a call while authsvc is away, on a slow machine too
		s.r.Start(t)
		s.r.WaitReady(t, s.r.Base+"/readyz")
		grants := map[string]string{}
		for _, id := range []string{"done", "open", "refused"} {
			queueJob(t, s.r, s.alice.Auth(), id, 1)
			var claim struct{ Grant string }
			s.r.Must(t, 200, "POST", path("/v1/ai/tenants/%s/jobs/%s/claim", s.alice.ID, id), system.Key(s.workerKey), nil).Into(t, &claim)
			grants[id] = claim.Grant
		}
		exchange := func(id string) system.Answer {
			return s.Do(t, "POST", "/oauth2/token", system.Key(s.workerKey), url.Values{
				"grant_type":    {"urn:ietf:params:oauth:grant-type:token-exchange"},
				"subject_token": {grants[id]}, "subject_token_type": {"urn:tocsin:token-type:job-grant"}, "job_id": {id},
			})
		}
		spent := func(id string) {
			t.Helper()
			for began := time.Now(); time.Since(began) < time.Minute; time.Sleep(50 * time.Millisecond) { // real programs
				if got := exchange(id); got.Status == 400 && got.OAuthError(t) == "invalid_grant" {
					return
				}
			}
			t.Errorf("the grant of the job that is %s is good still", id)
		}
		s.r.Must(t, 200, "PUT", "/v1/ai/jobs/done/result", s.alice.Auth(), map[string]any{"result": 1})
		spent("done")
		s.Kill()
		s.r.Must(t, 204, "POST", path("/v1/ai/tenants/%s/jobs/refused/end", s.alice.ID), system.Key(s.workerKey), map[string]any{"claim": 1, "outcome": "refused", "reason": "x"})
		s.r.Kill()
		s.Restart(t)
		s.r.Start(t)
		spent("refused")
		if got := exchange("open"); got.Status != 200 {
			t.Errorf("that of an open job: %v", got)
		}
	})
}

func TestJobsAGrantIsGoodForItsJobOnly(t *testing.T) {
	onEachEngineWithJobs(t, func(t *testing.T, s *jobs) {
		grants := map[string]string{}
		for _, id := range []string{"one", "two"} {
			queueJob(t, s.r, s.alice.Auth(), id, 1)
			var claim struct{ Grant string }
			s.r.Must(t, 200, "POST", path("/v1/ai/tenants/%s/jobs/%s/claim", s.alice.ID, id), system.Key(s.workerKey), nil).Into(t, &claim)
			grants[id] = claim.Grant
		}
		exchange := func(grant, job string) system.Answer {
			return s.Do(t, "POST", "/oauth2/token", system.Key(s.workerKey), url.Values{
				"grant_type":    {"urn:ietf:params:oauth:grant-type:token-exchange"},
				"subject_token": {grant}, "subject_token_type": {"urn:tocsin:token-type:job-grant"}, "job_id": {job},
			})
		}
		if got := exchange(grants["one"], "two"); got.Status != 400 {
			t.Errorf("the grant of another job: %v", got)
		}
		if got := exchange(grants["one"], "one"); got.Status != 200 {
			t.Errorf("its own: %v", got)
		}
		if got := s.r.Do(t, "GET", "/v1/ai/jobs/one", system.Bearer(grants["one"]), nil); got.Status != 401 {
			t.Errorf("a grant as a token: %v", got)
		}
		if got := s.Do(t, "GET", "/v1/me", system.Bearer(grants["one"]), nil); got.Status != 401 {
			t.Errorf("a grant at authsvc: %v", got)
		}
	})
}
