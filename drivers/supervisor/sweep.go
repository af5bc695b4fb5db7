package supervisor

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/execution"
	"github.com/tenure-dev/tenure/eventstore"
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
		case <-s.gained:
		case <-ctx.Done():
			return
		}
	}
}

// sweep asks for everything that is due and may be this process's to do, and for everything that a dead process holds.
func (s *Supervisor) sweep(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, sweepTimeout)
	defer cancel()
	now := s.standing.Load()
	scope := Scope{Partitions: now.list(), Node: s.deps.Process.Node}
	due, err := s.deps.Todo.Due(ctx, scope, s.now(), sweepLimit)
	if err != nil {
		return err
	}
	for _, task := range due {
		s.look(task)
	}
	if err := s.comeBack(ctx); err != nil {
		return err
	}
	waiting, err := s.deps.Todo.Waiting(ctx, scope, sweepLimit)
	if err != nil {
		return err
	}
	for _, task := range waiting {
		s.look(task)
	}
	if err := s.sweepExpiring(ctx, Scope{Partitions: now.list()}); err != nil {
		return err
	}
	workers, err := s.deps.Todo.Workers(ctx)
	if err != nil || len(workers) == 0 {
		return err
	}
	processes, err := s.everyone(ctx)
	if err != nil {
		return err
	}
	alive := map[domain.WorkerID]bool{}
	for _, p := range processes {
		alive[p.ID] = p.Alive
	}
	for _, worker := range workers {
		mine := worker == s.deps.Process.ID
		if alive[worker] && !mine {
			continue
		}
		of := scope
		if mine {
			of.Partitions = eventstore.AllPartitions() // others leave it alone while this process lives
		}
		if err := s.sweepClaims(ctx, of, worker, mine); err != nil {
			return err
		}
	}
	return nil
}

// sweepClaims asks for what a dead process holds, or what this one does without being at it.
func (s *Supervisor) sweepClaims(ctx context.Context, scope Scope, worker domain.WorkerID, mine bool) error {
	claimed, err := s.deps.Todo.Claimed(ctx, scope, worker)
	for _, task := range claimed {
		if !mine || s.forgotten(task) {
			s.look(task)
		}
	}
	return err
}

// look asks for a stream, of which the to-do list may have seen more than this process.
func (s *Supervisor) look(task Task) {
	s.deps.Commands.Ledger().Saw(task.Stream, task.Version)
	s.queueOf(task.Stream).add(task.Stream, uuid.Nil)
}

// forgotten reports whether the log says that this process is at something which it is not at: it ended in a way that
// nobody recorded, such as an append whose outcome was not known.
func (s *Supervisor) forgotten(task Task) bool {
	if task.Stream.Category() != execution.Category {
		return !s.queueOf(task.Stream).has(task.Stream)
	}
	id, err := task.Stream.ID()
	return err == nil && !s.execs.has(domain.ExecID{UUID: id})
}
