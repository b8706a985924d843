-- Plans, and what users have spent of them. Older programs work beside these tables, and neither read nor write them.

-- +goose Up

CREATE TABLE plans (
  name   TEXT PRIMARY KEY,
  limits TEXT NOT NULL -- JSON: [{resource, limit, seconds}]
);

-- What a user has spent of a resource: the row whose lock orders everything about both.
CREATE TABLE quota_accounts (
  user_id  TEXT NOT NULL, -- without a reference: counting waits for no change of a user, nor the reverse
  resource TEXT NOT NULL,
  term     BIGINT NOT NULL, -- the end of the present term
  holders  BIGINT NOT NULL, -- how many instances hold an allowance in it
  counted  BIGINT NOT NULL, -- the latest time that was counted at
  windows  TEXT NOT NULL,   -- JSON: [{seconds, start, used, by}]
  ends_at  BIGINT NOT NULL, -- of the last window
  PRIMARY KEY (user_id, resource)
);
CREATE INDEX quota_accounts_ends ON quota_accounts (ends_at);

-- What one instance of a service has told and been allowed. Written under the lock of the account.
CREATE TABLE quota_holders (
  user_id      TEXT NOT NULL,
  resource     TEXT NOT NULL,
  holder       TEXT NOT NULL, -- service/start_nonce
  seq          BIGINT NOT NULL,
  term         BIGINT NOT NULL,
  spent        BIGINT NOT NULL,
  allowed      BIGINT NOT NULL, -- at least spent: what is counted
  met          BOOLEAN NOT NULL, -- the instance has shown that it knows the term
  before_term  BIGINT NOT NULL, -- the term before, while the instance may still go by it
  before_spent BIGINT NOT NULL,
  before_held  BIGINT NOT NULL,
  ends_at      BIGINT NOT NULL,
  PRIMARY KEY (user_id, resource, holder)
);
CREATE INDEX quota_holders_ends ON quota_holders (ends_at);

-- +goose Down
SELECT 1;
