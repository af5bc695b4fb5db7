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
	due, err := s.deps.Todo.Due(ctx, s.now(), sweepLimit)
	if err != nil {
		return err
	}
	for _, task := range due {
		s.queue.add(task.Stream, uuid.Nil)
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
			s.queue.add(task.Stream, uuid.Nil)
		}
	}
	return nil
}

// forgotten reports whether the log says that this process runs a command which it does not run.
func (s *Supervisor) forgotten(task Task) bool {
	if task.Worker != s.deps.Process.ID || task.Stream.Category() != execution.Category {
		return false
	}
	id, err := task.Stream.ID()
	return err == nil && !s.execs.has(domain.ExecID{UUID: id})
}
