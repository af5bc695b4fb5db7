package runner

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tenure-dev/tenure/projections"
)

// createFirst makes the first generation of a read model that has none, empty and live. The caller holds the build lock.
func (r *Runner) createFirst(ctx context.Context, m projections.Model) error {
	key := m.Key()
	return r.inTx(ctx, pgx.ReadCommitted, func(tx pgx.Tx) error {
		generation, err := lockPointer(ctx, tx, key)
		if err != nil || generation != 0 {
			return err
		}
		if generation, err = r.create(ctx, tx, m, 0); err != nil {
			return err
		}
		if err := index(ctx, tx, m, generation); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `UPDATE projection_checkpoints SET complete = true WHERE name = $1 AND revision = $2 AND generation = $3`,
			key.Name, key.Revision, generation)
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `UPDATE projection_pointers SET generation = $3 WHERE name = $1 AND revision = $2`,
			key.Name, key.Revision, generation)
		return err
	})
}

// create makes the table of a new generation, without indexes, and its checkpoint at the start of the log. total is what a
// rebuild has to do.
func (r *Runner) create(ctx context.Context, tx pgx.Tx, m projections.Model, total int64) (generation int64, err error) {
	key := m.Key()
	err = tx.QueryRow(ctx, `
		UPDATE projection_pointers
		   SET last_generation = last_generation + 1
		 WHERE name = $1 AND revision = $2
		RETURNING last_generation`, key.Name, key.Revision).Scan(&generation)
	if err != nil {
		return 0, fmt.Errorf("number a generation of %s: %w", key, err)
	}
	batch := &pgx.Batch{}
	batch.Queue(m.Schema().Create(generation))
	batch.Queue(`
		INSERT INTO projection_checkpoints (name, revision, generation, position, epoch, complete)
		VALUES ($1, $2, $3, 0, 0, false)`, key.Name, key.Revision, generation)
	if total > 0 {
		batch.Queue(`
			INSERT INTO projection_rebuilds (name, revision, generation, done, total, started_at)
			VALUES ($1, $2, $3, 0, $4, clock_timestamp())`, key.Name, key.Revision, generation, total)
	}
	if err := tx.SendBatch(ctx, batch).Close(); err != nil {
		return 0, fmt.Errorf("make generation %d of %s: %w", generation, key, err)
	}
	return generation, nil
}

// index makes the indexes of a generation and tells the planner of its rows.
func index(ctx context.Context, tx pgx.Tx, m projections.Model, generation int64) error {
	batch := &pgx.Batch{}
	for _, statement := range m.Schema().Index(generation) {
		batch.Queue(statement)
	}
	// A sample of a few thousand rows says enough of such columns, and the server's own, larger one comes in its time.
	batch.Queue(`SELECT set_config('default_statistics_target', '20', true)`)
	batch.Queue(m.Schema().Analyze(generation))
	if err := tx.SendBatch(ctx, batch).Close(); err != nil {
		return fmt.Errorf("index generation %d of %s: %w", generation, m.Key(), err)
	}
	return nil
}

// drop removes a generation and all that is known of it. It gives up when somebody reads the table for long: the next
// sweep comes.
func (r *Runner) drop(ctx context.Context, m projections.Model, generation int64) error {
	key := m.Key()
	err := r.inTx(ctx, pgx.ReadCommitted, func(tx pgx.Tx) error {
		batch := &pgx.Batch{}
		batch.Queue(`SELECT set_config('lock_timeout', '2s', true)`)
		batch.Queue(m.Schema().Drop(generation))
		for _, table := range []string{"projection_checkpoints", "projection_parked", "projection_rebuilds"} {
			batch.Queue("DELETE FROM "+table+" WHERE name = $1 AND revision = $2 AND generation = $3", key.Name, key.Revision, generation)
		}
		return tx.SendBatch(ctx, batch).Close()
	})
	if err != nil {
		return fmt.Errorf("drop generation %d of %s: %w", generation, key, err)
	}
	return nil
}

// sweep removes all generations but the live one and the one before. The caller holds the build lock.
func (r *Runner) sweep(ctx context.Context, m projections.Model) error {
	key := m.Key()
	rows, err := r.pool.Query(ctx, `
		SELECT c.generation
		  FROM projection_checkpoints c
		  JOIN projection_pointers p ON p.name = c.name AND p.revision = c.revision
		 WHERE c.name = $1 AND c.revision = $2
		   AND c.generation IS DISTINCT FROM p.generation AND c.generation IS DISTINCT FROM p.previous`, key.Name, key.Revision)
	if err != nil {
		return fmt.Errorf("look for old generations of %s: %w", key, err)
	}
	old, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return fmt.Errorf("look for old generations of %s: %w", key, err)
	}
	for _, generation := range old {
		if err := r.drop(ctx, m, generation); err != nil {
			r.opts.Logger.Warn("an old generation stays for now", "projection", key.Name, "generation", generation, "error", err)
		}
	}
	return nil
}

