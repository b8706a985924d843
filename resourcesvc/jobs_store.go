package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"time"

	"github.com/tocsin-auth/tocsin/resourcesvc/internal/queue"
	"github.com/tocsin-auth/tocsin/resourcesvc/internal/seal"
)

var (
	errOver  = errors.New("the job is over")
	errTaken = errors.New("the job is claimed or rests")
	errLost  = errors.New("the claim is lost")
)

const (
	statusQueued  = "queued"
	statusRunning = "running"
	statusDone    = "done"
	statusFailed  = "failed"
	statusRefused = "refused"
)

// isOpen is the condition of a job that isn't over; the indexes have it word by word.
const isOpen = `status IN ('queued', 'running')`

func (s *store) addJob(ctx context.Context, user string, in newJob, grant *string) (job, error) {
	now := s.now().UnixMicro()
	var sealed, key *string
	if grant != nil {
		g, err := s.keys.Seal(user, in.ID, *grant)
		if err != nil {
			return job{}, err
		}
		sealed, key = &g.Text, &g.KeyID
	}
	_, err := s.db.ExecContext(ctx,
		`INSERT INTO ai_jobs (user_id, job_id, status, payload, sealed_grant, grant_key, created_at, due_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $7)
		 ON CONFLICT (user_id, job_id) DO NOTHING`,
		user, in.ID, statusQueued, string(in.Payload), sealed, key, now)
	if err != nil {
		return job{}, inDB("add a job", err)
	}
	return s.job(ctx, user, in.ID)
}

// job finds a job of this user; that of another one is not found.
func (s *store) job(ctx context.Context, user, id string) (job, error) {
	var (
		j              = job{ID: id}
		payload        string
		result, reason *string
	)
	err := s.db.QueryRowContext(ctx,
		`SELECT status, payload, result, reason FROM ai_jobs WHERE user_id = $1 AND job_id = $2`, user, id,
	).Scan(&j.Status, &payload, &result, &reason)
	if err != nil {
		return job{}, inDB("read a job", err)
	}
	j.Payload = json.RawMessage(payload)
	if result != nil {
		j.Result = json.RawMessage(*result)
	}
	if reason != nil {
		j.Reason = *reason
	}
	return j, nil
}

// claim gives a job to a worker until its lease ends: one without a grant to its user's own worker only. A job that was tried often enough fails here, so that one that kills
// its workers does too.
func (s *store) claim(ctx context.Context, user, id string, rules jobRules, ownWorker bool) (claim, error) {
	c, err := s.claimRow(ctx, user, id, rules, ownWorker)
	if errors.Is(err, seal.ErrDamaged) {
		return claim{}, errors.Join(errOver, s.fail(ctx, user, id, c.Claim, statusFailed, "its grant is damaged"))
	}
	if !errors.Is(err, errNotFound) {
		return c, err
	}
	_, err = s.db.ExecContext(ctx,
		`UPDATE ai_jobs SET status = 'failed', reason = $4, ended_at = $3
		 WHERE user_id = $1 AND job_id = $2 AND `+isOpen+` AND due_at <= $3 AND tries >= $5`,
		user, id, s.now().UnixMicro(), "no worker has finished it", rules.Tries)
	if err != nil {
		return claim{}, inDB("give a job up", err)
	}
	j, err := s.job(ctx, user, id)
	switch {
	case err != nil:
		return claim{}, err
	case j.over():
		return claim{}, errOver
	default:
		return claim{}, errTaken
	}
}

// claimRow is [store.claim] for a job that can be had; of others the error is [errNotFound]. A grant that can't be opened for want of its key
// is no fault of the job's, which stays as it is: the error is [errGrantsKey]. With [seal.ErrDamaged] the claim holds.
func (s *store) claimRow(ctx context.Context, user, id string, rules jobRules, ownWorker bool) (claim, error) {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return claim{}, inDB("claim a job", err)
	}
	defer func() { _ = tx.Rollback() }() // after a commit it does nothing
	now := s.now()
	c := claim{JobID: id, LeaseMS: rules.Lease.Milliseconds()}
	var sealed, key sql.NullString
	err = tx.QueryRowContext(ctx,
		`UPDATE ai_jobs SET status = 'running', claims = claims + 1, tries = tries + 1, due_at = $4
		 WHERE user_id = $1 AND job_id = $2 AND `+isOpen+` AND due_at <= $3 AND tries < $5 AND ($6 OR sealed_grant IS NOT NULL)
		 RETURNING claims, sealed_grant, grant_key`,
		user, id, now.UnixMicro(), now.Add(rules.Lease).UnixMicro(), rules.Tries, ownWorker).Scan(&c.Claim, &sealed, &key)
	if err != nil {
		return claim{}, inDB("claim a job", err)
	}
	var damaged error
	if !ownWorker { // who works for himself needs none
		c.Grant, damaged = s.keys.Open(user, id, seal.Grant{KeyID: key.String, Text: sealed.String})
	}
	if errors.Is(damaged, seal.ErrKey) {
		return claim{}, errGrantsKey
	}
	if err := tx.Commit(); err != nil {
		return claim{}, inDB("claim a job", err)
	}
	return c, damaged
}

