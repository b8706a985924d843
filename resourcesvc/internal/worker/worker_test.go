package worker

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tocsin-auth/tocsin/resourcesvc/internal/exchange"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is the service, the compute service and the issuer of one worker, with one job.
type world struct {
	t       *testing.T
	worker  *worker
	logged  strings.Builder
	compute http.HandlerFunc
	token   http.HandlerFunc
	renew   http.HandlerFunc
	read    http.HandlerFunc

	mu    sync.Mutex
	ended []map[string]any // what the worker said of its claims
	calls []string         // with which credential it called what
}

func newWorld(t *testing.T) *world {
	w := &world{t: t}
	w.compute = func(rw http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(rw, `{"n":1}`) }
	w.token = func(rw http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(rw, `{"access_token":"the-token","issued_token_type":"`+exchange.TypeAccessToken+`","expires_in":300}`)
	}
	w.renew = func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(204) }
	w.read = func(rw http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(rw, `{"payload":{"x":1}}`) }
	server := httptest.NewServer(http.HandlerFunc(w.serve))
	client := exchange.NewHTTP()
	t.Cleanup(func() { client.CloseIdleConnections(); server.Close() })
	w.worker = &worker{
		Settings: Settings{ServiceURL: server.URL, ComputeURL: server.URL + "/compute", Key: "own-key", JobTimeout: 5 * time.Second},
		service:  service{base: server.URL, http: client},
		issuer:   &exchange.Client{Issuer: server.URL, Key: "own-key", HTTP: client},
		log:      slog.New(slog.NewTextHandler(&w.logged, nil)),
		working:  t.Context(),
	}
	return w
}

func (w *world) serve(rw http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	w.mu.Lock()
	w.calls = append(w.calls, r.Method+" "+r.URL.Path+" "+r.Header.Get("Authorization"))
	w.mu.Unlock()
	switch {
	case r.URL.Path == "/oauth2/token":
		w.token(rw, r)
	case r.URL.Path == "/compute":
		w.compute(rw, r)
	case strings.HasSuffix(r.URL.Path, "/renew"):
		w.renew(rw, r)
	case strings.HasSuffix(r.URL.Path, "/end"):
		var said map[string]any
		if err := json.Unmarshal(body, &said); err != nil {
			w.t.Error(err)
		}
		w.mu.Lock()
		w.ended = append(w.ended, said)
		w.mu.Unlock()
		rw.WriteHeader(204)
	default:
		w.read(rw, r)
	}
}

func writeProblem(rw http.ResponseWriter, status int, code string) {
	rw.Header().Set("Content-Type", "application/problem+json")
	rw.WriteHeader(status)
	_, _ = io.WriteString(rw, `{"code":"`+code+`"}`)
}

func (w *world) job() *assignment {
	return &assignment{JobID: "j", Claim: 3, LeaseMS: 300, Grant: "the-grant", path: "/v1/ai/tenants/u/jobs/j"}
}

func TestAJobIsDoneAsItsUserAndClaimedAsTheWorker(t *testing.T) {
	w := newWorld(t)
	if err := w.worker.do(w.job()); err != nil || len(w.ended) > 0 {
		t.Fatal(err, w.ended)
	}
	for _, call := range w.calls {
		asUser := strings.HasSuffix(call, "Bearer the-token")
		own := strings.HasSuffix(call, "Api-Key own-key")
		if isOwn := strings.Contains(call, "/oauth2/token") || strings.Contains(call, "/tenants/"); isOwn != own || isOwn == asUser {
			t.Error(call)
		}
	}
	if log := w.logged.String(); strings.Contains(log, "the-token") || strings.Contains(log, "the-grant") || strings.Contains(log, "own-key") {
		t.Errorf("a secret is logged: %s", log)
	}
}

