package runner

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/faults"
	"github.com/tenure-dev/tenure/projections"
)

// errMoved says that a generation is not where it was: another owner, another generation, another position.
var errMoved = errors.New("the read model was moved by somebody else")

// target is a generation of a read model that takes a page.
type target struct {
	model      projections.Model
	key        projections.Key
	generation int64
	// refused are positions that the database would not take.
	refused map[int64]string
	// cache is nil for none.
	cache *rowCache
}

func (s *slot) target() target {
	return target{model: s.model, key: s.key, generation: s.generation, cache: s.cache}
}

// livePage takes a page into live generations that are all at the position before it. parked says that streams were parked.
func (r *Runner) livePage(ctx context.Context, group []slot, events []*projections.Event) (parked bool, err error) {
	targets := make([]target, len(group))
	for i := range group {
		targets[i] = group[i].target()
	}
	parked, err = r.liveTx(ctx, targets, group[0].position, events)
	if !refusedRow(err) {
		return parked, err
	}
	// A row was refused. Whose it is shows when each read model takes the page alone, and each event alone.
	for _, t := range targets {
		p, err := r.liveTx(ctx, []target{t}, group[0].position, events)
		parked = parked || p
		if refusedRow(err) {
			p, err = r.liveOneByOne(ctx, t, group[0].position, events)
			parked = parked || p
		}
		if err != nil {
			return parked, err
		}
	}
	return parked, nil
}

func (r *Runner) liveOneByOne(ctx context.Context, t target, from int64, events []*projections.Event) (parked bool, err error) {
	for i, e := range events {
		p, err := r.liveTx(ctx, []target{t}, from, events[i:i+1])
		if refusedRow(err) {
			t.refused = map[int64]string{e.Position: err.Error()}
			p, err = r.liveTx(ctx, []target{t}, from, events[i:i+1])
		}
		parked = parked || p
		if err != nil {
			return parked, err
		}
		from = e.Position
	}
	return parked, nil
}

// errRow says that a row cannot be written.
var errRow = errors.New("the row cannot be stored")

// refusedRow reports whether an error is the word on the data, of the encoder or the database, which will be the same next
// time.
func refusedRow(err error) bool {
	if errors.Is(err, errRow) {
		return true
	}
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || len(pgErr.Code) < 2 {
		return false
	}
	switch pgErr.Code[:2] {
	case "22", "23", "54": // data, constraints, limits
		return true
	}
	return false
}

// liveTx is one transaction of the owner: the page's rows and the checkpoints, or nothing.
func (r *Runner) liveTx(ctx context.Context, targets []target, from int64, events []*projections.Event) (parked bool, err error) {
	var stopped []projections.Key
	var foldings []*folding
	err = r.inTx(ctx, pgx.ReadCommitted, func(tx pgx.Tx) error {
		var err error
		foldings, err = r.advance(ctx, tx, targets, from, events, true)
		if err != nil {
			return err
		}
		for i, f := range foldings {
			if len(f.fresh) == 0 {
				continue
			}
			parked = true
			r.logParked(targets[i].key, f.fresh)
			full, err := r.stopIfFull(ctx, tx, targets[i])
			if err != nil {
				return err
			}
			if full {
				stopped = append(stopped, targets[i].key)
			}
		}
		faults.Each("page.commit.before", events, leading)
		return nil
	})
	if err != nil {
		return false, err
	}
	faults.Each("page.commit.after", events, leading)
	for i, t := range targets {
		t.cache.take(foldings[i])
	}
	to := events[len(events)-1].Position
	r.update(func() {
		for _, s := range r.slots {
			if slices.ContainsFunc(targets, func(t target) bool { return t.key == s.key && t.generation == s.generation }) {
				s.position = to
			}
		}
	})
	if len(stopped) > 0 {
		return parked, r.refresh(ctx)
	}
	return parked, nil
}

// leading names an append by its first event; "" for the events behind it.
func leading(e *projections.Event) string {
	if e.AppendIndex > 0 {
		return ""
	}
	return e.Name
}

// idleLimit is how long a transaction may wait for its client: for a page to be read and folded. The server ends one whose
// client or link is gone without a word, or its locks would keep everybody out for as long as the server takes it to be there.
// It is less than a step may take, so that the next step finds the locks free.
const idleLimit = 8 * time.Second

