package supervisor

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/execution"
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
		s.look(task)
	}
	if err := s.sweepExpiring(ctx); err != nil {
		return err
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
		if !alive[task.Worker] || s.forgotten(task) {
			s.look(task)
		}
	}
	return nil
}

// look asks for a stream, of which the to-do list may have seen more than this process.
func (s *Supervisor) look(task Task) {
	s.deps.Commands.Ledger().Saw(task.Stream, task.Version)
	s.queueOf(task.Stream).add(task.Stream, uuid.Nil)
}

// forgotten reports whether the log says that this process is at something which it is not at: it ended in a way that
// nobody recorded, such as an append whose outcome was not known.
func (s *Supervisor) forgotten(task Task) bool {
	if task.Worker != s.deps.Process.ID {
		return false
	}
	if task.Stream.Category() != execution.Category {
		return !s.queueOf(task.Stream).has(task.Stream)
	}
	id, err := task.Stream.ID()
	return err == nil && !s.execs.has(domain.ExecID{UUID: id})
}
