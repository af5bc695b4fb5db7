package runner

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/projections"
)

// Difference is a row that is not what the log says.
type Difference struct {
	Stream eventstore.Stream
	// What says in which way.
	What DifferenceKind
	// Live and Folded are the rows as the database shows them; "" for none.
	Live, Folded string
	// Position, Version and Event are those of the event behind it: the first one that the live row does not have, or else
	// the last one that went into it.
	Position int64
	Version  int64
	Event    string
}

// DifferenceKind is the way in which a row differs.
type DifferenceKind string

// The kinds.
const (
	// RowMissing: the live table lacks the row.
	RowMissing DifferenceKind = "missing"
	// RowExtra: the live table has a row too many.
	RowExtra DifferenceKind = "extra"
	// RowOther: the row is another.
	RowOther DifferenceKind = "other"
)

// planComparison: compiling one comparison takes longer than making it; and going through both tables by their keys, which
// is what compares whole rows without sorting them, must not seem as dear as on a disk that turns.
const planComparison = `SELECT set_config('jit', 'off', true), set_config('random_page_cost', '1.1', true)`

// compare brings a new generation to exactly where the live one is and compares them, all in one snapshot, which holds up
// nobody.
func (r *Runner) compare(ctx context.Context, b *building, withLive bool) error {
	var diff *Difference
	err := r.inTx(ctx, pgx.RepeatableRead, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, planComparison); err != nil {
			return err
		}
		var live int64
		if withLive {
			position, generation, err := r.liveInSnapshot(ctx, tx, b.key)
			if err != nil {
				return err
			}
			for b.position < position {
				if err := r.takePage(ctx, tx, b, position); err != nil {
					return err
				}
			}
			if b.position == position {
				live = generation
			}
		}
		b.report.Position = b.position
		if err := r.count(ctx, tx, b); err != nil {
			return err
		}
		if live == 0 {
			return nil
		}
		b.report.Compared = true
		var err error
		diff, err = r.differences(ctx, tx, b, live)
		return err
	})
	if err != nil || diff == nil {
		return err
	}
	b.report.First = diff
	return r.explain(ctx, diff)
}

func (r *Runner) liveInSnapshot(ctx context.Context, tx pgx.Tx, key projections.Key) (position, generation int64, err error) {
	err = tx.QueryRow(ctx, `SELECT coalesce(generation, 0) FROM projection_pointers WHERE name = $1 AND revision = $2`,
		key.Name, key.Revision).Scan(&generation)
	if err != nil || generation == 0 {
		return 0, 0, err
	}
	position, err = checkpoint(ctx, tx, key, generation)
	return position, generation, err
}

func (r *Runner) count(ctx context.Context, tx pgx.Tx, b *building) error {
	return tx.QueryRow(ctx, `
		SELECT (SELECT count(*) FROM `+b.key.Table(b.generation)+`),
		       (SELECT count(*) FROM projection_parked WHERE name = $1 AND revision = $2 AND generation = $3)`,
		b.key.Name, b.key.Revision, b.generation).Scan(&b.report.Rows, &b.report.Parked)
}

// differences compares whole rows: every column and every letter of the data counts.
func (r *Runner) differences(ctx context.Context, tx pgx.Tx, b *building, live int64) (*Difference, error) {
	query := fmt.Sprintf(`
		SELECT stream, coalesce(l.version, 0), coalesce(n.version, 0), coalesce(l::text, ''), coalesce(n::text, ''),
		       l.stream IS NULL, n.stream IS NULL, count(*) OVER ()
		  FROM %s l
		  FULL JOIN %s n USING (stream)
		 WHERE %s
		 ORDER BY least(l.position, n.position)
		 LIMIT 1`, b.key.Table(live), b.key.Table(b.generation), b.model.Schema().Differ("l", "n"))
	d := &Difference{What: RowOther}
	var liveVersion, foldedVersion int64
	var missing, extra bool
	err := tx.QueryRow(ctx, query).Scan((*string)(&d.Stream), &liveVersion, &foldedVersion, &d.Live, &d.Folded, &missing, &extra, &b.report.Differences)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil //nolint:nilnil // no difference
	}
	if err != nil {
		return nil, fmt.Errorf("compare generations %d and %d of %s: %w", live, b.generation, b.key, err)
	}
	switch {
	case missing:
		d.What = RowMissing
	case extra:
		d.What = RowExtra
	}
	d.Version = max(liveVersion, 1)
	if liveVersion < foldedVersion {
		d.Version = liveVersion + 1
	}
	return d, nil
}

// explain finds the event behind a difference.
func (r *Runner) explain(ctx context.Context, d *Difference) error {
	events, err := r.log.ReadStream(ctx, d.Stream, d.Version-1, 1)
	if err != nil {
		return err
	}
	if len(events) > 0 {
		d.Position, d.Event = events[0].Position, events[0].Name
	}
	return nil
}
