package api

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/access"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/commands"
)

// lookAgain is how long a waiter sleeps at most: the hub's signals come through a subscriber, which may be late or cut off.
// Each look is a query, so it is not short.
const lookAgain = 3 * time.Second

// await returns the state of a stream once it is as wanted, or as it is when the time is over, the server closes or the
// client is gone. It watches first and reads then, so that no change is missed. o is the outcome of the call's command, if it
// had one.
func await[S, C any, E domain.Event](
	c *call, kind *eventstore.Kind[S, C, E], id uuid.UUID, o eventstore.Outcome, limit time.Duration, wanted func(S) bool,
) (eventstore.Loaded[S], error) {
	s := c.server
	ctx, cancel := context.WithTimeout(c.ctx(), limit)
	defer cancel()
	signals, stop := s.deps.Hub.Watch(kind.Stream(id))
	defer stop()
	told := o.Changed
	for {
		now, err := look(c, kind, id, told)
		if err != nil || wanted(now.State) || ctx.Err() != nil || limit <= 0 {
			return now, err
		}
		told = false
		select {
		case _, open := <-signals:
			if !open {
				return now, nil // the engine stops
			}
			told = true
		case <-time.After(lookAgain):
		case <-ctx.Done():
		case <-s.closing:
			return now, nil
		}
	}
}

// look is the state of a stream: as this process knows it, for whoever was told of the change that is looked for or has
// made it; else as it is in the log. It is not bound to a limit of time: what is looked at last is the answer.
func look[S, C any, E domain.Event](c *call, kind *eventstore.Kind[S, C, E], id uuid.UUID, told bool) (eventstore.Loaded[S], error) {
	see := eventstore.Load[S, C, E]
	if told {
		see = eventstore.Recall
	}
	now, err := see(c.ctx(), c.server.deps.Commands.Ledger(), kind, id)
	if err == nil && now.Version == 0 {
		err = access.NotFound(c.route.action.Noun())
	}
	return now, err
}

// awaitLease is await for a lease.
func (c *call) awaitLease(id uuid.UUID, o eventstore.Outcome, limit time.Duration, wanted func(lease.State) bool) (leaseNow, error) {
	return await(c, commands.Leases, id, o, limit, wanted)
}