// dueJob returns the id of the user's job that has waited for the longest.
func (s *store) dueJob(ctx context.Context, user string) (id string, err error) {
	err = s.db.QueryRowContext(ctx,
		`SELECT job_id FROM ai_jobs WHERE user_id = $1 AND `+isOpen+` AND due_at <= $2 ORDER BY due_at LIMIT 1`,
		user, s.now().UnixMicro()).Scan(&id)
	return id, inDB("look for a job", err)
}

// renew prolongs a lease.
func (s *store) renew(ctx context.Context, user, id string, claim int64, lease time.Duration) error {
	return s.changed(ctx, "renew a lease",
		`UPDATE ai_jobs SET due_at = $4 WHERE user_id = $1 AND job_id = $2 AND claims = $3 AND status = 'running'`,
		user, id, claim, s.now().Add(lease).UnixMicro())
}

// putBack makes a claimed job one for others, after a pause. A try that doesn't count is one whose end says nothing about the job.
func (s *store) putBack(ctx context.Context, user, id string, claim int64, pause time.Duration, counts bool) error {
	uncounted := 1
	if counts {
		uncounted = 0
	}
	return s.changed(ctx, "put a job back",
		`UPDATE ai_jobs SET status = 'queued', tries = tries - $5, due_at = $4
		 WHERE user_id = $1 AND job_id = $2 AND claims = $3 AND status = 'running'`,
		user, id, claim, s.now().Add(pause).UnixMicro(), uncounted)
}

// fail ends a claimed job without a result.
func (s *store) fail(ctx context.Context, user, id string, claim int64, status, reason string) error {
	return s.changed(ctx, "end a job",
		`UPDATE ai_jobs SET status = $4, reason = $5, job_grant = NULL, ended_at = $6
		 WHERE user_id = $1 AND job_id = $2 AND claims = $3 AND status = 'running'`,
		user, id, claim, status, reason, s.now().UnixMicro())
}

// tried reports how often a job was tried.
func (s *store) tried(ctx context.Context, user, id string) (tries int, err error) {
	err = s.db.QueryRowContext(ctx, `SELECT tries FROM ai_jobs WHERE user_id = $1 AND job_id = $2`, user, id).Scan(&tries)
	return tries, inDB("read a job", err)
}

// finish stores the result of a job of this user. The first one stands: of two deliveries one has an effect.
func (s *store) finish(ctx context.Context, user, id string, result json.RawMessage) (job, error) {
	_, err := s.db.ExecContext(ctx,
		`UPDATE ai_jobs SET status = 'done', result = $3, job_grant = NULL, ended_at = $4 WHERE user_id = $1 AND job_id = $2 AND `+isOpen,
		user, id, string(result), s.now().UnixMicro())
	if err != nil {
		return job{}, inDB("finish a job", err)
	}
	j, err := s.job(ctx, user, id)
	if err == nil && j.Status != statusDone {
		return job{}, errOver
	}
	return j, err
}

// changed runs an update of a claimed job, which changes nothing when the claim is another's by now.
func (s *store) changed(ctx context.Context, doing, update string, args ...any) error {
	done, err := s.db.ExecContext(ctx, update, args...)
	if err != nil {
		return inDB(doing, err)
	}
	if n, err := done.RowsAffected(); err != nil || n > 0 {
		return inDB(doing, err)
	}
	return errLost
}

// unoffered returns jobs that are due and not known to be on the queue since.
func (s *store) unoffered(ctx context.Context, limit int) ([]queue.Message, error) {
	return s.messages(ctx, `SELECT user_id, job_id FROM ai_jobs
		WHERE `+isOpen+` AND offered_at < due_at AND sealed_grant IS NOT NULL AND due_at <= $1 ORDER BY due_at LIMIT $2`,
		s.now().UnixMicro(), limit)
}

// waiting returns the due jobs behind another one, in the order of their keys, whether they were offered or not.
func (s *store) waiting(ctx context.Context, after queue.Message, limit int) ([]queue.Message, error) {
	return s.messages(ctx, `SELECT user_id, job_id FROM ai_jobs
		WHERE `+isOpen+` AND sealed_grant IS NOT NULL AND due_at <= $1 AND (user_id, job_id) > ($2, $3) ORDER BY user_id, job_id LIMIT $4`,
		s.now().UnixMicro(), after.UserID, after.JobID, limit)
}

func (s *store) messages(ctx context.Context, query string, args ...any) (all []queue.Message, err error) {
	rows, err := s.db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, inDB("look for jobs", err)
	}
	defer rows.Close()
	for rows.Next() {
		var m queue.Message
		if err := rows.Scan(&m.UserID, &m.JobID); err != nil {
			return nil, inDB("look for jobs", err)
		}
		all = append(all, m)
	}
	return all, inDB("look for jobs", rows.Err())
}

// offered notes that the queue had these jobs at that time. One that was claimed meanwhile is due later than that.
func (s *store) offered(ctx context.Context, at time.Time, jobs []queue.Message) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return inDB("note offers", err)
	}
	defer func() { _ = tx.Rollback() }() // after a commit it does nothing
	for _, m := range jobs {
		_, err := tx.ExecContext(ctx, `UPDATE ai_jobs SET offered_at = $3 WHERE user_id = $1 AND job_id = $2`, m.UserID, m.JobID, at.UnixMicro())
		if err != nil {
			return inDB("note offers", err)
		}
	}
	return inDB("note offers", tx.Commit())
}
