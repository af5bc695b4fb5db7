package runner

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenure-dev/tenure/projections"
)

// takeAbandoned takes over read models whose owner has left them behind the end of the log, without a step, for too long.
// If it is only slow, it finds out at its next page: no page is taken twice. One that has no table yet takes no step while it
// is built; it is left alone as long as somebody has the right to build it, which ends with the process.
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
	var abandoned, unbuilt []projections.Key
	r.mu.Lock()
	for _, s := range r.slots {
		waits := !s.mine && s.stopped == "" && (s.generation == 0 || s.position < head.Position || s.nobodys)
		switch {
		case !waits:
			s.stillSince = time.Time{}
		case s.nobodys && s.generation > 0:
			abandoned = append(abandoned, s.key)
		case s.stillSince.IsZero() || s.stillAt != s.position:
			s.stillSince, s.stillAt = time.Now(), s.position
		case time.Since(s.stillSince) < r.opts.TakeOverAfter:
		case s.generation == 0:
			unbuilt = append(unbuilt, s.key)
			s.stillSince = time.Now() // if it is being built, it is looked at again after that time
		default:
			abandoned = append(abandoned, s.key)
		}
	}
	r.mu.Unlock()
	unbuilt, err = r.notBeingBuilt(ctx, unbuilt)
	if err != nil {
		return err
	}
	abandoned = append(abandoned, unbuilt...)
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

// notBeingBuilt are those that nobody has the right to build.
func (r *Runner) notBeingBuilt(ctx context.Context, keys []projections.Key) (free []projections.Key, err error) {
	if len(keys) == 0 {
		return nil, nil
	}
	// It waits for no turn: this runner's own builds may have them all.
	err = r.inTx(ctx, pgx.ReadCommitted, func(tx pgx.Tx) error {
		look := buildLock{tx: tx}
		for _, key := range keys {
			ok, err := look.try(ctx, "build", key.String())
			if err != nil {
				return err
			}
			if ok {
				free = append(free, key)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look who builds: %w", err)
	}
	return free, nil
}

// giveUpLimit bounds how long the end of a runner waits to say so.
const giveUpLimit = 2 * time.Second

// giveUp says that this runner keeps nothing any more, so that another one need not wait.
func (r *Runner) giveUp(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), giveUpLimit)
	defer cancel()
	// Pages hold the rows one after the other in the order of their names; each row by itself cannot hold them up.
	for _, key := range r.keys() {
		_, err := r.pool.Exec(ctx, `UPDATE projection_pointers SET owner = NULL WHERE name = $1 AND revision = $2 AND owner = $3`,
			key.Name, key.Revision, r.owner)
		if err != nil {
			r.opts.Logger.Debug("could not say that the read models are nobody's", "error", err)
			return
		}
	}
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
