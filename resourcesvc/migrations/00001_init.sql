-- +goose Up
-- Portable DDL: SQLite and PostgreSQL both take it as it is. Times are UTC microseconds.
CREATE TABLE cars (
    id         TEXT   PRIMARY KEY,
    owner      TEXT   NOT NULL,
    make       TEXT   NOT NULL,
    model      TEXT   NOT NULL,
    year       BIGINT,
    price      BIGINT NOT NULL, -- hundredths
    created_at BIGINT NOT NULL,
    sold_at    BIGINT
);

-- The user is part of the key: a job id means nothing outside of its tenant.
CREATE TABLE ai_jobs (
    user_id    TEXT   NOT NULL,
    job_id     TEXT   NOT NULL,
    status     TEXT   NOT NULL,
    payload    TEXT   NOT NULL, -- JSON as the user sent it
    result     TEXT,            -- JSON
    created_at BIGINT NOT NULL,
    PRIMARY KEY (user_id, job_id)
);