func (r *Runner) inTx(ctx context.Context, level pgx.TxIsoLevel, do func(tx pgx.Tx) error) error {
	tx, err := r.begin(ctx, level)
	if err != nil {
		return err
	}
	defer func() {
		// A link that carries nothing is not waited for: what is not committed is rolled back by the server.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollbackLimit)
		defer cancel()
		_ = tx.Rollback(ctx)
	}()
	if err := do(tx); err != nil {
		return err
	}
	return tx.Commit(ctx)
}

// begin begins a transaction that the server ends when its client says nothing for too long.
func (r *Runner) begin(ctx context.Context, level pgx.TxIsoLevel) (pgx.Tx, error) {
	return r.pool.BeginTx(ctx, pgx.TxOptions{BeginQuery: fmt.Sprintf(
		"BEGIN ISOLATION LEVEL %s; SET LOCAL idle_in_transaction_session_timeout = %d", level, idleLimit.Milliseconds())})
}

// rollbackLimit bounds the end of a transaction that failed.
const rollbackLimit = 2 * time.Second

// advance takes events into generations that are all at position from: load, fold, write, in two round trips. With owned,
// it locks the pointers first and holds the generations to be the live ones of this runner.
func (r *Runner) advance(
	ctx context.Context, tx pgx.Tx, targets []target, from int64, events []*projections.Event, owned bool,
) ([]*folding, error) {
	foldings, err := r.load(ctx, tx, targets, from, events, owned)
	if err != nil {
		return nil, err
	}
	for _, f := range foldings {
		for _, e := range events {
			f.take(e)
		}
	}
	batch := &pgx.Batch{}
	for i, f := range foldings {
		if err := r.queueWrites(batch, targets[i], f); err != nil {
			return nil, err
		}
	}
	keys := make([]projections.Key, len(targets))
	generations := make([]int64, len(targets))
	for i, t := range targets {
		keys[i], generations[i] = t.key, t.generation
	}
	names, revisions := keyLists(keys)
	last := events[len(events)-1]
	batch.Queue(`
		UPDATE projection_checkpoints c
		   SET position = $5, epoch = $6
		  FROM unnest($1::text[], $2::int[], $3::bigint[]) u(name, revision, generation)
		 WHERE c.name = u.name AND c.revision = u.revision AND c.generation = u.generation AND c.position = $4`,
		names, revisions, generations, from, last.Position, last.Epoch,
	).Exec(func(tag pgconn.CommandTag) error {
		if tag.RowsAffected() != int64(len(targets)) {
			return errMoved
		}
		return nil
	})
	if err := tx.SendBatch(ctx, batch).Close(); err != nil {
		return nil, fmt.Errorf("write a page at %d: %w", from, err)
	}
	return foldings, nil
}

// load locks, and reads what the page touches. Under READ COMMITTED each statement sees what was there once the lock was
// got.
func (r *Runner) load(
	ctx context.Context, tx pgx.Tx, targets []target, from int64, events []*projections.Event, owned bool,
) ([]*folding, error) {
	batch := &pgx.Batch{}
	if owned {
		r.queueLocks(batch, targets)
	}
	to := events[len(events)-1].Position
	foldings := make([]*folding, len(targets))
	for i, t := range targets {
		f := newFolding(t.model)
		f.refused = t.refused
		foldings[i] = f
		if streams := followed(t.model, events); len(streams) > 0 {
			queueLoads(batch, t, f, streams, from, to)
		}
	}
	if batch.Len() == 0 {
		return foldings, nil
	}
	err := tx.SendBatch(ctx, batch).Close()
	if tableGone(err) && owned {
		return nil, errMoved // it went with its generation
	}
	if err != nil {
		return nil, fmt.Errorf("load a page at %d: %w", from, err)
	}
	return foldings, nil
}

// tableGone reports whether a statement was sent to a table that is not there.
func tableGone(err error) bool {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pgErr.Code == "42P01"
}

// followed are the streams of the events that the model follows, each once.
func followed(m projections.Model, events []*projections.Event) []string {
	seen := map[eventstore.Stream]bool{}
	var streams []string
	for _, e := range events {
		if !seen[e.Stream] && m.Follows(e.Stream) {
			streams = append(streams, string(e.Stream))
		}
		seen[e.Stream] = true
	}
	return streams
}

