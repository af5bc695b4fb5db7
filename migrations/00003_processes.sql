-- +goose Up
-- Who drives. One row per incarnation of a process, kept alive by the database's clock. These rows are not history: what a
-- process did is in the log.
CREATE TABLE processes (
  id uuid PRIMARY KEY,
  node_id uuid NOT NULL,
  hostname text NOT NULL,
  pid integer NOT NULL,
  version text NOT NULL,
  -- role is serve, worker or api; serves are the drivers that it has; draining: it wants to go; address: where others reach it.
  role text NOT NULL,
  serves text[] NOT NULL,
  draining boolean NOT NULL,
  address text NOT NULL,
  -- clock_jump is by how much the database's clock jumped that the process does not trust since then; null while it does.
  clock_jump interval,
  started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  alive_until timestamptz NOT NULL
);
CREATE INDEX processes_node ON processes (node_id);

-- Who has which part of the work. An owner lives as long as its row in processes says so. The append functions look at the
-- epoch under their lock, and who raises it holds that lock. Its upper half is the epoch of the log that change_log began, 0 for
-- the first, so that no number comes again in a log that was set back.
CREATE TABLE partitions (
  partition integer PRIMARY KEY,
  process_id uuid,
  epoch bigint NOT NULL DEFAULT 0
);
INSERT INTO partitions (partition) SELECT generate_series(0, 63);

-- +goose Down
DROP TABLE partitions;
DROP TABLE processes;