// buildLock is the right to make and remove generations of some read models. It is a transaction that does nothing else, so
// that it ends with the process however that ends, and that holds also where a pooler gives each transaction another
// session. Between its statements it has no snapshot, so it keeps no VACUUM back.
type buildLock struct {
	tx   pgx.Tx
	turn chan struct{}
	// done ends the beat.
	done chan struct{}
	beat sync.WaitGroup
}

// lockPatience is how long a build waits for the right: a process that starts has it for a moment, to sweep.
const lockPatience = 2 * time.Second

// lockBuild takes the right for all of the read models or for none.
func (r *Runner) lockBuild(ctx context.Context, slots []slot) (*buildLock, error) {
	lock, err := r.openLock(ctx)
	if err != nil {
		return nil, err
	}
	patience := time.Now().Add(lockPatience)
	for _, s := range slots {
		ok, err := lock.wait(ctx, "build", s.key.String(), patience)
		if err == nil && !ok {
			err = fmt.Errorf("%w: %s", ErrRebuildRunning, s.key.Name)
		}
		if err != nil {
			lock.release()
			return nil, err
		}
	}
	lock.hold()
	return lock, nil
}

// tryBuild takes the right for those of the read models for which nobody has it; for none of them there is no lock. Only one
// process at a time does so: many that start at once, each with a part, would hold all the sessions that a pooler has and
// wait for one more.
func (r *Runner) tryBuild(ctx context.Context, slots []slot) (lock *buildLock, got []slot, err error) {
	lock, err = r.openLock(ctx)
	if err != nil {
		return nil, nil, err
	}
	alone, err := lock.try(ctx, "prepare", "")
	for _, s := range slots {
		if err != nil || !alone {
			break
		}
		var ok bool
		if ok, err = lock.try(ctx, "build", s.key.String()); ok {
			got = append(got, s)
		}
	}
	if err != nil || len(got) == 0 {
		lock.release()
		return nil, nil, err
	}
	lock.hold()
	return lock, got, nil
}

// openLock waits for a turn first: builds hold a connection each for their lock and need more for their work, so all at once
// they would have all of the pool and wait for one another.
func (r *Runner) openLock(ctx context.Context) (*buildLock, error) {
	select {
	case r.turns <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	tx, err := r.begin(ctx, pgx.ReadCommitted)
	if err != nil {
		<-r.turns
		return nil, err
	}
	return &buildLock{tx: tx, turn: r.turns, done: make(chan struct{})}, nil
}

// hold keeps the server from taking the transaction for one whose client is gone, which it ends. A beat that fails has lost
// the lock; the build finds out when it is over.
func (l *buildLock) hold() {
	l.beat.Go(func() {
		tick := time.NewTicker(idleLimit / 4)
		defer tick.Stop()
		for {
			select {
			case <-l.done:
				return
			case <-tick.C:
			}
			ctx, cancel := context.WithTimeout(context.Background(), idleLimit/4)
			_, err := l.tx.Exec(ctx, "SELECT")
			cancel()
			if err != nil {
				return
			}
		}
	})
}

// try takes one of the locks of this schema if nobody has it.
func (l *buildLock) try(ctx context.Context, what, of string) (ok bool, err error) {
	err = l.tx.QueryRow(ctx, `
		SELECT pg_try_advisory_xact_lock(hashtextextended(concat_ws(' ', 'tenure', $1::text, current_schema(), $2::text), 0))`,
		what, of).Scan(&ok)
	return ok, err
}

// wait takes one of the locks of this schema once it is free, if that is before a time.
func (l *buildLock) wait(ctx context.Context, what, of string, until time.Time) (ok bool, err error) {
	tick := time.NewTicker(lockPatience / 100)
	defer tick.Stop()
	for {
		ok, err := l.try(ctx, what, of)
		if ok || err != nil || time.Now().After(until) {
			return ok, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return false, context.Cause(ctx)
		}
	}
}

const closeTimeout = 5 * time.Second

// release gives the right back. If that cannot be said, the connection is ended, and the right with it.
func (l *buildLock) release() {
	close(l.done)
	l.beat.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	_ = l.tx.Rollback(ctx)
	<-l.turn
}

// turnsOf is how many builds a pool has connections for: each may use three, and two are for the feed and the pages.
func turnsOf(pool *pgxpool.Pool) int { return max(1, (int(pool.Config().MaxConns)-2)/3) }

// pick are copies of the slots of the named read models; no names are all of them.
func (r *Runner) pick(names []string) ([]slot, error) {
	var picked []slot
	for _, name := range names {
		if _, err := r.find(name); err != nil {
			return nil, err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.slots {
		if len(names) == 0 || slices.Contains(names, s.key.Name) {
			picked = append(picked, *s)
		}
	}
	return picked, nil
}
