package supervisor

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/execution"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/commands"
)

// sweepLimit bounds one reading of the to-do list.
const sweepLimit = 1000

// sweepTimeout bounds one sweep, so that a database which does not answer holds up no more than that.
const sweepTimeout = 10 * time.Second

func (s *Supervisor) sweepLoop(ctx context.Context) {
	ticker := time.NewTicker(s.opts.SweepInterval)
	defer ticker.Stop()
	for {
		if err := s.sweep(ctx); err != nil && ctx.Err() == nil {
			s.log.Warn("the sweep failed; it will be repeated", "error", err)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// sweep asks for everything that is due, and for everything that a dead process holds.
func (s *Supervisor) sweep(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, sweepTimeout)
	defer cancel()
	due, err := s.deps.Todo.Due(ctx, s.now(), sweepLimit)
	if err != nil {
		return err
	}
	for _, task := range due {
		s.queueOf(task.Stream).add(task.Stream, uuid.Nil)
	}
	claimed, err := s.deps.Todo.Claimed(ctx)
	if err != nil || len(claimed) == 0 {
		return err
	}
	processes, err := s.deps.Processes.List(ctx)
	if err != nil {
		return err
	}
	alive := map[domain.WorkerID]bool{}
	for _, p := range processes {
		alive[p.ID] = p.Alive
	}
	for _, task := range claimed {
		if !alive[task.Worker] || s.forgotten(ctx, task) {
			s.queueOf(task.Stream).add(task.Stream, uuid.Nil)
		}
	}
	return nil
}

// forgotten reports whether the log says that this process is at something which it is not at: it ended in a way that
// nobody recorded, such as an append whose outcome was not known.
func (s *Supervisor) forgotten(ctx context.Context, task Task) bool {
	if task.Worker != s.deps.Process.ID {
		return false
	}
	id, err := task.Stream.ID()
	if err != nil {
		return false
	}
	if task.Stream.Category() == execution.Category {
		return !s.execs.has(domain.ExecID{UUID: id})
	}
	return !s.leases.has(task.Stream) && !s.over(ctx, id, task)
}

// over reports whether the to-do list is behind: this process knows that the lease's claim is over.
func (s *Supervisor) over(ctx context.Context, id uuid.UUID, task Task) bool {
	l, err := eventstore.Recall(ctx, s.deps.Commands.Ledger(), commands.Leases, id)
	return err == nil && l.Version > task.Version && !l.State.Attempting && !l.State.TearingDown
}