func (r *Runner) queueLocks(batch *pgx.Batch, targets []target) {
	keys := make([]projections.Key, len(targets))
	for i, t := range targets {
		keys[i] = t.key
	}
	names, revisions := keyLists(keys)
	// A crash of the server may take the last pages back, rows and checkpoints together; they are folded again. So a page
	// need not wait for the disk, which the appends need. A session keeps its plans, which may have been made when the tables
	// were empty; every look-up here is one by key.
	batch.Queue(`SELECT set_config('synchronous_commit', 'off', true), set_config('enable_seqscan', 'off', true)`)
	batch.Queue(`
		SELECT p.name, p.revision, coalesce(p.generation, 0)
		  FROM projection_pointers p
		  JOIN unnest($1::text[], $2::int[]) u(name, revision) ON u.name = p.name AND u.revision = p.revision
		 WHERE p.owner = $3 AND p.stopped = ''
		 ORDER BY p.name, p.revision
		   FOR UPDATE OF p`, names, revisions, r.owner,
	).Query(func(rows pgx.Rows) error {
		held := map[projections.Key]int64{}
		var key projections.Key
		var generation int64
		_, err := pgx.ForEachRow(rows, []any{&key.Name, &key.Revision, &generation}, func() error {
			held[key] = generation
			return nil
		})
		if err != nil {
			return err
		}
		for _, t := range targets {
			if held[t.key] != t.generation {
				return errMoved
			}
		}
		return nil
	})
}

func queueLoads(batch *pgx.Batch, t target, f *folding, streams []string, from, to int64) {
	batch.Queue(`
		SELECT stream
		  FROM projection_parked
		 WHERE name = $1 AND revision = $2 AND generation = $3 AND stream = ANY($4)`,
		t.key.Name, t.key.Revision, t.generation, streams,
	).Query(func(rows pgx.Rows) error {
		var stream string
		_, err := pgx.ForEachRow(rows, []any{&stream}, func() error {
			f.parked[eventstore.Stream(stream)] = true
			return nil
		})
		return err
	})
	batch.Queue(`
		SELECT position
		  FROM projection_skips
		 WHERE name = $1 AND revision = $2 AND position > $3 AND position <= $4`,
		t.key.Name, t.key.Revision, from, to,
	).Query(f.scanSkips)
	if unknown := t.cache.give(f, streams); len(unknown) > 0 {
		batch.Queue(t.model.Schema().Load(t.generation), unknown).Query(f.scanRows)
	}
}

func (f *folding) scanSkips(rows pgx.Rows) error {
	var position int64
	_, err := pgx.ForEachRow(rows, []any{&position}, func() error {
		f.skips[position] = true
		return nil
	})
	return err
}

// scanRows takes rows in. One that does not decode is its stream's trouble, not the page's.
func (f *folding) scanRows(rows pgx.Rows) error {
	defer rows.Close()
	for rows.Next() {
		head, data, err := projections.ScanRow(rows)
		if err != nil {
			return err
		}
		row, err := f.model.Decode(head, data)
		if err != nil {
			f.broken[head.Stream] = err
			continue
		}
		f.rows[head.Stream] = row
	}
	return rows.Err()
}

// queueWrites writes the rows that changed and the streams that were parked.
func (r *Runner) queueWrites(batch *pgx.Batch, t target, f *folding) error {
	schema := t.model.Schema()
	var upserts [][]any
	var deletes []string
	for stream := range f.dirty {
		row := f.rows[stream]
		if row == nil {
			deletes = append(deletes, string(stream))
			continue
		}
		values, err := t.model.Encode(row)
		if err != nil {
			return fmt.Errorf("%w: %w", errRow, err)
		}
		upserts = append(upserts, values)
	}
	if len(upserts) > 0 {
		args, err := schema.Texts(upserts)
		if err != nil {
			return fmt.Errorf("%w: %w", errRow, err)
		}
		batch.Queue(schema.Upsert(t.generation), args...)
	}
	if len(deletes) > 0 {
		batch.Queue(schema.Delete(t.generation), deletes)
	}
	for _, p := range f.fresh {
		r.queuePark(batch, t, p, 1)
	}
	return nil
}
