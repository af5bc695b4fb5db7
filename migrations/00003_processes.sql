-- +goose Up
-- Who drives. One row per incarnation of a process, kept alive by the database's clock. These rows are not history: what a
-- process did is in the log.
CREATE TABLE processes (
  id uuid PRIMARY KEY,
  node_id uuid NOT NULL,
  hostname text NOT NULL,
  pid integer NOT NULL,
  version text NOT NULL,
  started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  alive_until timestamptz NOT NULL
);
CREATE INDEX processes_node ON processes (node_id);

-- +goose Down
DROP TABLE processes;
