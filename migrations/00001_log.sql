-- +goose Up
-- The log, and what is written in the same transaction as its events. docs/adr/0002 says why it looks like this.

CREATE TABLE log (
  one_row boolean PRIMARY KEY DEFAULT true CHECK (one_row),
  -- installation is written on every runtime, so that two logs never destroy each other's.
  installation uuid NOT NULL DEFAULT gen_random_uuid(),
  epoch bigint NOT NULL DEFAULT 1,
  -- forked is since a LogForked until a LogAdopted: appends that announce a driver's work are refused. docs/adr/0017.
  forked boolean NOT NULL DEFAULT false,
  -- Where the log was when its epoch began, as log_place tells; a part is null where the server does not tell it.
  system text,
  timeline text COLLATE "C",
  database text,
  birth text,
  port text,
  address text
);
INSERT INTO log DEFAULT VALUES;

CREATE TABLE events (
  position bigint PRIMARY KEY,
  epoch bigint NOT NULL,
  stream text COLLATE "C" NOT NULL,
  version bigint NOT NULL,
  name text COLLATE "C" NOT NULL,
  revision integer NOT NULL,
  company_id uuid NOT NULL,
  company_position bigint NOT NULL,
  recorded_at timestamptz NOT NULL,
  append_id uuid NOT NULL,
  append_index integer NOT NULL,
  actor_id uuid NOT NULL,
  key_id uuid NOT NULL,
  request_id uuid NOT NULL,
  cause_id uuid NOT NULL,
  -- payload and salt are null once erased; the commitment stays and every chain still holds.
  payload bytea,
  salt bytea,
  commitment bytea NOT NULL,
  prev_hash bytea NOT NULL,
  hash bytea NOT NULL
);
CREATE UNIQUE INDEX events_stream ON events (stream, version);
CREATE UNIQUE INDEX events_company ON events (company_id, company_position);
CREATE UNIQUE INDEX events_append ON events (append_id) WHERE append_index = 0;

-- Accepted commands of clients. scope is a hash over company, route and Idempotency-Key.
CREATE TABLE commands (
  scope bytea PRIMARY KEY,
  request_hash bytea NOT NULL,
  resource_id uuid NOT NULL,
  position bigint NOT NULL,
  recorded_at timestamptz NOT NULL
);
-- They are written in the order of their time, so an index of ranges finds the old ones and costs an append nothing.
CREATE INDEX commands_recorded_at ON commands USING brin (recorded_at);

-- Values that are needed later but must never be in the log.
CREATE TABLE inputs (
  id uuid PRIMARY KEY,
  company_id uuid NOT NULL,
  subject text COLLATE "C" NOT NULL,
  value bytea NOT NULL
);

-- How far the consumers of the log got. A consumer may read again what it had read before.
CREATE TABLE consumer_offsets (
  consumer_group text PRIMARY KEY,
  position bigint NOT NULL
);

-- +goose StatementBegin
CREATE FUNCTION append_lock_key() RETURNS bigint
LANGUAGE sql STABLE
SET search_path FROM CURRENT
AS $$ SELECT hashtextextended('tenure append ' || current_schema(), 0) $$;
-- +goose StatementEnd

