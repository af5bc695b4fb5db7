// Package supervisor makes happen what the log says is to happen: it provisions granted leases, runs requested commands,
// takes down what was released or ran out, and takes over what a dead process left.
//
//	log ──event──► queue (one entry per lease or command) ──► step: read the state, claim by an event, call the driver,
//	 ▲                ▲                                        record the outcome by an event
//	 │                │                                                        │
//	 │      sweep: what the deadlines say is due, and what                     │
//	 │      the claims of dead processes hold                                  │
//	 └─────────────────────────────────────────────────────────────────────────┘
//
// Where there are several processes, one is to act on a stream: the one of the node that the runtime is on; else the owner of
// the stream's partition; or in its place, if it lacks the driver, one that has it. turn.go decides it, docs/adr/0016 says why.
// A claim is refused by the log once its right is another's, and what was claimed before stays with who claimed it.
//
// It is level-triggered: an event only says which lease or command to look at; what is done follows from the state that it
// is in, as far as this process knows, and the log refuses what it knows better. So an event that comes twice does nothing
// twice, a replay of the whole log does nothing at all, and a lost event is found by the sweep. No transaction is open and
// nothing is locked while a driver works; what a worker did counts only if the log still has its claim, by worker and
// attempt.
package supervisor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/commands"
)

// Task is a line of the to-do list: a stream that somebody has to look at.
type Task struct {
	Stream eventstore.Stream
	// Version is that of the stream when the line was written: who looks at it sees this one at least.
	Version int64
	// Worker holds the claim; zero for none.
	Worker domain.WorkerID
}

// Scope is a part of the to-do list: that of some partitions, and that of a node.
type Scope struct {
	Partitions []int
	Node       domain.NodeID
}

// Todo is the to-do list that the deadlines read model keeps.
type Todo interface {
	// Due returns what of a scope is due at now, longest due first.
	Due(ctx context.Context, scope Scope, now time.Time, limit int) ([]Task, error)
	// Expiring returns the leases of a scope whose time is over at now, or that are to be warned of it, longest first. Due leaves
	// them out.
	Expiring(ctx context.Context, scope Scope, now time.Time, limit int) ([]Task, error)
	// Workers returns those that hold anything.
	Workers(ctx context.Context) ([]domain.WorkerID, error)
	// Claimed returns what of a scope a worker holds.
	Claimed(ctx context.Context, scope Scope, worker domain.WorkerID) ([]Task, error)
	// Waiting returns what waits for the node of a scope, and what of its partitions is on a node that is given up.
	Waiting(ctx context.Context, scope Scope, limit int) ([]Task, error)
	// Resident returns all that can be driven on a node only.
	Resident(ctx context.Context, node domain.NodeID) ([]Task, error)
}

// Processes are the liveness rows.
type Processes interface {
	Register(ctx context.Context, p eventstore.Process, ttl time.Duration) error
	Beat(ctx context.Context, p eventstore.Process, ttl time.Duration) error
	Leave(ctx context.Context, id domain.WorkerID) error
	List(ctx context.Context) ([]eventstore.Process, error)
}

// Deps are what a supervisor works with.
type Deps struct {
	Commands  *commands.Commands
	Drivers   *drivers.Registry
	Todo      Todo
	Processes Processes
	// Partitions are who has which part of the work.
	Partitions eventstore.Partitioning
	// Serves, if set, names the drivers whose runtimes this process can make, as "driver", "driver/provider", or
	// "driver/provider@version" of a plugin; default: all that it has, by name.
	Serves func() []string
	// Installer keeps plugins; nil where there are none.
	Installer Installer
	// Process is this incarnation.
	Process eventstore.Process
	// Installation and Epoch name the log.
	Installation uuid.UUID
	Epoch        int64
	// Driving, if set, says why nothing is driven for now; nil while this process drives. See [Supervisor.driving].
	Driving func() error
	// Identity, if set, names the log as it is now; it goes before Installation and Epoch.
	Identity func() (installation uuid.UUID, epoch int64)
	// JournalDir is where the output journal of a command goes.
	JournalDir func(domain.ExecID) string
	// Called, if set, learns of every call of a driver at its end, before what it led to is recorded. It must return at once.
	Called func(Call)
	Logger *slog.Logger

	// Estate says where to look for what nobody looks after; without it, nobody looks.
	Estate Estate
	// Reaps, if set, says whose runtimes this process looks after; else each place is looked at by one of those that have the
	// driver. Two that do the same do no harm.
	Reaps func(drivers.Target) bool
	// Looked, if set, learns of every look. It must return at once.
	Looked func(Look)
}

