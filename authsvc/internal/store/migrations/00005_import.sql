-- What a database that has lost commits has still to read from the stream. Older programs ignore it.

-- +goose Up

-- The database's time in microseconds from which the stream is to be read; 0: nothing is missing.
ALTER TABLE feed_state ADD COLUMN import_from BIGINT NOT NULL DEFAULT 0;

-- +goose Down
SELECT 1;
