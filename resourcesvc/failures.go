package main

import (
	"context"
	"net/http"
	"slices"
	"time"
)

// failure is a job that ended without a result, as an operator sees it: whose it was and why, never what was in it.
type failure struct {
	UserID  string    `json:"user_id"`
	JobID   string    `json:"job_id"`
	Status  string    `json:"status"`
	Reason  string    `json:"reason"`
	Tries   int       `json:"tries"`
	EndedAt time.Time `json:"ended_at"`
}

// listFailures shows the jobs that failed or were refused last.
func (a *api) listFailures(w http.ResponseWriter, r *http.Request) error {
	limit, err := pageLimit(r.URL.Query().Get("limit"))
	if err != nil {
		return err
	}
	status := r.URL.Query().Get("status")
	if status == "" {
		status = statusFailed
	}
	if !slices.Contains([]string{statusFailed, statusRefused}, status) {
		return invalid("status", "must be failed or refused")
	}
	failures, err := a.store.failures(r.Context(), status, limit)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, struct {
		Items []failure `json:"items"`
	}{failures})
}

func (s *store) failures(ctx context.Context, status string, limit int) ([]failure, error) {
	rows, err := s.db.QueryContext(ctx,
		`SELECT user_id, job_id, status, reason, tries, ended_at FROM ai_jobs
		 WHERE status = $1 AND ended_at IS NOT NULL ORDER BY ended_at DESC LIMIT $2`, status, limit)
	if err != nil {
		return nil, inDB("list failures", err)
	}
	defer rows.Close()
	all := []failure{}
	for rows.Next() {
		var (
			f     failure
			ended int64
		)
		if err := rows.Scan(&f.UserID, &f.JobID, &f.Status, &f.Reason, &f.Tries, &ended); err != nil {
			return nil, inDB("list failures", err)
		}
		f.EndedAt = fromMicros(ended)
		all = append(all, f)
	}
	return all, inDB("list failures", rows.Err())
}
