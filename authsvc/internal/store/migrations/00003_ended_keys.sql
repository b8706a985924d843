-- A key that was ended at once is dead for good, whatever becomes of the clock; not_after says when that was. Programs of
-- version 1 go on working: what they end is dead by not_after alone.

-- +goose Up

ALTER TABLE api_keys ADD COLUMN ended BOOLEAN NOT NULL DEFAULT FALSE;

-- +goose Down
SELECT 1;
