-- +goose Up
-- The keys that values beside the log are sealed with: their ids, and a check value by which a process finds out at its
-- start whether the key that it has by this id is the same. The keys themselves are never here.
CREATE TABLE vault_keys (
  id bigint PRIMARY KEY,
  check_value bytea NOT NULL,
  -- host is the machine that brought the key in, for people.
  host text NOT NULL,
  added_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  -- destroyed_at is when nothing was sealed with it any more and it was given up; nobody needs it since.
  destroyed_at timestamptz
);

-- +goose Down
DROP TABLE vault_keys;
