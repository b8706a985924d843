-- Indexes for what is asked often, or while others wait. Programs of version 1 go on working beside them. While
-- PostgreSQL builds them, writers of that table wait; SQLite has no writers besides.

-- +goose Up

-- What a session died of by itself, for pruning: the expression of deadSince.
CREATE INDEX sessions_dead ON sessions ((CASE WHEN ended_at < idle_expires_at THEN ended_at ELSE idle_expires_at END));
-- The sessions of a user that may live, for lists and for the bound on their number.
CREATE INDEX sessions_living ON sessions (user_id, id) WHERE ended_at IS NULL;
-- The newest use, which a revocation of everything asks for while nobody can log in.
CREATE INDEX sessions_used ON sessions (last_used_at);
-- Keys that have died, for pruning.
CREATE INDEX api_keys_ends ON api_keys (not_after) WHERE not_after IS NOT NULL;
-- The admins, whom every change of a user locks.
CREATE INDEX users_admins ON users (id) WHERE roles LIKE '%"admin"%';

-- +goose Down
SELECT 1;
