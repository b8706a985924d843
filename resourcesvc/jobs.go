package main

import (
	"context"
	"encoding/json"
	"net/http"
	"time"
)

// job is one unit of AI work. It belongs to the user whose credential asked for it, and nobody else can see it.
type job struct {
	ID      string          `json:"job_id"`
	Status  string          `json:"status"`
	Payload json.RawMessage `json:"payload"`
	Result  json.RawMessage `json:"result,omitempty"`
}

// statusQueued is the only status that this service sets: running, done, failed and refused come from a worker.
const statusQueued = "queued"

type newJob struct {
	ID      string          `json:"job_id"`
	Payload json.RawMessage `json:"payload"`
}

// createJob answers 202 with the job. The same job_id again is the same job: a client may retry without fear.
func (a *api) createJob(w http.ResponseWriter, r *http.Request) error {
	var in newJob
	if err := decodeBody(w, r, &in); err != nil {
		return err
	}
	if err := checkText("job_id", in.ID); err != nil {
		return err
	}
	if in.Payload == nil {
		return invalid("payload", "is required")
	}
	j, err := a.store.addJob(r.Context(), principal(r).Subject, in)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusAccepted, j)
}

func (a *api) getJob(w http.ResponseWriter, r *http.Request) error {
	id := param(r, "job_id")
	if err := checkText("job_id", id); err != nil {
		return err
	}
	wait, err := parseWait(r.URL.Query().Get("wait"))
	if err != nil {
		return err
	}
	j, err := a.store.job(r.Context(), principal(r).Subject, id)
	if err == nil && wait > 0 && !j.over() {
		outlast(w, wait)
		j, err = a.nextStatus(r, j, wait)
	}
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, j)
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
func (j job) over() bool { return j.Status == "done" || j.Status == "failed" || j.Status == "refused" }

// nextStatus returns the job as soon as its status is another one, or after a time as it is then.
func (a *api) nextStatus(r *http.Request, j job, wait time.Duration) (job, error) {
	timeout, ticker := time.NewTimer(wait), time.NewTicker(lookEvery)
	defer timeout.Stop()
	defer ticker.Stop()
	for before := j.Status; j.Status == before; {
		select {
		case <-ticker.C:
		case <-timeout.C:
			return j, nil
		case <-a.stopping:
			return j, nil
		case <-r.Context().Done():
			return j, errEnded
		}
		var err error
		if j, err = a.store.job(r.Context(), principal(r).Subject, j.ID); err != nil {
			return j, err
		}
	}
	return j, nil
}

func (s *store) addJob(ctx context.Context, user string, in newJob) (job, error) {
	_, err := s.db.ExecContext(ctx,
		`INSERT INTO ai_jobs (user_id, job_id, status, payload, created_at) VALUES ($1, $2, $3, $4, $5)
		 ON CONFLICT (user_id, job_id) DO NOTHING`,
		user, in.ID, statusQueued, string(in.Payload), s.now().UnixMicro())
	if err != nil {
		return job{}, inDB("add a job", err)
	}
	return s.job(ctx, user, in.ID)
}

// job finds a job of this user; that of another one is not found.
func (s *store) job(ctx context.Context, user, id string) (job, error) {
	var (
		j       = job{ID: id}
		payload string
		result  *string
	)
	err := s.db.QueryRowContext(ctx,
		`SELECT status, payload, result FROM ai_jobs WHERE user_id = $1 AND job_id = $2`, user, id,
	).Scan(&j.Status, &payload, &result)
	if err != nil {
		return job{}, inDB("read a job", err)
	}
	j.Payload = json.RawMessage(payload)
	if result != nil {
		j.Result = json.RawMessage(*result)
	}
	return j, nil
}
