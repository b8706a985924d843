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
  test     BOOLEAN NOT NULL, -- test traffic is counted apart
  term     BIGINT NOT NULL, -- when the present term began
  holders  BIGINT NOT NULL, -- how many instances hold an allowance in it
  counted  BIGINT NOT NULL, -- the latest time that was counted at
  windows  TEXT NOT NULL,   -- JSON: [{seconds, start, since, used, by}]
  ends_at  BIGINT NOT NULL, -- of the last window
  PRIMARY KEY (user_id, resource, test)
);
CREATE INDEX quota_accounts_ends ON quota_accounts (ends_at);

-- What one instance of a service has told and been allowed. Written under the lock of the account.
CREATE TABLE quota_holders (
  user_id      TEXT NOT NULL,
  resource     TEXT NOT NULL,
  test         BOOLEAN NOT NULL,
  service      TEXT NOT NULL,
  start_nonce  TEXT NOT NULL,
  seq          BIGINT NOT NULL,
  term         BIGINT NOT NULL,
  spent        BIGINT NOT NULL,
  held         BIGINT NOT NULL, -- what it may spend besides
  met          BOOLEAN NOT NULL, -- the instance has shown that it knows the term
  before_term  BIGINT NOT NULL, -- the term before, while the instance may still go by it
  before_spent BIGINT NOT NULL,
  before_held  BIGINT NOT NULL,
  asked_at     BIGINT NOT NULL,
  PRIMARY KEY (user_id, resource, test, service, start_nonce)
);
CREATE INDEX quota_holders_asked ON quota_holders (asked_at);

-- +goose Down
SELECT 1;
