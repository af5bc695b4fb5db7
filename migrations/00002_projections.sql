-- +goose Up
-- What keeps the read models. Their own tables are made by projections/runner, one for each generation:
-- <name>_v<revision>_g<generation>. docs/adr/0030 says why it looks like this.

-- Which generation is live. Whoever changes a read model's tables or checkpoints holds its row's lock.
CREATE TABLE projection_pointers (
  name text COLLATE "C" NOT NULL,
  revision integer NOT NULL,
  -- generation answers questions, previous is the one before it; null for none.
  generation bigint,
  previous bigint,
  -- last_generation is the last number given out; no number is used twice.
  last_generation bigint NOT NULL DEFAULT 0,
  -- owner is the runner that keeps it: the last one that started.
  owner uuid,
  -- stopped is why nobody keeps it; '' when somebody may.
  stopped text NOT NULL DEFAULT '',
  PRIMARY KEY (name, revision)
);

-- How far each generation got, and whether it was ever complete.
CREATE TABLE projection_checkpoints (
  name text COLLATE "C" NOT NULL,
  revision integer NOT NULL,
  generation bigint NOT NULL,
  position bigint NOT NULL,
  -- epoch is that of the event at the position.
  epoch bigint NOT NULL,
  complete boolean NOT NULL,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (name, revision, generation)
);

-- Streams that a read model does not follow for now, from an event on that it could not take. The events behind it are in
-- the log: those of the stream from that version on, up to the checkpoint.
CREATE TABLE projection_parked (
  name text COLLATE "C" NOT NULL,
  revision integer NOT NULL,
  generation bigint NOT NULL,
  stream text COLLATE "C" NOT NULL,
  position bigint NOT NULL,
  version bigint NOT NULL,
  event_name text COLLATE "C" NOT NULL,
  reason text NOT NULL,
  tries integer NOT NULL,
  parked_at timestamptz NOT NULL,
  -- retry_at is when it is tried again by itself; null for only when asked to.
  retry_at timestamptz,
  PRIMARY KEY (name, revision, generation, stream)
);

-- Events that an operator gave up on for a read model. A rebuild leaves them out if it cannot take them either.
CREATE TABLE projection_skips (
  name text COLLATE "C" NOT NULL,
  revision integer NOT NULL,
  position bigint NOT NULL,
  reason text NOT NULL,
  skipped_at timestamptz NOT NULL,
  PRIMARY KEY (name, revision, position)
);

-- Builds under way. The row of a process that died is removed by the next one that builds or starts.
CREATE TABLE projection_rebuilds (
  name text COLLATE "C" NOT NULL,
  revision integer NOT NULL,
  generation bigint NOT NULL,
  done bigint NOT NULL,
  total bigint NOT NULL,
  started_at timestamptz NOT NULL,
  PRIMARY KEY (name, revision)
);

-- +goose Down
DROP TABLE projection_rebuilds, projection_skips, projection_parked, projection_checkpoints, projection_pointers;
