package e2e

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

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
	for began := time.Now(); time.Since(began) < time.Minute; {
		r.Must(t, 200, "GET", "/v1/ai/jobs/"+id+"?wait=10s", authorization, nil).Into(t, &j)
		if j.Status == "done" || j.Status == "failed" || j.Status == "refused" {
			return j
		}
	}
	t.Fatalf("job %s is still %s", id, j.Status)
	return j
}

func TestJobsAUsersOwnWorkerDoesThatUsersJobsAndNoOthers(t *testing.T) {
	onEachEngine(t, func(t *testing.T, a *system.Auth, r *system.Resource) {
		alice, bob := a.Register(t, "alice"), a.Register(t, "bob")
		queueJob(t, r, alice.Auth(), "same", "alice's")
		queueJob(t, r, bob.Auth(), "same", "bob's")
		w := startWorker(t, a, r, alice.LiveKey)
		got := awaitJob(t, r, alice.Auth(), "same")
		if got.Status != "done" || !strings.Contains(string(got.Result), alice.ID) {
			t.Errorf("alice's: %+v", got)
		}
		var other doneJob
		r.Must(t, 200, "GET", "/v1/ai/jobs/same", bob.Auth(), nil).Into(t, &other)
		if other.Status != "queued" || other.Result != nil {
			t.Errorf("bob's: %+v", other)
		}
		if code := w.Stop(t); code != 0 {
			t.Errorf("the worker ended with %d", code)
		}
	})
}

// computer is a compute service that answers as the test says.
func computer(t *testing.T, answer http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(answer)
	t.Cleanup(s.Close)
	return "TOCSIN_COMPUTE_URL=" + s.URL
}

func TestJobsAKilledWorkersJobIsAnothers(t *testing.T) {
	onEachEngine(t, func(t *testing.T, a *system.Auth, r *system.Resource) {
		began := make(chan struct{}, 1)
		stuck := computer(t, func(_ http.ResponseWriter, q *http.Request) {
			began <- struct{}{}
			<-q.Context().Done()
		})
		alice := a.Register(t, "alice")
		queueJob(t, r, alice.Auth(), "j", 1)
		w := startWorker(t, a, r, alice.LiveKey, stuck)
		<-began
		w.Kill()
		startWorker(t, a, r, alice.LiveKey)
		if got := awaitJob(t, r, alice.Auth(), "j"); got.Status != "done" {
			t.Errorf("%+v", got)
		}
	}, map[string]string{"TOCSIN_JOB_LEASE": "2s"})
}
