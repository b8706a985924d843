-- A key that an admin has suspended is held: its owner can't resume it. Older programs go on beside this one: what they suspend
-- is the owner's to resume, whoever did it, as it was with them; what is held they can't resume at all, since the check fails.

-- +goose Up

-- Before the table of keys is locked: the audit log may be long, and revocations wait for that lock.
CREATE TABLE suspensions AS
  SELECT target, max(id) AS id FROM audit WHERE action = 'api_key.suspended' GROUP BY target;

ALTER TABLE api_keys ADD COLUMN held BOOLEAN NOT NULL DEFAULT FALSE
  CONSTRAINT api_keys_held CHECK (suspended OR NOT held);

-- Held is what somebody else than its owner suspended last, and an admin alone could. What the log doesn't know is the owner's.
UPDATE api_keys SET held = TRUE WHERE suspended AND EXISTS (
  SELECT 1 FROM suspensions JOIN audit ON audit.id = suspensions.id
  WHERE suspensions.target = 'key:' || api_keys.id AND audit.actor <> api_keys.user_id);

DROP TABLE suspensions;

-- +goose Down
SELECT 1;