// Supervisor drives.
type Supervisor struct {
	deps Deps
	opts Options
	log  *slog.Logger
	// leases, commands and others are the streams to look at: others are probes and installations, which nobody's work
	// waits for.
	leases, commands, others *queue
	execs                    *running
	pulse                    pulse
	lapse                    atomic.Pointer[lapse]
	// expiries is how many leases may be ended by their time.
	expiries *budget
	reaper   *reaper
	// lookBack says that the reaper is to look where something may be left that was given up with this node.
	lookBack atomic.Bool

	// standing is who has what; residents are the leases on this node.
	standing  atomic.Pointer[standing]
	residents residents
	// gained has room for one signal: this process got partitions. hurry has one: it is to say now how it is.
	gained, hurry chan struct{}
	draining      atomic.Bool
	// looked is closed and made anew with each look at who has what.
	looking sync.Mutex
	looked  chan struct{}

	// resting is closed when nothing new is begun any more.
	resting  chan struct{}
	restOnce sync.Once

	// lost is closed when another incarnation took this one's place.
	lost     chan struct{}
	lostOnce sync.Once

	// work is canceled when what runs must end at once.
	work     context.Context
	stopWork context.CancelCauseFunc
	loops    context.CancelFunc
	done     sync.WaitGroup
	steps    sync.WaitGroup
}

// New makes a supervisor; [Supervisor.Start] sets it to work.
func New(deps Deps, opts Options) *Supervisor {
	s := &Supervisor{
		deps: deps, opts: opts.withDefaults(), log: deps.Logger, leases: newQueue(), commands: newQueue(), others: newQueue(),
		execs: newRunning(deps.Logger), reaper: newReaper(), lost: make(chan struct{}), resting: make(chan struct{}),
		gained: make(chan struct{}, 1), hurry: make(chan struct{}, 1), looked: make(chan struct{}),
	}
	s.expiries = newBudget(s.opts.ExpiryRate)
	s.guardClock()
	return s
}

// Start registers the process and begins to work. The read model behind Todo has caught up with the log by then, or will
// soon: what it does not say yet is found by a later sweep. The caller ends the work by [Supervisor.Stop].
func (s *Supervisor) Start(ctx context.Context) error {
	if err := s.opts.Validate(); err != nil {
		return fmt.Errorf("start the supervisor: %w", err)
	}
	asked := time.Now()
	if err := s.deps.Processes.Register(ctx, s.process(), s.opts.LivenessTTL); err != nil {
		return fmt.Errorf("start the supervisor: %w", err)
	}
	s.pulse.felt(asked)
	if _, err := s.share(ctx); err != nil {
		return fmt.Errorf("start the supervisor: %w", err)
	}
	if err := s.comeBack(ctx); err != nil {
		return fmt.Errorf("start the supervisor: %w", err)
	}
	s.lookBack.Store(true)
	resident, err := s.deps.Todo.Resident(ctx, s.deps.Process.Node)
	if err != nil {
		return fmt.Errorf("start the supervisor: %w", err)
	}
	for _, task := range resident {
		if id, err := task.Stream.ID(); err == nil && task.Stream.Category() == lease.Category {
			s.residents.add(id)
		}
	}
	base := context.WithoutCancel(ctx)
	s.work, s.stopWork = context.WithCancelCause(base)
	loops, cancel := context.WithCancel(base)
	s.loops = cancel
	s.done.Go(func() { s.beat(loops) })
	s.done.Go(func() { s.sweepLoop(loops) })
	if s.deps.Estate != nil {
		s.done.Go(func() { s.reapLoop(loops) })
	}
	for range s.opts.Parallel {
		s.steps.Go(func() { s.stepLoop(s.leases) })
		s.steps.Go(func() { s.stepLoop(s.commands) })
	}
	for range min(s.opts.Parallel, othersParallel) {
		s.steps.Go(func() { s.stepLoop(s.others) })
	}
	return nil
}

