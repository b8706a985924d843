package worker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"
)

var (
	// errOwnKey means that the service refuses the worker's own key.
	errOwnKey = errors.New("the service refuses it")
	// errAway means that nobody was there.
	errAway = errors.New("it can't be asked right now")
	// errBusy is an answer of "not now".
	errBusy = errors.New("it can't answer right now")
	// errGone means that the job is no longer this worker's.
	errGone = errors.New("the job is another worker's, or over")
)

// refusal is an answer that is none of these.
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

const (
	callTimeout = 30 * time.Second // more than the longest wait
	maxAnswer   = 128 << 10        // more than the largest job
)

// call sends one request to the service.
func (s service) call(ctx context.Context, method, address, authorization string, in, out any) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return send(ctx, s.http, method, address, authorization, in, out)
}

// send sends a request and decodes its answer. Credentials and bodies are in none of its errors.
func send(ctx context.Context, client *http.Client, method, address, authorization string, in, out any) error {
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return err
		}
	}
	r, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader(body))
	if err != nil {
		return errors.New("the URL is malformed")
	}
	r.Header.Set("Authorization", authorization)
	if in != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	res, err := client.Do(r)
	if err != nil {
		return unsent(err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("its answer broke off: %w", err)
	}
	return decode(res.StatusCode, answer, out)
}

// unsent tells who could not be reached, and so did nothing, from who didn't answer.
func unsent(err error) error {
	var dial *net.OpError
	if errors.As(err, &dial) && dial.Op == "dial" {
		return fmt.Errorf("%w: %w", errAway, dial)
	}
	return err
}

func decode(status int, body []byte, out any) error {
	var p struct {
		Code string `json:"code"`
	}
	switch {
	case status == http.StatusNoContent || status == http.StatusOK && out == nil:
		return nil
	case status == http.StatusOK:
		if err := json.Unmarshal(body, out); err != nil {
			return errors.New("its answer is not the expected JSON")
		}
		return nil
	}
	_ = json.Unmarshal(body, &p) // who answers without a code has none
	switch {
	case status == http.StatusTooManyRequests, status == http.StatusServiceUnavailable:
		return fmt.Errorf("%w: it answered %d", errBusy, status)
	case status == http.StatusNotFound || status == http.StatusConflict:
		return fmt.Errorf("%w: it answered %d", errGone, status)
	}
	return &refusal{status, code(p.Code)}
}

// code returns a code of a refusal as it may be logged.
func code(s string) string {
	if len(s) > 40 || !isWord(s) {
		return ""
	}
	return s
}

func isWord(s string) bool {
	for _, r := range s {
		if r != '_' && (r < 'a' || r > 'z') {
			return false
		}
	}
	return true
}
