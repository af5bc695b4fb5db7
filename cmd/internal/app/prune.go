package app

import (
	"context"
	"time"

	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/eventstore/pg"
)

// commandAge is how long an Idempotency-Key is remembered at least; one that made a lease, as long as the lease lives.
const commandAge = 7 * 24 * time.Hour

// pruneEvery is how often old keys are looked for.
const pruneEvery = time.Hour

// leaseEnds are the events that end a lease.
var leaseEnds = []string{
	lease.Released{}.EventName(), lease.Expired{}.EventName(), lease.Failed{}.EventName(), lease.Retained{}.EventName(), lease.Canceled{}.EventName(),
}

// startPruning forgets old Idempotency-Keys.
func (a *App) startPruning(ctx context.Context) {
	life := pg.Lifetime{Category: lease.Category, Ends: leaseEnds}
	a.background(ctx, "pruning", func(ctx context.Context) {
		ticker := time.NewTicker(pruneEvery)
		defer ticker.Stop()
		for {
			if n, err := a.store.PruneCommands(ctx, commandAge, life); err != nil && ctx.Err() == nil {
				a.log.Warn("old idempotency keys could not be forgotten", "error", err)
			} else if n > 0 {
				a.log.Info("forgot old idempotency keys", "count", n)
			}
			select {
			case <-ticker.C:
			case <-ctx.Done():
				return
			}
		}
	})
}
