-- Job grants for which nothing is exchanged any more. Older programs work beside this table, and neither read nor write it.

-- +goose Up

CREATE TABLE spent_grants (
  jti     TEXT PRIMARY KEY,
  ends_at BIGINT NOT NULL -- when the grant ends by itself, microseconds
);
CREATE INDEX spent_grants_end ON spent_grants (ends_at);

-- +goose Down
SELECT 1;
