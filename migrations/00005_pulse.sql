-- +goose Up
-- When renewals were last known to be possible: one row, which every process that serves the API writes once a second. It
-- is not history: a gap in it becomes an event, and gaps is the version of that stream as of the last one. There is no beat
-- before the first such process.
CREATE TABLE pulse (
  one_row boolean PRIMARY KEY DEFAULT true CHECK (one_row),
  beat_at timestamptz,
  gaps bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 10);
INSERT INTO pulse DEFAULT VALUES;

-- +goose Down
DROP TABLE pulse;
