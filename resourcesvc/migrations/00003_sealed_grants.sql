-- +goose Up
-- job_grant is where earlier releases keep a grant, as it is. What they have left there is sealed.
ALTER TABLE ai_jobs ADD COLUMN sealed_grant TEXT; -- base64; bound to the row's tenant and job
ALTER TABLE ai_jobs ADD COLUMN grant_key    TEXT; -- the id of the key that opens it

-- The key that all replicas have. One row.
CREATE TABLE grants_key (
    one    BIGINT PRIMARY KEY CHECK (one = 1),
    key_id TEXT   NOT NULL
);

-- What is to be put on the queue; what is to be sealed; the grants of jobs that are over.
CREATE INDEX ai_jobs_to_offer ON ai_jobs (due_at) WHERE status IN ('queued', 'running') AND offered_at < due_at AND sealed_grant IS NOT NULL;
CREATE INDEX ai_jobs_unsealed ON ai_jobs (user_id, job_id) WHERE job_grant IS NOT NULL;
CREATE INDEX ai_jobs_left_grants ON ai_jobs (ended_at) WHERE status NOT IN ('queued', 'running') AND sealed_grant IS NOT NULL;