-- log_place tells where the log is, by what a copy of it has otherwise. system, timeline and database are the server's own.
-- birth is when the file PG_VERSION of the cluster came to where it is: a copy has its own, a restart and a move do not
-- change it; it takes a superuser or EXECUTE on pg_stat_file(text). A part that this server does not tell is null.
-- +goose StatementBegin
CREATE FUNCTION log_place(
  OUT system text, OUT timeline text, OUT database text, OUT birth text, OUT port text, OUT address text
)
LANGUAGE plpgsql STABLE
AS $$
BEGIN
  BEGIN
    system := (SELECT c.system_identifier::text FROM pg_control_system() c);
  EXCEPTION WHEN OTHERS THEN NULL;
  END;
  BEGIN
    timeline := left(pg_walfile_name(pg_current_wal_lsn()), 8);
  EXCEPTION WHEN OTHERS THEN NULL;
  END;
  database := (SELECT d.oid::text FROM pg_database d WHERE d.datname = current_database());
  BEGIN
    IF has_function_privilege('pg_stat_file(text)', 'execute') THEN
      birth := (SELECT to_char(f.change AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') FROM pg_stat_file('PG_VERSION') f);
    END IF;
  EXCEPTION WHEN OTHERS THEN NULL;
  END;
  port := current_setting('port', true);
  address := CASE WHEN NOT inet_server_addr() <<= '127.0.0.0/8' AND inet_server_addr() <> '::1' THEN host(inet_server_addr()) END;
END;
$$;
-- +goose StatementEnd

-- append_events judges a batch of appends in order and writes those that hold. One call is one transaction, so no lock is
-- held across a round trip to the client.
--
-- Streams and companies are given once each (s_name, c_id) and named by their place (from 1) elsewhere. Expectations and
-- events are sorted by append. The answer has an element for each append; failed expectations are listed beside it.
-- Status: 0 done, 1 done before, 2 command done before, 3 command of another request, 4 too late, 5 another epoch,
-- 6 conflict, 7 the log is forked, 8 not the owner any more. Too late is by the clock itself and not by the log's time, which may
-- be ahead of it. An append is of another epoch also if the log is on another timeline than its epoch began on, or lacks the event
-- that the caller has seen (p_seen). It also tells where the head of the log was found and where it is left, and the heads of the streams and
-- companies of the call, for append_next.
-- +goose StatementBegin
CREATE FUNCTION append_events(
  p_epoch bigint, p_seen bigint, p_seen_hash bytea,
  a_id uuid[], a_size integer[], a_not_after timestamptz[], a_drives boolean[],
  a_actor uuid[], a_key uuid[], a_request uuid[], a_cause uuid[],
  s_name text[], c_id uuid[],
  x_append integer[], x_stream integer[], x_expect bigint[], x_by uuid[],
  e_append integer[], e_stream integer[], e_company integer[], e_name text[], e_revision integer[],
  e_payload bytea[], e_salt bytea[], e_commitment bytea[],
  k_append integer[], k_scope bytea[], k_request bytea[], k_resource uuid[],
  i_append integer[], i_id uuid[], i_company uuid[], i_subject text[], i_value bytea[],
  d_append integer[], d_id uuid[],
  w_append integer[], w_partition integer[], w_epoch bigint[],
  OUT o_epoch bigint, OUT o_status integer[], OUT o_first bigint[], OUT o_recorded_at timestamptz[], OUT o_resource uuid[],
  OUT o_fail_append integer[], OUT o_fail_stream integer[], OUT o_fail_actual bigint[],
  OUT o_found bigint, OUT o_head bigint, OUT o_head_hash bytea, OUT o_head_at timestamptz,
  OUT s_version bigint[], OUT s_hash bytea[], OUT s_by uuid[], OUT c_position bigint[]
)
LANGUAGE plpgsql VOLATILE
SET search_path FROM CURRENT
-- A session keeps the plans of its first calls, made when the log may have been empty. They must be those of a long one:
-- one probe of an index for each thing that is looked up, whatever the planner takes the table for.
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
SET enable_material = off
-- What is turned off counts as endlessly dear where it cannot be avoided, and what is dear is compiled.
SET jit = off
SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
  n_appends CONSTANT integer := cardinality(a_id);
  n_expects CONSTANT integer := cardinality(x_append);
  n_events CONSTANT integer := cardinality(e_append);
  n_commands CONSTANT integer := cardinality(k_append);
  v_epoch bigint;
  v_forked boolean;
  v_other boolean;
  v_position bigint;
  v_now timestamptz;
  v_micros bytea;
  v_version bigint[];
  v_hash bytea[];
  v_by uuid[];
  v_cposition bigint[];
  v_known bigint[];
  v_known_at timestamptz[];
  v_cmd_request bytea[];
  v_cmd_resource uuid[];
  v_cmd_position bigint[];
  v_strangers integer[] := '{}';
  v_status integer[] := array_fill(0, ARRAY[n_appends]);
  v_first bigint[] := array_fill(0::bigint, ARRAY[n_appends]);
  v_resource uuid[] := array_fill(NULL::uuid, ARRAY[n_appends]);
  v_fail_append integer[] := '{}';
  v_fail_stream integer[] := '{}';
  v_fail_actual bigint[] := '{}';
  r_position bigint[] := array_fill(NULL::bigint, ARRAY[n_events]);
  r_version bigint[] := array_fill(NULL::bigint, ARRAY[n_events]);
  r_cposition bigint[] := array_fill(NULL::bigint, ARRAY[n_events]);
  r_index integer[] := array_fill(NULL::integer, ARRAY[n_events]);
  r_prev bytea[] := array_fill(NULL::bytea, ARRAY[n_events]);
  r_hash bytea[] := array_fill(NULL::bytea, ARRAY[n_events]);
  a integer;
  x integer := 1;
  e integer := 1;
  k integer := 1;
  j integer;
  s integer;
  c integer;
  i integer;
  ok boolean;
BEGIN
  IF current_setting('transaction_isolation') <> 'read committed' THEN
    RAISE EXCEPTION 'append_events needs READ COMMITTED, not %', current_setting('transaction_isolation')
      USING ERRCODE = '0A000', HINT = 'set default_transaction_isolation of the role back to read committed';
  END IF;
  -- An acknowledged append must survive a crash of the server, whatever the server's default is.
  IF current_setting('synchronous_commit') IN ('off', 'local', 'remote_write') THEN
    PERFORM set_config('synchronous_commit', 'on', true);
  END IF;

  -- The lock is a statement of its own: only the next statement's snapshot sees what its last holder wrote. Its key is
  -- append_lock_key(), spelled out: a call of that would cost as much as the insert of an event.
  PERFORM pg_advisory_xact_lock(hashtextextended('tenure append ' || current_schema(), 0));

  SELECT l.epoch, l.forked,
         p_epoch <> l.epoch
         OR CASE WHEN l.timeline IS NOT NULL THEN l.timeline <> left(pg_walfile_name(pg_current_wal_lsn()), 8) ELSE false END
         OR p_seen IS NOT NULL AND NOT EXISTS (SELECT FROM events e WHERE e.position = p_seen AND e.hash = p_seen_hash),
         coalesce(t.position, 0), greatest(clock_timestamp(), t.recorded_at), t.hash, t.recorded_at
    INTO STRICT v_epoch, v_forked, v_other, v_position, v_now, o_head_hash, o_head_at
    FROM log l
    LEFT JOIN LATERAL (SELECT t.position, t.recorded_at, t.hash FROM events t ORDER BY t.position DESC LIMIT 1) t ON true;
  o_found := v_position;
  v_micros := int8send((extract(epoch FROM v_now) * 1000000)::bigint);

  SELECT h.version, h.hash, h.by, c.position, k.position, k.recorded_at
    INTO v_version, v_hash, v_by, v_cposition, v_known, v_known_at
    FROM (
      SELECT array_agg(coalesce(h.version, 0) ORDER BY u.ord) AS version,
             array_agg(coalesce(h.hash, '\x0000000000000000000000000000000000000000000000000000000000000000') ORDER BY u.ord) AS hash,
             array_agg(h.append_id ORDER BY u.ord) AS by
        FROM unnest(s_name) WITH ORDINALITY u(name, ord)
        LEFT JOIN LATERAL (
          SELECT t.version, t.hash, t.append_id FROM events t WHERE t.stream = u.name ORDER BY t.version DESC LIMIT 1
        ) h ON true
    ) h, (
      SELECT array_agg(coalesce(h.company_position, 0) ORDER BY u.ord) AS position
        FROM unnest(c_id) WITH ORDINALITY u(id, ord)
        LEFT JOIN LATERAL (
          SELECT t.company_position FROM events t WHERE t.company_id = u.id ORDER BY t.company_position DESC LIMIT 1
        ) h ON true
    ) c, (
      SELECT array_agg(t.position ORDER BY u.ord) AS position, array_agg(t.recorded_at ORDER BY u.ord) AS recorded_at
        FROM unnest(a_id) WITH ORDINALITY u(id, ord)
        LEFT JOIN LATERAL (
          SELECT h.position, h.recorded_at FROM events h WHERE h.append_id = u.id AND h.append_index = 0 LIMIT 1
        ) t ON true
    ) k;
  IF n_commands > 0 THEN
    SELECT array_agg(t.request_hash ORDER BY u.ord), array_agg(t.resource_id ORDER BY u.ord), array_agg(t.position ORDER BY u.ord)
      INTO v_cmd_request, v_cmd_resource, v_cmd_position
      FROM unnest(k_scope) WITH ORDINALITY u(scope, ord)
      LEFT JOIN LATERAL (
        SELECT h.request_hash, h.resource_id, h.position FROM commands h WHERE h.scope = u.scope LIMIT 1
      ) t ON true;
  END IF;

  -- Who takes a partition holds the lock while it raises the epoch, so this is the last word.
  IF cardinality(w_append) > 0 THEN
    SELECT coalesce(array_agg(u.append), '{}') INTO v_strangers
      FROM unnest(w_append, w_partition, w_epoch) AS u(append, partition, epoch)
      LEFT JOIN LATERAL (SELECT h.epoch FROM partitions h WHERE h.partition = u.partition LIMIT 1) p ON true
     WHERE p.epoch IS DISTINCT FROM u.epoch;
  END IF;

  FOR a IN 1 .. n_appends LOOP
    ok := true;
    IF v_known[a] IS NOT NULL THEN
      v_status[a] := 1;
      v_first[a] := v_known[a];
      ok := false;
    ELSIF v_other THEN
      v_status[a] := 5;
      ok := false;
    ELSIF a = ANY (v_strangers) THEN
      v_status[a] := 8;
      ok := false;
    ELSIF v_forked AND a_drives[a] THEN
      v_status[a] := 7;
      ok := false;
    END IF;

    IF k <= n_commands AND k_append[k] = a THEN
      IF ok AND v_cmd_request[k] IS NOT NULL THEN
        v_status[a] := CASE WHEN v_cmd_request[k] = k_request[k] THEN 2 ELSE 3 END;
        v_first[a] := v_cmd_position[k];
        v_resource[a] := v_cmd_resource[k];
        ok := false;
      END IF;
      IF ok AND a_not_after[a] < clock_timestamp() THEN
        v_status[a] := 4;
        ok := false;
      END IF;
      k := k + 1;
    ELSIF ok AND a_not_after[a] < clock_timestamp() THEN
      v_status[a] := 4;
      ok := false;
    END IF;

    WHILE x <= n_expects AND x_append[x] = a LOOP
      s := x_stream[x];
      IF v_status[a] IN (0, 6) AND (x_expect[x] <> -1 AND x_expect[x] <> v_version[s] OR x_by[x] IS DISTINCT FROM v_by[s] AND x_by[x] IS NOT NULL) THEN
        v_status[a] := 6;
        v_fail_append := v_fail_append || a;
        v_fail_stream := v_fail_stream || s;
        v_fail_actual := v_fail_actual || v_version[s];
        ok := false;
      END IF;
      x := x + 1;
    END LOOP;

    IF NOT ok THEN
      e := e + a_size[a];
      CONTINUE;
    END IF;

    v_first[a] := v_position + 1;
    FOR i IN 0 .. a_size[a] - 1 LOOP
      s := e_stream[e];
      c := e_company[e];
      v_position := v_position + 1;
      v_version[s] := v_version[s] + 1;
      v_cposition[c] := v_cposition[c] + 1;
      r_position[e] := v_position;
      r_version[e] := v_version[s];
      r_cposition[e] := v_cposition[c];
      r_index[e] := i;
      r_prev[e] := v_hash[s];
      v_by[s] := a_id[a];
      v_hash[s] := sha256(
        '\x01'::bytea || int8send(v_epoch) || int8send(v_position) || int8send(v_version[s]) || int8send(v_cposition[c])
        || v_micros || uuid_send(c_id[c]) || uuid_send(a_id[a]) || int4send(i)
        || uuid_send(a_actor[a]) || uuid_send(a_key[a]) || uuid_send(a_request[a]) || uuid_send(a_cause[a])
        || int4send(e_revision[e])
        || int4send(octet_length(s_name[s])) || convert_to(s_name[s], 'UTF8')
        || int4send(octet_length(e_name[e])) || convert_to(e_name[e], 'UTF8')
        || e_commitment[e] || v_hash[s]);
      r_hash[e] := v_hash[s];
      o_head_hash := v_hash[s];
      o_head_at := v_now;
      e := e + 1;
    END LOOP;

    -- A later append of this batch with the same command is a repetition of this one.
    IF k > 1 AND k_append[k - 1] = a THEN
      FOR j IN k .. n_commands LOOP
        IF k_scope[j] = k_scope[k - 1] THEN
          v_cmd_request[j] := k_request[k - 1];
          v_cmd_resource[j] := k_resource[k - 1];
          v_cmd_position[j] := v_first[a];
        END IF;
      END LOOP;
    END IF;
  END LOOP;

  -- Functions in the list of a SELECT take turns row by row; in FROM each of them would first fill a store of its own.
  INSERT INTO events (position, epoch, stream, version, name, revision, company_id, company_position, recorded_at,
                      append_id, append_index, actor_id, key_id, request_id, cause_id,
                      payload, salt, commitment, prev_hash, hash)
  SELECT u.position, v_epoch, s_name[u.stream], u.version, u.name, u.revision, c_id[u.company], u.cposition, v_now,
         a_id[u.append], u.index, a_actor[u.append], a_key[u.append], a_request[u.append], a_cause[u.append],
         u.payload, u.salt, u.commitment, u.prev, u.hash
    FROM (
      SELECT unnest(r_position) AS position, unnest(e_stream) AS stream, unnest(r_version) AS version, unnest(e_name) AS name,
             unnest(e_revision) AS revision, unnest(e_company) AS company, unnest(r_cposition) AS cposition,
             unnest(e_append) AS append, unnest(r_index) AS index, unnest(e_payload) AS payload, unnest(e_salt) AS salt,
             unnest(e_commitment) AS commitment, unnest(r_prev) AS prev, unnest(r_hash) AS hash
    ) u
   WHERE u.position IS NOT NULL;

  IF n_commands > 0 THEN
    INSERT INTO commands (scope, request_hash, resource_id, position, recorded_at)
    SELECT u.scope, u.request, u.resource, v_first[u.append], v_now
      FROM unnest(k_append, k_scope, k_request, k_resource) AS u(append, scope, request, resource)
     WHERE v_status[u.append] = 0;
  END IF;
  -- An input that an append of this batch keeps and the same or a later one drops is not kept at all.
  IF cardinality(d_append) > 0 THEN
    DELETE FROM inputs
     WHERE id IN (SELECT u.id FROM unnest(d_append, d_id) AS u(append, id) WHERE v_status[u.append] = 0);
  END IF;
  IF cardinality(i_append) > 0 THEN
    INSERT INTO inputs (id, company_id, subject, value)
    SELECT u.id, u.company, u.subject, u.value
      FROM unnest(i_append, i_id, i_company, i_subject, i_value) AS u(append, id, company, subject, value)
     WHERE v_status[u.append] = 0
       AND NOT EXISTS (SELECT FROM unnest(d_append, d_id) AS d(append, id)
                        WHERE d.id = u.id AND d.append >= u.append AND v_status[d.append] = 0);
  END IF;

  o_epoch := v_epoch;
  o_status := v_status;
  o_first := v_first;
  o_resource := v_resource;
  o_fail_append := v_fail_append;
  o_fail_stream := v_fail_stream;
  o_fail_actual := v_fail_actual;
  o_head := v_position;
  s_version := v_version;
  s_hash := v_hash;
  s_by := v_by;
  c_position := v_cposition;
  SELECT array_agg(coalesce(u.known_at, v_now) ORDER BY u.ord) INTO o_recorded_at
    FROM unnest(v_known_at) WITH ORDINALITY AS u(known_at, ord);
END;
$$;
-- +goose StatementEnd

-- append_batch is how a process appends: append_events, committed before it answers. The extended protocol ends a
-- transaction at the client's Sync, a message of its own. A client that froze, or whose link broke, after Execute and
-- before Sync would keep the lock and everybody else waiting. A procedure ends its transaction itself, as long as it
-- has no SET clause, so this one is apart from the function.
-- +goose StatementBegin
CREATE PROCEDURE append_batch(
  p_epoch bigint, p_seen bigint, p_seen_hash bytea,
  a_id uuid[], a_size integer[], a_not_after timestamptz[], a_drives boolean[],
  a_actor uuid[], a_key uuid[], a_request uuid[], a_cause uuid[],
  s_name text[], c_id uuid[],
  x_append integer[], x_stream integer[], x_expect bigint[], x_by uuid[],
  e_append integer[], e_stream integer[], e_company integer[], e_name text[], e_revision integer[],
  e_payload bytea[], e_salt bytea[], e_commitment bytea[],
  k_append integer[], k_scope bytea[], k_request bytea[], k_resource uuid[],
  i_append integer[], i_id uuid[], i_company uuid[], i_subject text[], i_value bytea[],
  d_append integer[], d_id uuid[],
  w_append integer[], w_partition integer[], w_epoch bigint[],
  INOUT o_epoch bigint DEFAULT NULL, INOUT o_status integer[] DEFAULT NULL, INOUT o_first bigint[] DEFAULT NULL,
  INOUT o_recorded_at timestamptz[] DEFAULT NULL, INOUT o_resource uuid[] DEFAULT NULL,
  INOUT o_fail_append integer[] DEFAULT NULL, INOUT o_fail_stream integer[] DEFAULT NULL, INOUT o_fail_actual bigint[] DEFAULT NULL,
  INOUT o_found bigint DEFAULT NULL, INOUT o_head bigint DEFAULT NULL, INOUT o_head_hash bytea DEFAULT NULL,
  INOUT o_head_at timestamptz DEFAULT NULL,
  INOUT s_version bigint[] DEFAULT NULL, INOUT s_hash bytea[] DEFAULT NULL, INOUT s_by uuid[] DEFAULT NULL,
  INOUT c_position bigint[] DEFAULT NULL
)
LANGUAGE plpgsql
AS $$
BEGIN
  SELECT r.* INTO o_epoch, o_status, o_first, o_recorded_at, o_resource, o_fail_append, o_fail_stream, o_fail_actual,
                  o_found, o_head, o_head_hash, o_head_at, s_version, s_hash, s_by, c_position
    FROM append_events(
      p_epoch, p_seen, p_seen_hash, a_id, a_size, a_not_after, a_drives, a_actor, a_key, a_request, a_cause, s_name, c_id,
      x_append, x_stream, x_expect, x_by,
      e_append, e_stream, e_company, e_name, e_revision, e_payload, e_salt, e_commitment,
      k_append, k_scope, k_request, k_resource, i_append, i_id, i_company, i_subject, i_value, d_append, d_id,
      w_append, w_partition, w_epoch) r;
  COMMIT;
END;
$$;
-- +goose StatementEnd

-- append_next writes appends that the caller has judged itself, and committed before it answers, like append_batch. If the
-- head of the log is where the caller left it, then all that the caller remembers of the log is still true, and one look
-- at the head is the whole check. The caller gives each row its places, and the parts of what its hash covers before
-- (e_before) and after (e_after) the time. A row that follows another one of this call on its stream names it (e_follows,
-- from 1) and has no e_prev.
--
-- One statement does nearly all of it, since each that a procedure runs costs as much as the insert of a row. It takes the
-- lock first, but with a snapshot from before: what another process wrote meanwhile is not seen. Then the place of the
-- first row is taken, and the table refuses the whole.
--
-- Result: 0 done; otherwise nothing was written: 1 the head is another one, 2 a command was done before, 3 too late, 4 not
-- the owner any more, which only a statement after that with the lock can tell. What is wrong is then for append_batch to tell, as it is after an error.
-- +goose StatementBegin
CREATE PROCEDURE append_next(
  p_epoch bigint, p_head bigint, p_head_hash bytea, p_head_at timestamptz, p_not_after timestamptz,
  e_append uuid[], e_index integer[], e_actor uuid[], e_key uuid[], e_request uuid[], e_cause uuid[],
  e_stream text[], e_version bigint[], e_name text[], e_revision integer[], e_company uuid[], e_company_position bigint[],
  e_payload bytea[], e_salt bytea[], e_commitment bytea[], e_before bytea[], e_after bytea[], e_prev bytea[], e_follows integer[],
  k_scope bytea[], k_request bytea[], k_resource uuid[], k_position bigint[],
  i_id uuid[], i_company uuid[], i_subject text[], i_value bytea[],
  d_id uuid[], w_partition integer[], w_epoch bigint[],
  INOUT o_result integer DEFAULT NULL, INOUT o_recorded_at timestamptz DEFAULT NULL
)
LANGUAGE plpgsql
AS $$
#variable_conflict use_column
DECLARE
  v_hash bytea[];
  v_micros bytea;
  v_input uuid;
BEGIN
  -- Rows that follow one another need hashes one after the other, and the time before them.
  IF e_follows IS NOT NULL THEN
    PERFORM pg_advisory_xact_lock(hashtextextended('tenure append ' || current_schema(), 0));
    o_recorded_at := greatest(clock_timestamp(), p_head_at);
    v_micros := int8send((extract(epoch FROM o_recorded_at) * 1000000)::bigint);
    FOR i IN 1 .. cardinality(e_follows) LOOP
      IF e_follows[i] > 0 THEN
        e_prev[i] := v_hash[e_follows[i]];
      END IF;
      v_hash[i] := sha256(e_before[i] || v_micros || e_after[i] || e_prev[i]);
    END LOOP;
  END IF;

  WITH turn AS MATERIALIZED (
    SELECT pg_advisory_xact_lock(hashtextextended('tenure append ' || current_schema(), 0)),
           CASE WHEN current_setting('synchronous_commit') IN ('off', 'local', 'remote_write')
                THEN set_config('synchronous_commit', 'on', true) END
  ), now AS MATERIALIZED (
    SELECT coalesce(o_recorded_at, greatest(clock_timestamp(), p_head_at)) AS at FROM turn
  ), judged AS MATERIALIZED (
    SELECT at, int8send((extract(epoch FROM at) * 1000000)::bigint) AS micros,
           CASE WHEN (SELECT h.position = p_head AND h.hash = p_head_hash FROM events h ORDER BY h.position DESC LIMIT 1) IS NOT TRUE THEN 1
                WHEN (SELECT CASE WHEN l.timeline IS NOT NULL THEN l.timeline <> left(pg_walfile_name(pg_current_wal_lsn()), 8) END
                        FROM log l) THEN 1
                WHEN EXISTS (SELECT FROM unnest(k_scope) u(scope), LATERAL (SELECT FROM commands k WHERE k.scope = u.scope LIMIT 1) k) THEN 2
                WHEN clock_timestamp() > p_not_after THEN 3
                ELSE 0 END AS result
      FROM now
  ), event AS (
    INSERT INTO events (position, epoch, stream, version, name, revision, company_id, company_position, recorded_at,
                        append_id, append_index, actor_id, key_id, request_id, cause_id,
                        payload, salt, commitment, prev_hash, hash)
    SELECT p_head + u.row, p_epoch, u.stream, u.version, u.name, u.revision, u.company, u.company_position, u.at,
           u.append, u.index, u.actor, u.key, u.request, u.cause,
           u.payload, u.salt, u.commitment, u.prev, coalesce(u.hash, sha256(u.before || u.micros || u.after || u.prev))
      FROM (
        SELECT at, micros, generate_subscripts(e_append, 1) AS row, unnest(e_append) AS append, unnest(e_index) AS index,
               unnest(e_actor) AS actor, unnest(e_key) AS key, unnest(e_request) AS request, unnest(e_cause) AS cause,
               unnest(e_stream) AS stream, unnest(e_version) AS version, unnest(e_name) AS name, unnest(e_revision) AS revision,
               unnest(e_company) AS company, unnest(e_company_position) AS company_position,
               unnest(e_payload) AS payload, unnest(e_salt) AS salt, unnest(e_commitment) AS commitment,
               unnest(e_before) AS before, unnest(e_after) AS after, unnest(e_prev) AS prev, unnest(v_hash) AS hash
          FROM judged
         WHERE result = 0
      ) u
  ), command AS (
    INSERT INTO commands (scope, request_hash, resource_id, position, recorded_at)
    SELECT unnest(k_scope), unnest(k_request), unnest(k_resource), unnest(k_position), at
      FROM judged
     WHERE result = 0
  )
  SELECT result, at INTO o_result, o_recorded_at FROM judged;
  IF o_result = 0 AND cardinality(w_partition) > 0 AND EXISTS (
    SELECT FROM unnest(w_partition, w_epoch) AS u(partition, epoch)
      LEFT JOIN LATERAL (SELECT h.epoch FROM partitions h WHERE h.partition = u.partition LIMIT 1) p ON true
     WHERE p.epoch IS DISTINCT FROM u.epoch
  ) THEN
    o_result := 4;
  END IF;
  IF o_result > 0 THEN
    ROLLBACK;
    RETURN;
  END IF;

  FOREACH v_input IN ARRAY coalesce(d_id, '{}') LOOP
    DELETE FROM inputs WHERE id = v_input;
  END LOOP;
  IF cardinality(i_id) > 0 THEN
    INSERT INTO inputs (id, company_id, subject, value)
    SELECT unnest(i_id), unnest(i_company), unnest(i_subject), unnest(i_value);
  END IF;
  COMMIT;
END;
$$;
-- +goose StatementEnd

-- append_one is append_next for one event and at most one command, so that nothing need be taken out of arrays.
-- +goose StatementBegin
CREATE PROCEDURE append_one(
  p_epoch bigint, p_head bigint, p_head_hash bytea, p_head_at timestamptz, p_not_after timestamptz,
  e_append uuid, e_index integer, e_actor uuid, e_key uuid, e_request uuid, e_cause uuid,
  e_stream text, e_version bigint, e_name text, e_revision integer, e_company uuid, e_company_position bigint,
  e_payload bytea, e_salt bytea, e_commitment bytea, e_before bytea, e_after bytea, e_prev bytea,
  k_scope bytea, k_request bytea, k_resource uuid, w_partition integer, w_epoch bigint,
  INOUT o_result integer DEFAULT NULL, INOUT o_recorded_at timestamptz DEFAULT NULL
)
LANGUAGE plpgsql
AS $$
#variable_conflict use_column
BEGIN
  WITH turn AS MATERIALIZED (
    SELECT pg_advisory_xact_lock(hashtextextended('tenure append ' || current_schema(), 0)),
           CASE WHEN current_setting('synchronous_commit') IN ('off', 'local', 'remote_write')
                THEN set_config('synchronous_commit', 'on', true) END
  ), now AS MATERIALIZED (
    SELECT greatest(clock_timestamp(), p_head_at) AS at FROM turn
  ), judged AS MATERIALIZED (
    SELECT at, int8send((extract(epoch FROM at) * 1000000)::bigint) AS micros,
           CASE WHEN (SELECT h.position = p_head AND h.hash = p_head_hash FROM events h ORDER BY h.position DESC LIMIT 1) IS NOT TRUE THEN 1
                WHEN (SELECT CASE WHEN l.timeline IS NOT NULL THEN l.timeline <> left(pg_walfile_name(pg_current_wal_lsn()), 8) END
                        FROM log l) THEN 1
                WHEN EXISTS (SELECT FROM commands k WHERE k.scope = k_scope) THEN 2
                WHEN clock_timestamp() > p_not_after THEN 3
                ELSE 0 END AS result
      FROM now
  ), event AS (
    INSERT INTO events (position, epoch, stream, version, name, revision, company_id, company_position, recorded_at,
                        append_id, append_index, actor_id, key_id, request_id, cause_id,
                        payload, salt, commitment, prev_hash, hash)
    SELECT p_head + 1, p_epoch, e_stream, e_version, e_name, e_revision, e_company, e_company_position, at,
           e_append, e_index, e_actor, e_key, e_request, e_cause,
           e_payload, e_salt, e_commitment, e_prev, sha256(e_before || micros || e_after || e_prev)
      FROM judged
     WHERE result = 0
  ), command AS (
    INSERT INTO commands (scope, request_hash, resource_id, position, recorded_at)
    SELECT k_scope, k_request, k_resource, p_head + 1, at
      FROM judged
     WHERE result = 0 AND k_scope IS NOT NULL
  )
  SELECT result, at INTO o_result, o_recorded_at FROM judged;
  IF o_result = 0 AND w_partition IS NOT NULL
     AND (SELECT p.epoch FROM partitions p WHERE p.partition = w_partition) IS DISTINCT FROM w_epoch THEN
    o_result := 4;
  END IF;
  IF o_result > 0 THEN
    ROLLBACK;
    RETURN;
  END IF;
  COMMIT;
END;
$$;
-- +goose StatementEnd

-- change_log begins a new epoch of the log, or ends that nothing is driven, and appends the event that says so in the same
-- transaction: p_to is the epoch from then on, p_forked whether the log waits for its adoption, p_installation its new id,
-- null for the one that it has. The rest is for append_events. If the epoch is not p_from any more, or the log is not as
-- p_was_forked says, nothing is done and o_status is null.
-- +goose StatementBegin
CREATE PROCEDURE change_log(
  p_from bigint, p_was_forked boolean, p_forked boolean, p_installation uuid,
  p_to bigint, p_seen bigint, p_seen_hash bytea,
  a_id uuid[], a_size integer[], a_not_after timestamptz[], a_drives boolean[],
  a_actor uuid[], a_key uuid[], a_request uuid[], a_cause uuid[],
  s_name text[], c_id uuid[],
  x_append integer[], x_stream integer[], x_expect bigint[], x_by uuid[],
  e_append integer[], e_stream integer[], e_company integer[], e_name text[], e_revision integer[],
  e_payload bytea[], e_salt bytea[], e_commitment bytea[],
  k_append integer[], k_scope bytea[], k_request bytea[], k_resource uuid[],
  i_append integer[], i_id uuid[], i_company uuid[], i_subject text[], i_value bytea[],
  d_append integer[], d_id uuid[],
  w_append integer[], w_partition integer[], w_epoch bigint[],
  INOUT o_epoch bigint DEFAULT NULL, INOUT o_status integer[] DEFAULT NULL, INOUT o_first bigint[] DEFAULT NULL,
  INOUT o_recorded_at timestamptz[] DEFAULT NULL
)
LANGUAGE plpgsql
AS $$
DECLARE
  v_head bigint;
BEGIN
  PERFORM pg_advisory_xact_lock(hashtextextended('tenure append ' || current_schema(), 0));
  UPDATE log l
     SET epoch = p_to, forked = p_forked, installation = coalesce(p_installation, l.installation),
         system = p.system, timeline = p.timeline, database = p.database, birth = p.birth, port = p.port, address = p.address
    FROM log_place() p
   WHERE l.epoch = p_from AND l.forked = p_was_forked;
  IF NOT FOUND THEN
    ROLLBACK;
    RETURN;
  END IF;
  -- What is beside the log may have come from elsewhere than the log: whoever was further than it begins again.
  SELECT coalesce(max(e.position), 0) INTO v_head FROM events e;
  UPDATE consumer_offsets SET position = v_head WHERE position > v_head;
  UPDATE projection_pointers p
     SET generation = CASE WHEN live.position <= v_head THEN p.generation END,
         previous = CASE WHEN before.position <= v_head THEN p.previous END
    FROM projection_pointers q
    LEFT JOIN projection_checkpoints live ON live.name = q.name AND live.revision = q.revision AND live.generation = q.generation
    LEFT JOIN projection_checkpoints before ON before.name = q.name AND before.revision = q.revision AND before.generation = q.previous
   WHERE p.name = q.name AND p.revision = q.revision AND (live.position > v_head OR before.position > v_head);
  -- So may the owners' epochs, which would come round again: from now on they are those of this epoch of the log.
  IF p_to <> p_from THEN
    UPDATE partitions SET epoch = p_to << 32;
  END IF;
  SELECT r.o_epoch, r.o_status, r.o_first, r.o_recorded_at INTO o_epoch, o_status, o_first, o_recorded_at
    FROM append_events(
      p_to, p_seen, p_seen_hash, a_id, a_size, a_not_after, a_drives, a_actor, a_key, a_request, a_cause, s_name, c_id,
      x_append, x_stream, x_expect, x_by,
      e_append, e_stream, e_company, e_name, e_revision, e_payload, e_salt, e_commitment,
      k_append, k_scope, k_request, k_resource, i_append, i_id, i_company, i_subject, i_value, d_append, d_id,
      w_append, w_partition, w_epoch) r;
  COMMIT;
END;
$$;
-- +goose StatementEnd

-- +goose Down
DROP PROCEDURE change_log;
DROP PROCEDURE append_one;
DROP PROCEDURE append_next;
DROP PROCEDURE append_batch;
DROP FUNCTION append_events;
DROP FUNCTION log_place;
DROP FUNCTION append_lock_key;
DROP TABLE consumer_offsets, inputs, commands, events, log;
