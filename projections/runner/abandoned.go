package runner

import (
	"context"
	"fmt"
	"time"

	"github.com/tenure-dev/tenure/projections"
)

// takeAbandoned takes over read models whose owner has left them behind the end of the log, without a step, for too long.
// If it is only slow, it finds out at its next page: no page is taken twice.
func (r *Runner) takeAbandoned(ctx context.Context) error {
	r.mu.Lock()
	elsewhere := r.elsewhere()
	r.mu.Unlock()
	if !elsewhere {
		return nil
	}
	head, err := r.log.Head(ctx)
	if err != nil {
		return err
	}
	var abandoned []projections.Key
	r.mu.Lock()
	for _, s := range r.slots {
		waits := !s.mine && s.generation > 0 && s.stopped == "" && s.position < head.Position
		switch {
		case !waits:
			s.stillSince = time.Time{}
		case s.stillSince.IsZero() || s.stillAt != s.position:
			s.stillSince, s.stillAt = time.Now(), s.position
		case time.Since(s.stillSince) >= r.opts.TakeOverAfter:
			abandoned = append(abandoned, s.key)
		}
	}
	r.mu.Unlock()
	if len(abandoned) == 0 {
		return nil
	}
	for _, key := range abandoned {
		r.opts.Logger.Warn("take over a read model that its process has left", "projection", key.Name)
	}
	if err := r.own(ctx, abandoned); err != nil {
		return err
	}
	return r.refresh(ctx)
}

// own writes this runner's token into the pointers.
func (r *Runner) own(ctx context.Context, keys []projections.Key) error {
	names, revisions := keyLists(keys)
	_, err := r.pool.Exec(ctx, `
		UPDATE projection_pointers p
		   SET owner = $3
		  FROM (SELECT p.name, p.revision
		          FROM projection_pointers p
		          JOIN unnest($1::text[], $2::int[]) u(name, revision) ON u.name = p.name AND u.revision = p.revision
		         ORDER BY p.name, p.revision
		           FOR UPDATE OF p) mine
		 WHERE p.name = mine.name AND p.revision = mine.revision`, names, revisions, r.owner)
	if err != nil {
		return fmt.Errorf("take the pointers: %w", err)
	}
	return nil
}
