package e2e

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/test/machine"
	"github.com/tocsin-auth/tocsin/test/system"
)

func quotaQuestion(t *testing.T, user string, want int64) []byte {
	t.Helper()
	body, err := json.Marshal(events.QuotaRequest{Nonce: events.NewNonce(), StartNonce: events.NewNonce(), Seq: 1,
		Entries: []events.QuotaEntry{{Subject: user, Resource: "ai-jobs", Want: want}}})
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// quotaCounts is what a service says of its questions.
type quotaCounts struct {
	Uncounted int `json:"quota_uncounted"`
	Failures  int `json:"quota_failures"`
	Busy      int `json:"quota_busy"`
}

func countsOf(t *testing.T, r *system.Resource) (c quotaCounts) {
	t.Helper()
	r.Must(t, 200, "GET", "/v1/verifier", "", nil).Into(t, &c)
	return c
}

var overloaded = system.Status(http.StatusServiceUnavailable, "auth_unavailable")

// Starts of a service that were made up use up what an account may know of it. Its user is refused then, not let through, and nobody else.
func TestWithinQuotaWhenAServiceHasTooManyInstances(t *testing.T) {
	onEachEngine(t, func(t *testing.T, a *system.Auth, r *system.Resource) {
		const limit, starts = 1000, 512
		jobsPlan(t, a, limit, "744h")
		alice, bob := a.Register(t, "alice"), a.Register(t, "bob")
		nc := connectAs(t, a, "resourcesvc")
		for known := 0; known < starts; {
			m, err := nc.Request(events.QuotaSubject("resourcesvc"), quotaQuestion(t, alice.ID, 0), machine.Patience)
			if err != nil {
				t.Fatal(err)
			}
			if answer, err := events.DecodeQuotaAnswer(m.Data, 1); err == nil && !answer.Busy {
				known++
			}
		}
		for range 3 {
			if got := enqueue(t, r, alice.Auth()); !overloaded(got) && countsOf(t, r).Failures == 0 || got.Status == http.StatusServiceUnavailable && got.Header.Get("Retry-After") != "1" {
				t.Errorf("%v %v", got, got.Header)
			}
			machine.Await(t, "bob is accepted", func() bool { return enqueue(t, r, bob.Auth()).Status == http.StatusAccepted })
		}
		if c := countsOf(t, r); c.Failures == 0 && (c.Uncounted > 0 || c.Busy == 0) {
			t.Errorf("%+v", c)
		}
	})
}
