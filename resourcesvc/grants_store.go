package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tocsin-auth/tocsin/resourcesvc/internal/queue"
	"github.com/tocsin-auth/tocsin/resourcesvc/internal/seal"
)

// errGrantsKey means that grants in this database are sealed under a key that this process doesn't have: its configuration is wrong,
// and no job is.
var errGrantsKey = errors.New("TOCSIN_GRANTS_KEY lacks the key under which job grants in this database are sealed")

// hasGrantsKey reports whether a key was ever used here, so that no other may be made.
func (s *store) hasGrantsKey(ctx context.Context) (has bool, err error) {
	err = s.db.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM grants_key)`).Scan(&has)
	return has, inDB("look for the key of grants", err)
}

// useKeys makes the store seal grants. Replicas have to have each other's keys: the error is [errGrantsKey] when this one doesn't.
func (s *store) useKeys(ctx context.Context, keys seal.Keys) error {
	if err := s.noteKey(ctx, keys.IDs()); err != nil {
		return err
	}
	if err := s.checkSealed(ctx, keys); err != nil {
		return err
	}
	s.keys = keys
	return nil
}

// noteKey puts the first key down as the one that all must have, in place of one that is among them, or of none.
func (s *store) noteKey(ctx context.Context, ids []string) error {
	for _, id := range ids {
		done, err := s.db.ExecContext(ctx, `UPDATE grants_key SET key_id = $1 WHERE key_id = $2`, ids[0], id)
		if err != nil {
			return inDB("note the key of grants", err)
		}
		if n, err := done.RowsAffected(); err != nil || n > 0 {
			return inDB("note the key of grants", err)
		}
	}
	done, err := s.db.ExecContext(ctx, `INSERT INTO grants_key (one, key_id) VALUES (1, $1) ON CONFLICT DO NOTHING`, ids[0])
	if err != nil {
		return inDB("note the key of grants", err)
	}
	if n, err := done.RowsAffected(); err != nil || n > 0 {
		return inDB("note the key of grants", err)
	}
	return errGrantsKey // another replica's, also of one that came first just now
}

// checkSealed looks for jobs that nobody could do any more, or whose grants nobody could spend, because a key was left out too early.
func (s *store) checkSealed(ctx context.Context, keys seal.Keys) error {
	missing := `SELECT count(*) FROM ai_jobs WHERE sealed_grant IS NOT NULL`
	args := []any{}
	for i, id := range keys.IDs() {
		missing += fmt.Sprintf(` AND grant_key <> $%d`, i+1)
		args = append(args, id)
	}
	var n int
	if err := s.db.QueryRowContext(ctx, missing, args...).Scan(&n); err != nil {
		return inDB("look for sealed grants", err)
	}
	if n > 0 {
		return fmt.Errorf("%w: those of %d jobs", errGrantsKey, n)
	}
	return nil
}

// sealGrants seals grants that an earlier release has left, or leaves while it is being replaced.
func (s *store) sealGrants(ctx context.Context) error {
	for {
		if n, err := s.sealUpTo(ctx, sealAtOnce); err != nil || n < sealAtOnce {
			return err
		}
	}
}

const sealAtOnce = 256

// sealUpTo is sealGrants for some, and reports how many there were.
func (s *store) sealUpTo(ctx context.Context, limit int) (n int, err error) {
	rows, err := s.db.QueryContext(ctx, `SELECT user_id, job_id, job_grant FROM ai_jobs WHERE job_grant IS NOT NULL LIMIT $1`, limit)
	if err != nil {
		return 0, inDB("look for grants", err)
	}
	defer rows.Close()
	plain := map[queue.Message]string{}
	for rows.Next() {
		var of queue.Message
		var grant string
		if err := rows.Scan(&of.UserID, &of.JobID, &grant); err != nil {
			return 0, inDB("look for grants", err)
		}
		plain[of] = grant
	}
	if err := rows.Err(); err != nil {
		return 0, inDB("look for grants", err)
	}
	for of, grant := range plain {
		if err := s.sealOne(ctx, of, grant); err != nil {
			return 0, err
		}
	}
	return len(plain), nil
}

// sealOne changes nothing when the job is over by now.
func (s *store) sealOne(ctx context.Context, of queue.Message, grant string) error {
	sealed, err := s.keys.Seal(of.UserID, of.JobID, grant)
	if err != nil {
		return err
	}
	_, err = s.db.ExecContext(ctx,
		`UPDATE ai_jobs SET sealed_grant = $3, grant_key = $4, job_grant = NULL WHERE user_id = $1 AND job_id = $2 AND job_grant IS NOT NULL`,
		of.UserID, of.JobID, sealed.Text, sealed.KeyID)
	return inDB("seal a grant", err)
}

// leftGrant is that of a job that is over.
type leftGrant struct {
	job     queue.Message
	sealed  seal.Grant
	endedAt time.Time
}

// isOver is the condition of a job that isn't open; the index of grants that are left has it word by word.
const isOver = `status NOT IN ('queued', 'running')`

// leftGrants returns those that have to be spent, of the jobs that ended first.
func (s *store) leftGrants(ctx context.Context, limit int) (all []leftGrant, err error) {
	rows, err := s.db.QueryContext(ctx, `SELECT user_id, job_id, sealed_grant, grant_key, COALESCE(ended_at, 0) FROM ai_jobs
		WHERE `+isOver+` AND sealed_grant IS NOT NULL ORDER BY ended_at LIMIT $1`, limit)
	if err != nil {
		return nil, inDB("look for grants", err)
	}
	defer rows.Close()
	for rows.Next() {
		var g leftGrant
		var ended int64
		if err := rows.Scan(&g.job.UserID, &g.job.JobID, &g.sealed.Text, &g.sealed.KeyID, &ended); err != nil {
			return nil, inDB("look for grants", err)
		}
		g.endedAt = fromMicros(ended)
		all = append(all, g)
	}
	return all, inDB("look for grants", rows.Err())
}

// forgetGrants deletes grants that were spent.
func (s *store) forgetGrants(ctx context.Context, left []leftGrant) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return inDB("forget grants", err)
	}
	defer func() { _ = tx.Rollback() }() // after a commit it does nothing
	for _, g := range left {
		_, err := tx.ExecContext(ctx, `UPDATE ai_jobs SET sealed_grant = NULL, grant_key = NULL WHERE user_id = $1 AND job_id = $2 AND `+isOver,
			g.job.UserID, g.job.JobID)
		if err != nil {
			return inDB("forget grants", err)
		}
	}
	return inDB("forget grants", tx.Commit())
}

// forgetOldGrants deletes the grants of jobs that ended before a time.
func (s *store) forgetOldGrants(ctx context.Context, before time.Time) error {
	_, err := s.db.ExecContext(ctx, `UPDATE ai_jobs SET sealed_grant = NULL, grant_key = NULL
		WHERE `+isOver+` AND sealed_grant IS NOT NULL AND ended_at < $1`, before.UnixMicro())
	return inDB("forget grants", err)
}
