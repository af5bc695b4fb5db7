package runner

import (
	"cmp"
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/tenure-dev/tenure/projections"
)

func compareKeys(a, b projections.Key) int {
	return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Revision, b.Revision))
}

// keyLists are keys as two parallel arrays, which is how statements take them.
func keyLists(keys []projections.Key) (names []string, revisions []int32) {
	for _, k := range keys {
		names = append(names, k.Name)
		revisions = append(revisions, int32(k.Revision))
	}
	return names, revisions
}

func (r *Runner) keys() []projections.Key {
	keys := make([]projections.Key, len(r.slots))
	for i, s := range r.slots {
		keys[i] = s.key
	}
	return keys
}

// takeOver makes this runner the owner of all its read models, clears away what a dead process left, and makes the tables
// of those that have none if that is quick.
func (r *Runner) takeOver(ctx context.Context) error {
	names, revisions := keyLists(r.keys())
	_, err := r.pool.Exec(ctx, `
		INSERT INTO projection_pointers (name, revision)
		SELECT * FROM unnest($1::text[], $2::int[])
		ON CONFLICT DO NOTHING`, names, revisions)
	if err != nil {
		return fmt.Errorf("make the pointers: %w", err)
	}
	if err := r.own(ctx, r.keys()); err != nil {
		return err
	}
	if err := r.prepare(ctx); err != nil {
		return err
	}
	return r.refresh(ctx)
}

// prepare sweeps, and makes first tables unless the log is long. What another process is building is left alone.
func (r *Runner) prepare(ctx context.Context) error {
	all, err := r.pick(nil)
	if err != nil {
		return err
	}
	lock, got, err := r.tryBuild(ctx, all)
	if err != nil || len(got) == 0 {
		return err
	}
	defer lock.release()
	head, err := r.log.Head(ctx)
	if err != nil {
		return err
	}
	for _, s := range got {
		if err := r.sweep(ctx, s.model); err != nil {
			return err
		}
		if head.Position > r.opts.BuildBehind {
			continue
		}
		if err := r.createFirst(ctx, s.model); err != nil {
			return fmt.Errorf("make the first table of %s: %w", s.key, err)
		}
	}
	return nil
}

// missing are copies of the slots of this runner that have no table.
func (r *Runner) missing() []slot {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []slot
	for _, s := range r.slots {
		if s.mine && s.generation == 0 {
			out = append(out, *s)
		}
	}
	return out
}

// refresh reads again what the database says of every slot.
func (r *Runner) refresh(ctx context.Context) error {
	names, revisions := keyLists(r.keys())
	type state struct {
		generation, position int64
		mine, nobodys        bool
		stopped              string
	}
	rows, err := r.pool.Query(ctx, `
		SELECT p.name, p.revision, coalesce(p.generation, 0), coalesce(c.position, 0), p.owner IS NOT DISTINCT FROM $3,
		       p.owner IS NULL, p.stopped
		  FROM projection_pointers p
		  JOIN unnest($1::text[], $2::int[]) u(name, revision) ON u.name = p.name AND u.revision = p.revision
		  LEFT JOIN projection_checkpoints c ON c.name = p.name AND c.revision = p.revision AND c.generation = p.generation`,
		names, revisions, r.owner)
	if err != nil {
		return fmt.Errorf("read the pointers: %w", err)
	}
	now := map[projections.Key]state{}
	var key projections.Key
	var s state
	_, err = pgx.ForEachRow(rows, []any{&key.Name, &key.Revision, &s.generation, &s.position, &s.mine, &s.nobodys, &s.stopped}, func() error {
		now[key] = s
		return nil
	})
	if err != nil {
		return fmt.Errorf("read the pointers: %w", err)
	}
	r.update(func() {
		for _, slot := range r.slots {
			s := now[slot.key]
			if slot.mine && !s.mine {
				r.opts.Logger.Info("another process keeps the read model now", "projection", slot.key.Name)
			}
			if s.stopped != "" && slot.stopped == "" {
				r.opts.Logger.Error("the read model is stopped", "projection", slot.key.Name, "reason", s.stopped)
			}
			if slot.generation != s.generation || slot.position != s.position || slot.mine != s.mine {
				slot.cache = newRowCache()
			}
			slot.generation, slot.position, slot.mine, slot.stopped = s.generation, s.position, s.mine, s.stopped
			slot.nobodys = s.nobodys
		}
	})
	return nil
}

// lockPointer locks the pointer of one read model and returns its live generation; 0 for none.
func lockPointer(ctx context.Context, tx pgx.Tx, key projections.Key) (generation int64, err error) {
	err = tx.QueryRow(ctx, `
		SELECT coalesce(generation, 0)
		  FROM projection_pointers
		 WHERE name = $1 AND revision = $2
		   FOR UPDATE`, key.Name, key.Revision).Scan(&generation)
	if err != nil {
		return 0, fmt.Errorf("lock the pointer of %s: %w", key, err)
	}
	return generation, nil
}

// checkpoint is how far a generation is.
func checkpoint(ctx context.Context, tx interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}, key projections.Key, generation int64) (position int64, err error) {
	err = tx.QueryRow(ctx, `
		SELECT position
		  FROM projection_checkpoints
		 WHERE name = $1 AND revision = $2 AND generation = $3`, key.Name, key.Revision, generation).Scan(&position)
	if err != nil {
		return 0, fmt.Errorf("read the checkpoint of %s: %w", key, err)
	}
	return position, nil
}
