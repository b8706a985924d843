-- +goose Up
-- A job is open while it is queued or running. Times are UTC microseconds.
ALTER TABLE ai_jobs ADD COLUMN job_grant  TEXT;                       -- a secret; gone when the job is over
ALTER TABLE ai_jobs ADD COLUMN reason     TEXT;                       -- why it failed or was refused
ALTER TABLE ai_jobs ADD COLUMN tries      BIGINT NOT NULL DEFAULT 0;  -- those that counted
ALTER TABLE ai_jobs ADD COLUMN claims     BIGINT NOT NULL DEFAULT 0;  -- names the last one: an earlier worker has lost the job
ALTER TABLE ai_jobs ADD COLUMN due_at     BIGINT NOT NULL DEFAULT 0;  -- nobody may claim it before: the lease of a running job, the pause before another try
ALTER TABLE ai_jobs ADD COLUMN offered_at BIGINT NOT NULL DEFAULT -1; -- when it was last known to be on the queue
ALTER TABLE ai_jobs ADD COLUMN ended_at   BIGINT;

-- What is to be put on the queue; what a user's own worker may claim; what an operator looks for.
CREATE INDEX ai_jobs_unoffered ON ai_jobs (due_at) WHERE status IN ('queued', 'running') AND offered_at < due_at AND job_grant IS NOT NULL;
CREATE INDEX ai_jobs_open ON ai_jobs (user_id, job_id) WHERE status IN ('queued', 'running');
CREATE INDEX ai_jobs_ended ON ai_jobs (status, ended_at) WHERE ended_at IS NOT NULL;
