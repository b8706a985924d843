package main

import (
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/tocsin-auth/tocsin/pkg/verifier"
)

// job is one unit of AI work. It belongs to the user whose credential asked for it, and nobody else can see it.
type job struct {
	ID      string          `json:"job_id"`
	Status  string          `json:"status"`
	Payload json.RawMessage `json:"payload"`
	Result  json.RawMessage `json:"result,omitempty"`
	Reason  string          `json:"reason,omitempty"` // why it failed or was refused
}

type newJob struct {
	ID      string          `json:"job_id"`
	Payload json.RawMessage `json:"payload"`
}

// maxPart bounds a job's payload and its result. Each fits into the envelope of a request for which there are 64 KiB, on each
// step of its way, and both with their job's id into the 128 KiB that a worker reads.
const maxPart = 63 << 10

func checkPart(field string, part json.RawMessage) error {
	switch {
	case part == nil:
		return invalid(field, "is required")
	case len(part) > maxPart:
		return invalid(field, "is larger than 63 KiB")
	}
	return nil
}

// createJob answers 202 with the job. The same job_id again is the same job: a client may retry without fear. The row is the
// promise; the queue hears of it from [offerer], now or when it can.
func (a *api) createJob(w http.ResponseWriter, r *http.Request) error {
	var in newJob
	if err := decodeBody(w, r, &in); err != nil {
		return err
	}
	if err := checkJobID(in.ID); err != nil {
		return err
	}
	if err := checkPart("payload", in.Payload); err != nil {
		return err
	}
	j, err := a.store.job(r.Context(), principal(r).Subject, in.ID)
	if errors.Is(err, errNotFound) {
		j, err = a.acceptJob(r, in)
	}
	if verifier.CodeOf(err) != "" {
		a.guard.Refuse(w, r, err)
		return errEnded
	}
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusAccepted, j)
}

func (a *api) acceptJob(r *http.Request, in newJob) (job, error) {
	grant, err := a.mintGrant(r, in.ID)
	if err != nil {
		return job{}, err
	}
	j, err := a.store.addJob(r.Context(), principal(r).Subject, in, grant)
	if err == nil && a.offerer != nil {
		a.offerer.wake()
	}
	return j, err
}

func (a *api) getJob(w http.ResponseWriter, r *http.Request) error {
	id, err := jobID(r)
	if err != nil {
		return err
	}
	wait, err := parseWait(r.URL.Query().Get("wait"))
	if err != nil {
		return err
	}
	j, err := a.store.job(r.Context(), principal(r).Subject, id)
	if err == nil && wait > 0 && !j.over() {
		outlast(w, wait)
		err = a.poll(r, wait, func() (bool, error) {
			before := j.Status
			j, err = a.store.job(r.Context(), principal(r).Subject, id)
			return j.Status != before, err
		})
	}
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, j)
}

// jobID is the one in the path.
func jobID(r *http.Request) (string, error) {
	id := param(r, "job_id")
	return id, checkJobID(id)
}

// checkJobID takes any text that can be a segment of a path: proxies take these two for something else, also when escaped.
func checkJobID(id string) error {
	if id == "." || id == ".." {
		return invalid("job_id", "must not be . or ..")
	}
	return checkText("job_id", id)
}

// maxWait is a little less than what proxies on the way usually wait.
const maxWait = 50 * time.Second

func parseWait(s string) (time.Duration, error) {
	if s == "" {
		return 0, nil
	}
	wait, err := time.ParseDuration(s)
	if err != nil || wait < 0 || wait > maxWait {
		return 0, invalid("wait", "must be a duration from 0s to 50s")
	}
	return wait, nil
}

// over reports whether the status is the last one.
func (j job) over() bool {
	return j.Status == statusDone || j.Status == statusFailed || j.Status == statusRefused
}

// poll looks until there is something, the time is over, or the service stops.
func (a *api) poll(r *http.Request, wait time.Duration, look func() (bool, error)) error {
	timeout, ticker := time.NewTimer(wait), time.NewTicker(lookEvery)
	defer timeout.Stop()
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-timeout.C:
			return nil
		case <-a.stopping:
			return nil
		case <-r.Context().Done():
			return errEnded
		}
		if found, err := look(); found || err != nil {
			return err
		}
	}
}
