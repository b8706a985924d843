package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

var (
	// errOwnKey means that the service refuses the worker's own key.
	errOwnKey = errors.New("the service refuses it")
	// errAway means that nobody was there, or only somebody who stands in front of it.
	errAway = errors.New("it can't be asked right now")
	// errBusy is an answer of "not now" to this caller. Others may get another one.
	errBusy = errors.New("it can't answer right now")
	// errGone means that the job is no longer this worker's.
	errGone = errors.New("the job is another worker's, or over")
)

// refusal is an answer about the request.
type refusal struct {
	status int
	code   string
}

func (r *refusal) Error() string { return fmt.Sprintf("it answered %d %s", r.status, r.code) }

// service is the HTTP API of the service. Safe for concurrent use.
type service struct {
	base string
	http *http.Client
}

type identity struct {
	Subject string   `json:"subject"`
	Roles   []string `json:"roles"`
	KeyID   string   `json:"key_id"`
}

func (s service) whoami(ctx context.Context, own string) (me identity, err error) {
	err = asOwn(s.call(ctx, "GET", s.base+"/v1/whoami", own, nil, &me))
	return me, err
}

// assignment is a claimed job. Its grant is a secret.
type assignment struct {
	JobID   string `json:"job_id"`
	Claim   int64  `json:"claim"`
	LeaseMS int64  `json:"lease_ms"`
	Grant   string `json:"grant"`

	path string // where the claim is renewed and ended
	own  bool   // the job is that of the worker's key's user
}

func (a *assignment) lease() time.Duration { return time.Duration(a.LeaseMS) * time.Millisecond }

// claim claims one job of a user, for a worker of the service.
func (s service) claim(ctx context.Context, own, user, job string) (*assignment, error) {
	a := assignment{path: "/v1/ai/tenants/" + url.PathEscape(user) + "/jobs/" + url.PathEscape(job)}
	err := asOwn(s.call(ctx, "POST", s.base+a.path+"/claim", own, nil, &a))
	return &a, a.check(err)
}

// claimAny claims one of the key's user's own jobs, or returns nil when there is none.
func (s service) claimAny(ctx context.Context, own string, wait time.Duration) (*assignment, error) {
	var a assignment
	err := asOwn(s.call(ctx, "POST", s.base+"/v1/ai/claims?wait="+wait.String(), own, nil, &a))
	if err == nil && a.Claim == 0 {
		return nil, nil
	}
	a.path, a.own = "/v1/ai/jobs/"+url.PathEscape(a.JobID), true
	return &a, a.check(err)
}

func (a *assignment) check(err error) error {
	if err == nil && (a.JobID == "" || a.Claim < 1 || a.LeaseMS < 1 || a.own == (a.Grant != "")) {
		return fmt.Errorf("%w: its claim makes no sense", errAway)
	}
	return err
}

func (s service) renew(ctx context.Context, own string, a *assignment) error {
	return asOwn(s.call(ctx, "POST", s.base+a.path+"/renew", own, map[string]any{"claim": a.Claim}, nil))
}

func (s service) end(ctx context.Context, own string, a *assignment, outcome, reason string) error {
	body := map[string]any{"claim": a.Claim, "outcome": outcome, "reason": reason}
	return asOwn(s.call(ctx, "POST", s.base+a.path+"/end", own, body, nil))
}

// payload reads the job as its user: the credential says whose it is.
func (s service) payload(ctx context.Context, authorization, job string) (json.RawMessage, error) {
	var j struct {
		Payload json.RawMessage `json:"payload"`
	}
	err := s.call(ctx, "GET", s.base+"/v1/ai/jobs/"+url.PathEscape(job), authorization, nil, &j)
	return j.Payload, err
}

// store stores the result as the job's user.
func (s service) store(ctx context.Context, authorization, job string, result json.RawMessage) error {
	return s.call(ctx, "PUT", s.base+"/v1/ai/jobs/"+url.PathEscape(job)+"/result", authorization, map[string]any{"result": result}, nil)
}

// asOwn turns the refusal of a credential into that of the worker's own.
func asOwn(err error) error {
	var r *refusal
	if errors.As(err, &r) && (r.status == http.StatusUnauthorized || r.status == http.StatusForbidden) {
		return fmt.Errorf("%w: %s", errOwnKey, r.code)
	}
	return err
}

// callTimeout is more than the longest wait.
const callTimeout = 30 * time.Second

// call sends one request to the service.
func (s service) call(ctx context.Context, method, address, authorization string, in, out any) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	got, err := send(ctx, s.http, method, address, authorization, in)
	if err != nil {
		return err
	}
	return got.decode(out)
}
