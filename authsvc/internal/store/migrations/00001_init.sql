-- One set of statements for both engines: every type name below means the same to PostgreSQL and SQLite.
-- Ids are UUIDv7 text; times are UTC microseconds of the database's clock unless a comment says otherwise;
-- roles, scopes, amr and detail are JSON text.

-- +goose Up

-- The oldest program that may use this database; a migration that older programs can't live with raises it.
CREATE TABLE compatibility (
  id          INTEGER PRIMARY KEY CHECK (id = 1),
  min_version BIGINT NOT NULL
);
INSERT INTO compatibility (id, min_version) VALUES (1, 1);

-- Bounds that every issuing transaction reads under a share lock, and that revocations raise.
CREATE TABLE authority (
  id              INTEGER PRIMARY KEY CHECK (id = 1),
  tokens_before   BIGINT NOT NULL, -- milliseconds: sessions and tokens with an older id are dead
  keys_before     BIGINT NOT NULL, -- milliseconds: the same for API keys
  key_set_version BIGINT NOT NULL, -- raised by every change of signing_keys
  max_access_ttl  BIGINT NOT NULL, -- greatest access-token life any replica ever issued with
  exp_ceiling     BIGINT NOT NULL  -- at least the greatest exp ever issued
);
INSERT INTO authority (id, tokens_before, keys_before, key_set_version, max_access_ttl, exp_ceiling)
VALUES (1, 0, 0, 0, 0, 0);

CREATE TABLE users (
  id            TEXT PRIMARY KEY,
  username      TEXT NOT NULL UNIQUE,
  email         TEXT,
  password_hash TEXT NOT NULL,
  roles         TEXT NOT NULL,
  plan          TEXT NOT NULL,
  disabled      BOOLEAN NOT NULL,
  tv            BIGINT NOT NULL, -- tokens and sessions with a lower one are dead
  keys_tv       BIGINT NOT NULL, -- API keys created under a lower tv are dead
  rv            BIGINT NOT NULL, -- version of roles, plan and disabled
  created_at    BIGINT NOT NULL
);

CREATE TABLE sessions (
  id              TEXT PRIMARY KEY,
  user_id         TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
  mode            TEXT NOT NULL,
  amr             TEXT NOT NULL,
  auth_time       BIGINT NOT NULL,
  tv              BIGINT NOT NULL,
  created_at      BIGINT NOT NULL,
  last_used_at    BIGINT NOT NULL,
  expires_at      BIGINT NOT NULL, -- absolute limit
  idle_expires_at BIGINT NOT NULL,
  ip              TEXT NOT NULL,
  user_agent      TEXT NOT NULL,
  ended_at        BIGINT
);
CREATE INDEX sessions_user ON sessions (user_id);

-- Every refresh token of a session's family stays until the session goes, so that reuse is recognised.
CREATE TABLE refresh_tokens (
  hash       BYTEA PRIMARY KEY, -- SHA-256 of the token
  session_id TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
  generation BIGINT NOT NULL,
  created_at BIGINT NOT NULL,
  used_at    BIGINT,
  UNIQUE (session_id, generation)
);

CREATE TABLE api_keys (
  id                TEXT PRIMARY KEY,
  user_id           TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
  name              TEXT NOT NULL,
  mode              TEXT NOT NULL,
  hash              BYTEA NOT NULL UNIQUE, -- SHA-256 of the whole key
  prefix            TEXT NOT NULL,         -- what lists show
  scopes            TEXT NOT NULL,
  tv                BIGINT NOT NULL,       -- the user's tv at creation
  kv                BIGINT NOT NULL,       -- version of suspended
  suspended         BOOLEAN NOT NULL,
  not_after         BIGINT,
  successor         TEXT,
  created_at        BIGINT NOT NULL,
  created_by        TEXT NOT NULL,
  last_used_at      BIGINT,
  last_used_service TEXT
);
CREATE INDEX api_keys_user ON api_keys (user_id);

CREATE TABLE signing_keys (
  kid        TEXT PRIMARY KEY, -- RFC 7638 thumbprint
  purpose    TEXT NOT NULL,    -- token or feed
  alg        TEXT NOT NULL,
  public_jwk TEXT NOT NULL,
  sealed     BYTEA NOT NULL,   -- PKCS #8, encrypted
  created_at BIGINT NOT NULL,
  active_at  BIGINT NOT NULL,  -- signs from then on; published before
  retire_at  BIGINT            -- leaves the set then
);
-- kids that never come back.
CREATE TABLE retired_kids (
  kid        TEXT PRIMARY KEY,
  retired_at BIGINT NOT NULL
);
CREATE TABLE secrets (
  name   TEXT PRIMARY KEY,
  sealed BYTEA NOT NULL
);

-- The outbox and the feed's history. A writer inserts id, created_at, type, payload, target, actor, reason in the
-- transaction of the change itself; the dispatcher alone fills the rest.
CREATE TABLE events (
  id           TEXT PRIMARY KEY,
  created_at   BIGINT NOT NULL,
  type         TEXT NOT NULL,
  payload      TEXT NOT NULL, -- the type's own fields
  target       TEXT NOT NULL, -- selector:id, as in user:<id>, session:<id>, jti:<id>, key:<id>, before:, keys:
  actor        TEXT NOT NULL,
  reason       TEXT NOT NULL,
  epoch        TEXT,
  seq          BIGINT,
  at           BIGINT,
  until        BIGINT,
  body         BYTEA,  -- the event's final bytes
  chain        BYTEA,  -- chain(seq)
  published_at BIGINT, -- core flushed and PubAck received
  UNIQUE (epoch, seq)
);
CREATE INDEX events_unnumbered ON events (id) WHERE seq IS NULL;
CREATE INDEX events_unpublished ON events (epoch, seq) WHERE published_at IS NULL AND seq IS NOT NULL;
CREATE INDEX events_target ON events (target);
CREATE INDEX events_until ON events (epoch, until);

-- One row, made by the first dispatcher; locking it is holding the pen.
CREATE TABLE feed_state (
  id          INTEGER PRIMARY KEY CHECK (id = 1),
  issuer      TEXT NOT NULL,
  epoch       TEXT NOT NULL,
  head        BIGINT NOT NULL,
  chain       BYTEA NOT NULL,
  floor       BIGINT NOT NULL,
  holder      TEXT NOT NULL,
  term        BIGINT NOT NULL,
  lease_until BIGINT NOT NULL,
  max_bound   BIGINT NOT NULL -- largest b that a proof was ever answered for
);

CREATE TABLE services (
  name       TEXT PRIMARY KEY,
  nkey       TEXT NOT NULL, -- public user NKey
  created_at BIGINT NOT NULL
);

CREATE TABLE audit (
  id     TEXT PRIMARY KEY,
  at     BIGINT NOT NULL,
  actor  TEXT NOT NULL, -- user id, or system, or cli
  action TEXT NOT NULL,
  target TEXT NOT NULL,
  ip     TEXT NOT NULL,
  detail TEXT NOT NULL
);

-- +goose Down
SELECT 1;
