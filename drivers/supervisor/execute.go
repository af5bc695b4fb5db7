package supervisor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/environment"
	"github.com/tenure-dev/tenure/domain/execution"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/eventstore/commands"
)

// stepExec starts a requested command, ends one that is to be killed, and closes one whose worker is gone. A command is
// started at most once, ever: the claim is in the log before the process is.
func (s *Supervisor) stepExec(ctx context.Context, id domain.ExecID, cause uuid.UUID) error {
	x, err := s.deps.Commands.Exec(ctx, id)
	if err != nil {
		return err
	}
	switch x.Status {
	case execution.StatusRequested:
		return s.startExec(ctx, id, x.Request.Lease, cause)
	case execution.StatusClaimed, execution.StatusRunning:
	case execution.StatusNone, execution.StatusEnded:
		return nil
	}
	if x.Worker != s.deps.Process.ID {
		gone, err := s.dead(ctx, x.Worker)
		if err != nil || !gone {
			return err
		}
		_, err = s.deps.Commands.AbandonExec(ctx, s.me(cause), id, "worker_gone")
		return err
	}
	if !s.execs.has(id) {
		_, err := s.deps.Commands.AbandonExec(ctx, s.me(cause), id, "not_running")
		return err
	}
	if x.Killing {
		s.execs.kill(ctx, id, x.KillWhy)
	}
	return nil
}

func (s *Supervisor) startExec(ctx context.Context, id domain.ExecID, leaseID domain.LeaseID, cause uuid.UUID) error {
	// From here on the command counts as ours, so that the sweep does not take the claim for a forgotten one.
	s.execs.expect(id, leaseID)
	started := false
	defer func() {
		if !started {
			s.execs.remove(id)
		}
	}()
	x, l, ok, err := s.deps.Commands.ClaimExec(ctx, s.me(cause), id, s.deps.Process.ID)
	if err != nil || !ok {
		return err
	}
	exec, err := s.launch(ctx, id, x, l)
	if err != nil {
		return s.startFailed(ctx, id, cause, err)
	}
	started = true
	s.execs.started(ctx, id, exec)
	// A kill that came before the start is in the log and found by the next step.
	s.queue.add(commands.Executions.Stream(id.UUID), cause)
	s.execs.goOn(func() { s.attend(id, leaseID, l, exec, cause) })
	return nil
}

// launch starts the process with an environment of the environment's variables, the lease's and its own, in this order.
func (s *Supervisor) launch(ctx context.Context, id domain.ExecID, x execution.State, l lease.State) (drivers.Exec, error) {
	driver, known := s.deps.Drivers.Get(l.Driver)
	if !known {
		return nil, noDriver(l.Driver)
	}
	env, err := s.deps.Commands.EnvironmentAt(ctx, l.Environment, l.EnvironmentVersion)
	if err != nil {
		return nil, err
	}
	ofLease, err := s.deps.Commands.Values(ctx, x.Request.Lease.UUID)
	if err != nil {
		return nil, err
	}
	own, err := s.deps.Commands.Values(ctx, id.UUID)
	if err != nil {
		return nil, err
	}
	return drivers.StartExec(ctx, driver, drivers.ExecRequest{
		Handle: handle(l), ExecID: id.String(), Argv: x.Request.Argv, Cwd: x.Request.Cwd,
		Env: variables(env, ofLease, own), Stdin: own.Stdin,
		Timeout: time.Duration(x.Request.TimeoutMs) * time.Millisecond, JournalDir: s.deps.JournalDir(id),
	})
}

func variables(env environment.State, values ...commands.Values) []drivers.EnvVar {
	var out []drivers.EnvVar
	add := func(vars map[string]string) {
		for _, name := range slices.Sorted(maps.Keys(vars)) {
			out = append(out, drivers.EnvVar{Name: name, Value: vars[name]})
		}
	}
	add(env.EnvVars)
	for _, v := range values {
		add(v.Env)
	}
	return out
}

