-- The last event that a database which has lost commits still held, so that what was announced later is told by its number:
-- the database's clock may have been set back since. Older programs ignore it.

-- +goose Up

-- Epoch and seq; '' and 0: none is known. They mean something while import_from isn't 0.
ALTER TABLE feed_state ADD COLUMN import_epoch TEXT NOT NULL DEFAULT '';
ALTER TABLE feed_state ADD COLUMN import_seq BIGINT NOT NULL DEFAULT 0;

-- +goose Down
SELECT 1;
