-- Rotation of feed keys: which key the stream can be read with, from floor to head. Until now there was one feed key ever.

-- +goose Up

ALTER TABLE feed_state ADD COLUMN stream_kid TEXT NOT NULL DEFAULT '';
UPDATE feed_state SET stream_kid =
  COALESCE((SELECT kid FROM signing_keys WHERE purpose = 'feed' ORDER BY active_at, kid LIMIT 1), '');

-- +goose Down
SELECT 1;
