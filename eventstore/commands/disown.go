package commands

import (
	"context"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/domain/runtime"
	"github.com/tenure-dev/tenure/eventstore"
)

// DisownLease lets go of a lease that a copy of the log inherited: it ends, its slot is free, and what it has is left to the
// original's processes. A lease that was asked for at or after a position is the copy's own, and is left as it is.
func (c *Commands) DisownLease(ctx context.Context, by Caller, id domain.LeaseID, before int64) (eventstore.Outcome, error) {
	first, err := c.ledger.Store().ReadStream(ctx, Leases.Stream(id.UUID), 0, 1)
	if err != nil || len(first) == 0 || first[0].Position >= before {
		return eventstore.Outcome{}, err
	}
	return eventstore.Execute(ctx, c.ledger, by.options(), func(ctx context.Context, w *eventstore.Work) error {
		was, err := eventstore.View(ctx, w, Leases, id.UUID)
		if err != nil {
			return err
		}
		w.Company(was.Company)
		events, err := eventstore.Act(ctx, w, Leases, id.UUID, lease.Command(lease.Disown{}))
		if err != nil || len(events) == 0 {
			return err
		}
		if !was.Status().Ended() && len(was.Env) > 0 {
			w.Drop(id.UUID)
		}
		if !was.Runtime.IsZero() {
			if _, err := eventstore.Act(ctx, w, Runtimes, was.Runtime.UUID, runtime.Command(runtime.Disown{})); err != nil {
				return err
			}
		}
		if inAdmission(was) {
			return giveUpSlot(ctx, w, id, was)
		}
		return nil
	})
}