// startFailed records that a command never ran.
func (s *Supervisor) startFailed(ctx context.Context, id domain.ExecID, cause uuid.UUID, failure error) error {
	ended := execution.Ended{End: execution.EndStartFailed, Stage: "driver", Code: "start_failed", Message: failure.Error()}
	if e, ok := errors.AsType[*drivers.StartError](failure); ok {
		ended.Stage = e.Stage
		if e.Code != "" {
			ended.Code = e.Code
		}
	}
	return s.recordEnd(ctx, id, cause, execution.Finish{Worker: s.deps.Process.ID, Ended: ended, OutputSealed: &execution.NoOutput})
}

// attend stays with a running command: it records its start, keeps its lease in use, and records its end.
func (s *Supervisor) attend(id domain.ExecID, leaseID domain.LeaseID, l lease.State, exec drivers.Exec, cause uuid.UUID) {
	defer s.execs.remove(id)
	ctx := context.WithoutCancel(s.work)
	p := exec.Process()
	_, err := s.deps.Commands.RecordExecStart(ctx, s.me(cause), id, execution.Start{
		Worker: s.deps.Process.ID, Started: execution.Started{PID: p.PID, StartTime: p.StartTime, BootID: p.BootID},
	})
	if err != nil {
		s.log.Warn("the start of a command could not be recorded", "exec", id, "error", err)
	}
	result := s.await(ctx, leaseID, l, exec)
	err = s.recordEnd(ctx, id, cause, finish(s.deps.Process.ID, result))
	if err != nil && !refused(err) {
		s.log.Error("the end of a command could not be recorded", "exec", id, "error", err)
	}
}

// await waits for the end. A running command is use of its lease.
func (s *Supervisor) await(ctx context.Context, leaseID domain.LeaseID, l lease.State, exec drivers.Exec) drivers.ExecResult {
	ended := make(chan drivers.ExecResult, 1)
	go func() {
		result, err := exec.Wait(ctx)
		if err != nil {
			result = drivers.ExecResult{End: drivers.ExecUnknown, Why: err.Error(), Output: drivers.OutputSeal{State: drivers.OutputLost}}
		}
		ended <- result
	}()
	ticker := time.NewTicker(max(l.IdleTimeout/(2*lease.RenewWindow), time.Second/10))
	defer ticker.Stop()
	for {
		select {
		case result := <-ended:
			return result
		case <-ticker.C:
			if _, err := s.deps.Commands.RenewLease(ctx, s.me(uuid.Nil), leaseID, false); err != nil && !refused(err) {
				s.log.Warn("a lease in use could not be renewed", "lease", leaseID, "error", err)
			}
		}
	}
}

func finish(worker domain.WorkerID, r drivers.ExecResult) execution.Finish {
	ended := execution.Ended{End: execution.End(r.End), Signal: r.Signal, Why: r.Why, Leftovers: r.Leftovers}
	if r.End == drivers.ExecExited {
		ended.ExitCode = &r.ExitCode
	}
	stream := func(s drivers.StreamSeal) execution.Stream { return execution.Stream{Bytes: s.Bytes, SHA256: s.SHA256} }
	return execution.Finish{Worker: worker, Ended: ended, OutputSealed: &execution.OutputSealed{
		State: execution.SealState(r.Output.State), Stdout: stream(r.Output.Stdout), Stderr: stream(r.Output.Stderr), Dropped: r.Output.Dropped,
	}}
}

// recordEnd tries until the end is in the log or the engine must go: it is the only one who knows it.
func (s *Supervisor) recordEnd(ctx context.Context, id domain.ExecID, cause uuid.UUID, end execution.Finish) error {
	for attempt := 1; ; attempt++ {
		_, err := s.deps.Commands.FinishExec(ctx, s.me(cause), id, end)
		if err == nil || refused(err) {
			return err
		}
		if s.work.Err() != nil {
			return fmt.Errorf("record the end of %s: %w", id, err)
		}
		select {
		case <-time.After(commands.Backoff(attempt, 100*time.Millisecond, 5*time.Second)):
		case <-s.work.Done():
		}
	}
}