func TestHowAJobEnds(t *testing.T) {
	answer := func(status int, body string) http.HandlerFunc {
		return func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(status); _, _ = io.WriteString(rw, body) }
	}
	problem := func(status int, code string) http.HandlerFunc {
		return func(rw http.ResponseWriter, _ *http.Request) { writeProblem(rw, status, code) }
	}
	for name, tc := range map[string]struct {
		token, compute, read http.HandlerFunc
		outcome              string
		pause, stop          bool
	}{
		"the grant is dead":        {token: answer(400, `{"error":"invalid_grant"}`), outcome: refused},
		"the grant is another's":   {token: answer(400, `{"error":"invalid_request"}`), outcome: failed},
		"the issuer is away":       {token: answer(503, `{}`), outcome: returned, pause: true},
		"the worker's key is dead": {token: answer(401, `{"error":"invalid_client"}`), outcome: returned, pause: true, stop: true},
		"compute breaks":           {compute: answer(500, ``), outcome: retry},
		"compute says it breaks":   {compute: problem(500, "internal"), outcome: retry},
		"compute can't do it yet":  {compute: problem(501, "later"), outcome: retry},
		"a quota is used up":       {compute: answer(429, ``), outcome: returned},
		"compute is busy":          {compute: answer(503, ``), outcome: returned, pause: true},
		"compute restarts":         {compute: answer(502, `<html>`), outcome: returned, pause: true},
		"compute hangs":            {compute: answer(504, ``), outcome: returned, pause: true},
		"a gateway has no answer":  {compute: answer(520, ``), outcome: returned, pause: true},
		"compute is elsewhere":     {compute: answer(302, ``), outcome: returned, pause: true},
		"compute refuses the job":  {compute: answer(422, `{"code":"bad"}`), outcome: failed},
		"compute isn't there":      {compute: answer(404, ``), outcome: retry},
		"the service restarts":     {read: answer(502, `<html>`), outcome: returned, pause: true},
		"before the service: 500":  {read: answer(500, `<html>`), outcome: returned, pause: true},
		"before the service: 404":  {read: answer(404, `<html>`), outcome: returned, pause: true},
		"before the service: 403":  {read: answer(403, `<html>`), outcome: returned, pause: true},
		"the service breaks":       {read: problem(500, "internal"), outcome: retry},
		"the service knows none":   {read: problem(404, "not_found"), outcome: failed},
		"the service: never":       {read: problem(400, "invalid_request"), outcome: failed},
		"the token is refused":     {compute: answer(401, `{"code":"revoked"}`), outcome: retry},
		"no JSON":                  {compute: answer(200, `<html>`), outcome: retry},
		"a huge result":            {compute: answer(200, `"`+strings.Repeat("x", maxResult)+`"`), outcome: failed},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			if tc.token != nil {
				w.token = tc.token
			}
			if tc.compute != nil {
				w.compute = tc.compute
			}
			if tc.read != nil {
				w.read = tc.read
			}
			err := w.worker.do(w.job())
			if len(w.ended) != 1 || w.ended[0]["outcome"] != tc.outcome || w.ended[0]["claim"] != 3.0 || w.ended[0]["reason"] == "" {
				t.Errorf("ended %v, want %s", w.ended, tc.outcome)
			}
			if (err != nil) != tc.pause || isOwnFault(err) != tc.stop {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestLongWorkIsHeldAndLostWorkEnds(t *testing.T) {
	for name, lost := range map[string]bool{"held": false, "lost": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			renewals := make(chan struct{}, 100)
			w.renew = func(rw http.ResponseWriter, _ *http.Request) {
				renewals <- struct{}{}
				if lost {
					writeProblem(rw, 409, "claim_lost")
				} else {
					rw.WriteHeader(204)
				}
			}
			ended := make(chan struct{})
			w.compute = func(rw http.ResponseWriter, r *http.Request) {
				for range 4 { // longer than a lease
					select {
					case <-renewals:
					case <-r.Context().Done():
						close(ended)
						return
					}
				}
				_, _ = io.WriteString(rw, `1`)
			}
			if err := w.worker.do(w.job()); err != nil || len(w.ended) > 0 {
				t.Error(err, w.ended)
			}
			if lost {
				<-ended
			}
		})
	}
}

func TestAStopGivesBackWhatIsBeingDone(t *testing.T) {
	w := newWorld(t)
	ctx, stop := context.WithCancel(t.Context())
	w.worker.working = ctx
	w.compute = func(_ http.ResponseWriter, r *http.Request) {
		stop()
		<-r.Context().Done()
	}
	if err := w.worker.do(w.job()); err != nil || len(w.ended) != 1 || w.ended[0]["outcome"] != returned {
		t.Error(err, w.ended)
	}
}

func TestAWorkerWhoseKeyIsRefusedStops(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		writeProblem(rw, 401, "revoked")
	}))
	defer server.Close()
	err := Run(t.Context(), Settings{ServiceURL: server.URL, Key: "k", Concurrency: 2}, slog.New(slog.DiscardHandler))
	if !errors.Is(err, errOwnKey) || !strings.Contains(err.Error(), "revoked") {
		t.Error(err)
	}
}

// What stands before the service and says 502 while that restarts must not empty the queue.
func TestOnlyAClaimThatCanNeverSucceedIsHopeless(t *testing.T) {
	for _, tc := range []struct {
		status   int
		code     string // none: no problem
		is       error
		hopeless bool
	}{
		{400, "invalid_request", nil, true},
		{413, "", nil, true},
		{401, "revoked", errOwnKey, false},
		{401, "", errAway, false},
		{403, "", errAway, false},
		{404, "not_found", errGone, false},
		{404, "", errAway, false},
		{409, "job_taken", errGone, false},
		{409, "", errAway, false},
		{429, "too_many_requests", errBusy, false},
		{500, "internal", nil, false},
		{500, "", errAway, false},
		{502, "", errAway, false},
		{503, "unavailable", errAway, false},
		{504, "", errAway, false},
		{302, "", errAway, false},
		{999, "", errAway, false},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
			if tc.code == "" {
				rw.WriteHeader(tc.status)
				return
			}
			writeProblem(rw, tc.status, tc.code)
		}))
		client := exchange.NewHTTP()
		_, err := service{base: server.URL, http: client}.claim(t.Context(), "Api-Key k", "u", "j")
		client.CloseIdleConnections()
		server.Close()
		if err == nil || tc.is != nil && !errors.Is(err, tc.is) || isHopeless(err) != tc.hopeless {
			t.Errorf("%d %s: %v", tc.status, tc.code, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(200, false, []byte(`{"job_id":"j","claim":1}`))
	f.Add(409, true, []byte(`{"code":"job_taken"}`))
	f.Add(401, true, []byte(`{"code":"a code with\nlines"}`))
	f.Add(502, false, []byte(`<html>`))
	f.Fuzz(func(t *testing.T, status int, problem bool, body []byte) {
		var a assignment
		if err := (answer{status, problem, body}).decode(&a); err != nil && strings.ContainsAny(err.Error(), "\n\r") {
			t.Errorf("%d %q: %q", status, body, err)
		}
	})
}
