package api

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/commands"
)

// lookAgain is how long a waiter sleeps at most: the hub's signals come through a subscriber, which may be late or cut off.
// Each look is a query, so it is not short.
const lookAgain = 3 * time.Second

// await returns the state of a stream once it is as wanted, or as it is when the time is over, the server closes or the
// client is gone. It watches first and reads then, so that no change is missed.
func await[S, C any, E domain.Event](
	c *call, kind *eventstore.Kind[S, C, E], id uuid.UUID, limit time.Duration, wanted func(S) bool,
) (eventstore.Loaded[S], error) {
	s := c.server
	ctx, cancel := context.WithTimeout(c.ctx(), limit)
	defer cancel()
	signals, stop := s.deps.Hub.Watch(kind.Stream(id))
	defer stop()
	for {
		// Not bound to the time limit: what is read last is the answer.
		now, err := eventstore.Load(c.ctx(), s.deps.Commands.Ledger(), kind, id)
		if err != nil || wanted(now.State) || ctx.Err() != nil || limit <= 0 {
			return now, err
		}
		select {
		case _, open := <-signals:
			if !open {
				return now, nil // the engine stops
			}
		case <-time.After(lookAgain):
		case <-ctx.Done():
		case <-s.closing:
			return now, nil
		}
	}
}

// awaitLease is await for a lease.
func (c *call) awaitLease(id uuid.UUID, limit time.Duration, wanted func(leaseState) bool) (leaseState, error) {
	now, err := await(c, commands.Leases, id, limit, wanted)
	return now.State, err
}
