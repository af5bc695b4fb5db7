package runner

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/projections"
)

// Parked is a stream that a read model does not follow for now.
type Parked struct {
	Name   string
	Stream eventstore.Stream
	// Position, Version and Event are those of the event that could not be taken, Reason is why.
	Position int64
	Version  int64
	Event    string
	Reason   string
	Tries    int
	ParkedAt time.Time
	// RetryAt is when it is tried again by itself; zero for only when asked to.
	RetryAt time.Time
	// Behind is how many later events of the stream wait.
	Behind int
}

// Parked lists the parked streams of a read model; "" is all of them.
func (r *Runner) Parked(ctx context.Context, name string) ([]Parked, error) {
	if name != "" {
		if _, err := r.find(name); err != nil {
			return nil, err
		}
	}
	names, revisions := keyLists(r.keys())
	rows, err := r.pool.Query(ctx, `
		SELECT k.name, k.stream, k.position, k.version, k.event_name, k.reason, k.tries, k.parked_at, k.retry_at,
		       (SELECT count(*) FROM events e WHERE e.stream = k.stream AND e.version > k.version AND e.position <= c.position)
		  FROM projection_parked k
		  JOIN projection_pointers p ON p.name = k.name AND p.revision = k.revision AND p.generation = k.generation
		  JOIN projection_checkpoints c ON c.name = k.name AND c.revision = k.revision AND c.generation = k.generation
		  JOIN unnest($1::text[], $2::int[]) u(name, revision) ON u.name = k.name AND u.revision = k.revision
		 WHERE k.name = $3 OR $3 = ''
		 ORDER BY k.name, k.position`, names, revisions, name)
	if err != nil {
		return nil, fmt.Errorf("list parked streams: %w", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (p Parked, err error) {
		var retryAt *time.Time
		err = row.Scan(&p.Name, (*string)(&p.Stream), &p.Position, &p.Version, &p.Event, &p.Reason, &p.Tries, &p.ParkedAt, &retryAt, &p.Behind)
		p.ParkedAt = p.ParkedAt.UTC()
		if retryAt != nil {
			p.RetryAt = retryAt.UTC()
		}
		return p, err
	})
	if err != nil {
		return nil, fmt.Errorf("list parked streams: %w", err)
	}
	return list, nil
}

// Retry takes the events of a parked stream in again, in order. If one still fails the stream stays parked, from that
// event on, and the error is [ErrStillFails].
func (r *Runner) Retry(ctx context.Context, name string, stream eventstore.Stream) error {
	s, err := r.find(name)
	if err != nil {
		return err
	}
	defer r.nudge()
	_, err = r.unpark(ctx, s.model, stream, false)
	return err
}

// Skip gives up on the event that parked a stream, for this read model only, and takes the events behind it in, in order.
// It returns what was skipped; the caller puts that on record. If a later event fails the stream is parked from that one
// on, and the error is [ErrStillFails].
func (r *Runner) Skip(ctx context.Context, name string, stream eventstore.Stream) (Parked, error) {
	s, err := r.find(name)
	if err != nil {
		return Parked{}, err
	}
	defer r.nudge()
	return r.unpark(ctx, s.model, stream, true)
}

// queuePark writes a parked stream.
func (r *Runner) queuePark(batch *pgx.Batch, t target, p poison, tries int) {
	batch.Queue(`
		INSERT INTO projection_parked
		       (name, revision, generation, stream, position, version, event_name, reason, tries, parked_at, retry_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, clock_timestamp(), clock_timestamp() + $10::float8 * interval '1 second')
		ON CONFLICT (name, revision, generation, stream) DO UPDATE
		   SET position = EXCLUDED.position, version = EXCLUDED.version, event_name = EXCLUDED.event_name,
		       reason = EXCLUDED.reason, tries = EXCLUDED.tries, retry_at = EXCLUDED.retry_at,
		       parked_at = CASE WHEN projection_parked.position = EXCLUDED.position THEN projection_parked.parked_at
		                        ELSE EXCLUDED.parked_at END`,
		t.key.Name, t.key.Revision, t.generation, string(p.stream), p.position, p.version, p.eventName, p.reason, tries, r.retryAfter(tries))
}

// retryAfter is the pause after so many tries, in seconds; nil when it is not tried again by itself.
func (r *Runner) retryAfter(tries int) *float64 {
	if tries >= r.opts.Tries {
		return nil
	}
	seconds := r.opts.RetryAfter.Seconds() * float64(int64(1)<<(tries-1))
	return &seconds
}

func (r *Runner) logParked(key projections.Key, list []poison) {
	for _, p := range list {
		r.opts.Logger.Error("parked a stream that cannot be folded", "projection", key.Name, "stream", string(p.stream),
			"position", p.position, "event", p.eventName, "reason", p.reason)
	}
}

// stopIfFull stops a read model that has too many parked streams.
func (r *Runner) stopIfFull(ctx context.Context, tx pgx.Tx, t target) (full bool, err error) {
	reason := fmt.Sprintf("more than %d streams are parked; see projection parked %s, then retry or skip them, or rebuild", r.opts.MaxParked, t.key.Name)
	tag, err := tx.Exec(ctx, `
		UPDATE projection_pointers
		   SET stopped = $4
		 WHERE name = $1 AND revision = $2
		   AND (SELECT count(*) FROM projection_parked k WHERE k.name = $1 AND k.revision = $2 AND k.generation = $3) > $5`,
		t.key.Name, t.key.Revision, t.generation, reason, r.opts.MaxParked)
	if err != nil {
		return false, fmt.Errorf("stop %s: %w", t.key, err)
	}
	return tag.RowsAffected() > 0, nil
}

// retryDue tries the parked streams whose pause is over, and returns when the next one's is; zero for none.
func (r *Runner) retryDue(ctx context.Context) (next time.Time, err error) {
	keys := r.keys()
	names, revisions := keyLists(keys)
	rows, err := r.pool.Query(ctx, `
		SELECT k.name, k.stream, greatest(extract(epoch FROM k.retry_at - clock_timestamp()), 0)::float8
		  FROM projection_parked k
		  JOIN projection_pointers p ON p.name = k.name AND p.revision = k.revision AND p.generation = k.generation
		  JOIN unnest($1::text[], $2::int[]) u(name, revision) ON u.name = k.name AND u.revision = k.revision
		 WHERE k.retry_at IS NOT NULL AND p.owner = $3
		 ORDER BY k.position`, names, revisions, r.owner)
	if err != nil {
		return time.Time{}, fmt.Errorf("look for parked streams: %w", err)
	}
	var due []Parked
	var p Parked
	var seconds float64
	_, err = pgx.ForEachRow(rows, []any{&p.Name, (*string)(&p.Stream), &seconds}, func() error {
		if seconds == 0 {
			due = append(due, p)
			return nil
		}
		if at := time.Now().Add(time.Duration(seconds * float64(time.Second))); next.IsZero() || at.Before(next) {
			next = at
		}
		return nil
	})
	if err != nil {
		return time.Time{}, fmt.Errorf("look for parked streams: %w", err)
	}
	for _, p := range due {
		s, err := r.find(p.Name)
		if err != nil {
			return time.Time{}, err
		}
		_, err = r.unpark(ctx, s.model, p.Stream, false)
		if err != nil && !errors.Is(err, ErrStillFails) && !errors.Is(err, ErrNotParked) {
			return time.Time{}, err
		}
	}
	if len(due) > 0 {
		// Those that failed again have a new time, and what was stopped may run.
		if err := r.refresh(ctx); err != nil {
			return time.Time{}, err
		}
		return r.retryDue(ctx)
	}
	return next, nil
}

// unpark takes the events of a parked stream in, up to where the read model is, under the pointer's lock.
func (r *Runner) unpark(ctx context.Context, m projections.Model, stream eventstore.Stream, skip bool) (Parked, error) {
	var was Parked
	var failed *poison
	do := func(careful bool) error {
		return r.inTx(ctx, pgx.ReadCommitted, func(tx pgx.Tx) (err error) {
			was, failed, err = r.unparkTx(ctx, tx, m, stream, skip, careful)
			return err
		})
	}
	err := do(false)
	if refusedRow(err) {
		err = do(true)
	}
	if err != nil {
		return was, fmt.Errorf("retry %s in %s: %w", stream, m.Key().Name, err)
	}
	if failed != nil {
		return was, fmt.Errorf("%w: event %d of %s: %s", ErrStillFails, failed.position, stream, failed.reason)
	}
	return was, nil
}

func (r *Runner) unparkTx(
	ctx context.Context, tx pgx.Tx, m projections.Model, stream eventstore.Stream, skip, careful bool,
) (was Parked, failed *poison, err error) {
	key := m.Key()
	generation, err := lockPointer(ctx, tx, key)
	if err != nil {
		return was, nil, err
	}
	position, err := checkpoint(ctx, tx, key, generation)
	if err != nil {
		return was, nil, err
	}
	was = Parked{Name: key.Name, Stream: stream}
	err = tx.QueryRow(ctx, `
		SELECT position, version, event_name, reason, tries, parked_at
		  FROM projection_parked
		 WHERE name = $1 AND revision = $2 AND generation = $3 AND stream = $4`,
		key.Name, key.Revision, generation, string(stream),
	).Scan(&was.Position, &was.Version, &was.Event, &was.Reason, &was.Tries, &was.ParkedAt)
	if errors.Is(err, pgx.ErrNoRows) {
		return was, nil, ErrNotParked
	}
	if err != nil {
		return was, nil, err
	}
	t := target{model: m, key: key, generation: generation}
	f := newFolding(m)
	batch := &pgx.Batch{}
	if skip {
		batch.Queue(`
			INSERT INTO projection_skips (name, revision, position, reason, skipped_at)
			VALUES ($1, $2, $3, $4, clock_timestamp())
			ON CONFLICT DO NOTHING`, key.Name, key.Revision, was.Position, was.Reason)
	}
	batch.Queue(`SELECT position FROM projection_skips WHERE name = $1 AND revision = $2 AND position BETWEEN $3 AND $4`,
		key.Name, key.Revision, was.Position, position).Query(f.scanSkips)
	batch.Queue(t.model.Schema().Load(generation), []string{string(stream)}).Query(f.scanRows)
	if err := tx.SendBatch(ctx, batch).Close(); err != nil {
		return was, nil, err
	}
	take := func(e *projections.Event) error {
		switch {
		case skip && e.Position == was.Position:
			return nil
		case careful:
			return r.takeCarefully(ctx, tx, t, f, e)
		}
		f.take(e)
		return nil
	}
	if err := r.eachOf(ctx, stream, was.Version-1, position, take); err != nil {
		return was, nil, err
	}
	return was, first(f.fresh), r.writeUnparked(ctx, tx, t, f, was, careful)
}

// eachOf calls take for the events of one stream with a version above after, up to a position.
func (r *Runner) eachOf(
	ctx context.Context, stream eventstore.Stream, after, upTo int64, take func(e *projections.Event) error,
) error {
	for {
		page, err := r.log.ReadStream(ctx, stream, after, r.opts.PageSize)
		if err != nil {
			return err
		}
		for _, recorded := range page {
			if recorded.Position > upTo {
				return nil
			}
			if err := take(projections.NewEvent(recorded.Fact())); err != nil {
				return err
			}
		}
		if len(page) < r.opts.PageSize {
			return nil
		}
		after = page[len(page)-1].Version
	}
}

// takeCarefully folds an event and writes the row at once, behind a savepoint, so that it shows which event makes a row
// that the database refuses.
func (r *Runner) takeCarefully(ctx context.Context, tx pgx.Tx, t target, f *folding, e *projections.Event) error {
	if f.parked[e.Stream] {
		return nil
	}
	before := f.rows[e.Stream]
	f.take(e)
	if f.parked[e.Stream] {
		return nil
	}
	err := pgx.BeginFunc(ctx, tx, func(tx pgx.Tx) error {
		batch := &pgx.Batch{}
		if err := r.queueWrites(batch, t, f); err != nil {
			return err
		}
		return tx.SendBatch(ctx, batch).Close()
	})
	if !refusedRow(err) {
		return err
	}
	f.rows[e.Stream] = before
	f.parked[e.Stream] = true
	f.fresh = append(f.fresh, newPoison(e, err.Error()))
	return nil
}

func first(list []poison) *poison {
	if len(list) == 0 {
		return nil
	}
	return &list[0]
}

// writeUnparked writes what was taken in, and either removes the stream from the parked ones or parks it at what failed.
// What was taken in carefully is written already; to write it once more could be refused, and would hold up all others.
func (r *Runner) writeUnparked(ctx context.Context, tx pgx.Tx, t target, f *folding, was Parked, careful bool) error {
	fresh := f.fresh
	f.fresh = nil
	batch := &pgx.Batch{}
	if !careful {
		if err := r.queueWrites(batch, t, f); err != nil {
			return err
		}
	}
	if p := first(fresh); p != nil {
		tries := 1
		if p.position == was.Position {
			tries = was.Tries + 1
		}
		r.queuePark(batch, t, *p, tries)
	} else {
		batch.Queue(`DELETE FROM projection_parked WHERE name = $1 AND revision = $2 AND generation = $3 AND stream = $4`,
			t.key.Name, t.key.Revision, t.generation, string(was.Stream))
		batch.Queue(`
			UPDATE projection_pointers
			   SET stopped = ''
			 WHERE name = $1 AND revision = $2 AND stopped <> ''
			   AND (SELECT count(*) FROM projection_parked k WHERE k.name = $1 AND k.revision = $2 AND k.generation = $3) <= $4`,
			t.key.Name, t.key.Revision, t.generation, r.opts.MaxParked)
	}
	return tx.SendBatch(ctx, batch).Close()
}