// othersParallel bounds the probes and installations at work at once.
const othersParallel = 16

// errShutdown is why work ends when the engine does.
var errShutdown = errors.New("the engine is shutting down")

// Stop ends the work in order. The partitions are given to others, if there are any. New work is not begun; calls of drivers and running commands have the drain timeout to
// finish, then they are ended, and what became of them is recorded. Leases stay as they are. ctx bounds the whole: once it
// is done, everything is told to end and Stop returns without waiting for that. Stopping what was not started does nothing.
func (s *Supervisor) Stop(ctx context.Context) error {
	if s.work == nil {
		s.rest()
		return nil
	}
	s.HandOver(ctx)
	s.rest()
	drained := make(chan struct{})
	go func() {
		s.steps.Wait()
		s.execs.wait()
		close(drained)
	}()
	timer := time.NewTimer(s.opts.DrainTimeout)
	defer timer.Stop()
	select {
	case <-drained:
	case <-timer.C:
		s.endAll(ctx)
	case <-ctx.Done():
		s.endAll(ctx)
	}
	select {
	case <-drained:
	case <-ctx.Done():
		s.loops()
		return fmt.Errorf("stop the supervisor: %w", context.Cause(ctx))
	}
	s.loops()
	s.done.Wait()
	s.stopWork(errShutdown)
	if err := s.deps.Processes.Leave(ctx, s.deps.Process.ID); err != nil {
		// Its liveness row runs out by itself: others only wait a little before they take over.
		s.log.Warn("this process could not say that it ends", "error", err)
	}
	return nil
}

// rest makes the supervisor begin nothing new.
func (s *Supervisor) rest() {
	s.leases.close()
	s.commands.close()
	s.others.close()
	s.restOnce.Do(func() { close(s.resting) })
}

// endAll tells everything that still runs to end, at the latest when ctx is done.
func (s *Supervisor) endAll(ctx context.Context) {
	s.log.Info("ending what still runs", "execs", s.execs.count())
	asked := make(chan struct{})
	go func() {
		s.execs.killAll(context.WithoutCancel(ctx), "engine_shutdown")
		close(asked)
	}()
	select {
	case <-asked:
	case <-ctx.Done():
	}
	s.stopWork(errShutdown)
}

// Lost is closed when another incarnation of this node took this one's place: nothing new is begun, and the process must
// end.
func (s *Supervisor) Lost() <-chan struct{} { return s.lost }

// me is who this supervisor acts as; cause is the append that led to the act.
func (s *Supervisor) me(cause uuid.UUID) commands.Caller {
	return commands.Caller{By: eventstore.Attribution{Actor: s.actor(), Cause: cause}}
}

// as is me for a claim, which the log refuses once the right to it is another's.
func (s *Supervisor) as(right *eventstore.Ownership, cause uuid.UUID) commands.Caller {
	by := s.me(cause)
	by.Owner = right
	return by
}

func (s *Supervisor) actor() domain.PrincipalID {
	return domain.PrincipalID{UUID: s.deps.Process.ID.UUID}
}

func (s *Supervisor) now() time.Time { return s.deps.Commands.Ledger().Now() }
