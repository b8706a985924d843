package e2e

import (
	"encoding/json"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/test/machine"
	"github.com/tocsin-auth/tocsin/test/system"
)

// quotaFlood asks as a service does that has gone mad, with its credentials.
type quotaFlood struct {
	t       *testing.T
	nc      *nats.Conn
	inbox   string
	body    []byte // but for the seq: a question that was overtaken costs as much
	busy    atomic.Int64
	counted atomic.Int64
	ended   atomic.Bool
}

// outstanding is more than authsvc has room for.
const outstanding = 400

// floodQuotas keeps authsvc busy until the test ends or end is called.
func floodQuotas(t *testing.T, a *system.Auth, user string) *quotaFlood {
	nc := connectAs(t, a, "resourcesvc")
	f := &quotaFlood{t: t, nc: nc, inbox: nc.NewRespInbox(), body: quotaQuestion(t, user, 0)}
	if _, err := nc.Subscribe(f.inbox, f.answered); err != nil {
		t.Fatal(err)
	}
	for range outstanding {
		f.ask()
	}
	return f
}

func quotaQuestion(t *testing.T, user string, want int64) []byte {
	t.Helper()
	body, err := json.Marshal(events.QuotaRequest{Nonce: events.NewNonce(), StartNonce: events.NewNonce(), Seq: 1,
		Entries: []events.QuotaEntry{{Subject: user, Resource: "ai-jobs", Want: want}}})
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func (f *quotaFlood) ask() {
	if err := f.nc.PublishRequest(events.QuotaSubject("resourcesvc"), f.inbox, f.body); err != nil && !f.nc.IsClosed() {
		f.t.Error(err)
	}
}

// answered asks once more for each answer, so that there are always as many on their way.
func (f *quotaFlood) answered(m *nats.Msg) {
	if a, err := events.DecodeQuotaAnswer(m.Data, 1); err == nil && a.Busy && m.Header.Get(events.HeaderSignature) != "" {
		f.busy.Add(1)
	} else if err == nil {
		f.counted.Add(1)
	}
	if !f.ended.Load() {
		f.ask()
	}
}

func (f *quotaFlood) end() { f.ended.Store(true) }

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

// A flood of questions about quotas makes authsvc say that it is busy, and that makes no request free, though the route isn't strict.
func TestWithinQuotaWhileAFloodKeepsAuthBusy(t *testing.T) {
	onEachEngine(t, func(t *testing.T, a *system.Auth, r *system.Resource) {
		const limit, users = 3, 8
		jobsPlan(t, a, limit, "744h")
		var callers []string
		for range users {
			callers = append(callers, a.Register(t, "user-"+events.NewNonce()[:8]).Auth())
		}
		flood := floodQuotas(t, a, a.Register(t, "mallory").ID)
		machine.Await(t, "authsvc is busy", func() bool { return flood.busy.Load() > 0 })
		accepted := make([]int, users)
		enqueueAll := func() {
			for i, caller := range callers {
				if got := enqueue(t, r, caller); got.Status == http.StatusAccepted {
					accepted[i]++
				} else if !exceeded(got) && !overloaded(got) {
					t.Errorf("%v", got)
				}
			}
		}
		machine.Await(t, "the service was told that authsvc is busy", func() bool { enqueueAll(); return countsOf(t, r).Busy >= 5 })
		flood.end()
		during := countsOf(t, r)
		t.Logf("%d questions put off and %d counted of the flood; accepted %v; %+v", flood.busy.Load(), flood.counted.Load(), accepted, during)
		if during.Failures > 0 {
			t.Logf("this machine was too slow for authsvc to say in time that it is busy: that is no answer")
		} else if during.Uncounted > 0 {
			t.Errorf("%d requests were free", during.Uncounted)
		}
		machine.Await(t, "everybody's limit is reached", func() bool {
			enqueueAll()
			for _, n := range accepted {
				if n < limit {
					return false
				}
			}
			return true
		})
		free := countsOf(t, r).Uncounted
		for i, n := range accepted {
			if n > limit+free {
				t.Errorf("user %d: %d accepted of %d, %d uncounted in all", i, n, limit, free)
			}
		}
	})
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
