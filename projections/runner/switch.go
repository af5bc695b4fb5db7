package runner

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// switchTo lets a generation answer: under the pointer's lock it is brought to where the live one is, so that the live
// runner goes on from there, in the same transaction.
func (r *Runner) switchTo(ctx context.Context, t target) error {
	b := &building{target: t}
	for {
		done := false
		goal := func() (int64, error) {
			live, ok, err := r.livePosition(ctx, b.key)
			if !ok {
				return b.position, err
			}
			return live, err
		}
		var err error
		if b.position, err = checkpoint(ctx, r.pool, b.key, b.generation); err != nil {
			return lost(err)
		}
		if err := r.catchUp(ctx, b, goal); err != nil {
			return err
		}
		err = r.inTx(ctx, pgx.ReadCommitted, func(tx pgx.Tx) (err error) {
			done, err = r.switchTx(ctx, tx, b)
			return err
		})
		if err != nil || done {
			return err
		}
	}
}

// lost tells from an error that the generation is gone.
func lost(err error) error {
	if errors.Is(err, pgx.ErrNoRows) || tableGone(err) {
		return fmt.Errorf("%w: %w", ErrRebuildLost, err)
	}
	return err
}

// switchTx is the last step, if there is not more than a page to catch up.
func (r *Runner) switchTx(ctx context.Context, tx pgx.Tx, b *building) (done bool, err error) {
	live, err := lockPointer(ctx, tx, b.key)
	if err != nil {
		return false, err
	}
	if live != 0 {
		upTo, err := checkpoint(ctx, tx, b.key, live)
		if err != nil {
			return false, err
		}
		if upTo-b.position > int64(r.opts.PageSize) {
			return false, nil
		}
		if upTo > b.position {
			if err := r.takePage(ctx, tx, b, upTo); err != nil {
				return false, err
			}
		}
	}
	tag, err := tx.Exec(ctx, `UPDATE projection_checkpoints SET complete = true WHERE name = $1 AND revision = $2 AND generation = $3`,
		b.key.Name, b.key.Revision, b.generation)
	if err != nil {
		return false, err
	}
	if tag.RowsAffected() != 1 {
		return false, ErrRebuildLost
	}
	batch := &pgx.Batch{}
	batch.Queue(`
		UPDATE projection_pointers
		   SET previous = generation, generation = $3, stopped = ''
		 WHERE name = $1 AND revision = $2`, b.key.Name, b.key.Revision, b.generation)
	batch.Queue(`DELETE FROM projection_rebuilds WHERE name = $1 AND revision = $2`, b.key.Name, b.key.Revision)
	return true, tx.SendBatch(ctx, batch).Close()
}

// Back lets the generation before the live one answer again, brought up to date first.
func (r *Runner) Back(ctx context.Context, name string) error {
	slots, err := r.pick([]string{name})
	if err != nil {
		return err
	}
	lock, err := r.lockBuild(ctx, slots)
	if err != nil {
		return err
	}
	defer lock.release()
	var previous int64
	key := slots[0].key
	err = r.pool.QueryRow(ctx, `SELECT coalesce(previous, 0) FROM projection_pointers WHERE name = $1 AND revision = $2`,
		key.Name, key.Revision).Scan(&previous)
	if err != nil {
		return fmt.Errorf("go back with %s: %w", key, lost(err))
	}
	if previous == 0 {
		return fmt.Errorf("%w: %s", ErrNoPrevious, name)
	}
	defer r.nudge()
	if err := r.switchTo(ctx, target{model: slots[0].model, key: key, generation: previous}); err != nil {
		return fmt.Errorf("go back with %s: %w", key, err)
	}
	return nil
}
