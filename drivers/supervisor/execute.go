package supervisor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/execution"
	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/eventstore/commands"
	"github.com/tenure-dev/tenure/eventstore/faults"
)

// stepExec starts a requested command, ends one that is to be killed, and closes one whose worker is gone. A command is
// started at most once, ever: the claim is in the log before the process is.
func (s *Supervisor) stepExec(ctx context.Context, id domain.ExecID, cause uuid.UUID) error {
	x, err := s.deps.Commands.KnownExec(ctx, id)
	if err != nil {
		return err
	}
	switch x.Status {
	case execution.StatusRequested:
		return s.startExec(ctx, id, x, cause)
	case execution.StatusClaimed, execution.StatusRunning:
	case execution.StatusEnded:
		// Somebody took this process for dead and closed what it ran. The log's word holds, so the command must go.
		s.execs.kill(ctx, id, "ended_elsewhere")
		return nil
	case execution.StatusNone:
		return nil
	}
	if x.Worker != s.deps.Process.ID {
		gone, err := s.dead(ctx, x.Worker)
		if err != nil || !gone {
			return err
		}
		// That its worker is gone needs no driver, and nobody waits for a node to say it.
		of := matter{of: x.Request.Lease.UUID, node: x.Request.Node}
		if where, err := s.whereIs(ctx, of.node); err != nil || where != nodeAlive {
			of.node = domain.NodeID{}
		}
		right, mine, err := s.turn(ctx, of)
		if err != nil || !mine {
			return err
		}
		_, err = s.deps.Commands.AbandonExec(ctx, s.as(right, cause), id, "worker_gone")
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

func (s *Supervisor) startExec(ctx context.Context, id domain.ExecID, x execution.State, cause uuid.UUID) error {
	// From here on the command counts as ours: the sweep does not take the claim for a forgotten one, and a teardown
	// of its lease waits for it.
	s.execs.expect(id, x.Request.Lease)
	started := false
	defer func() {
		if !started {
			s.execs.remove(id)
		}
	}()
	// All that the start needs is read before the claim, since a claimed command has no second chance.
	ready, failure := s.prepare(ctx, id, x)
	switch {
	case transient(failure):
		return failure
	case errors.Is(failure, errElsewhere):
		return nil
	}
	l, got, ok, err := s.deps.Commands.ClaimExec(ctx, s.as(ready.right, cause), id, commands.Worker{ID: s.deps.Process.ID, Node: s.deps.Process.Node}, ready.need)
	if err != nil || !ok {
		return err
	}
	var request drivers.ExecRequest
	if failure == nil {
		failure = s.persist(func(ctx context.Context) (err error) {
			request, err = s.ready(ctx, ready, got)
			return err
		})
	}
	if why := s.execs.killed(id); why != "" {
		return s.recordEnd(id, cause, execution.Finish{
			Worker: s.deps.Process.ID, Ended: execution.Ended{End: execution.EndKilled, Why: why}, OutputSealed: &execution.NoOutput,
		})
	}
	if failure == nil {
		failure = s.confirm(s.starting(id))
	}
	if lostClaim(failure) {
		return failure
	}
	var exec drivers.Exec
	if failure == nil {
		exec, failure = callDriver(ctx, s, ready.driver, VerbStartExec, s.opts.StartTimeout, func(ctx context.Context) (drivers.Exec, error) {
			faults.Point("driver.exec_start.before")
			exec, err := drivers.StartExec(ctx, ready.driver, request)
			faults.Point("driver.exec_start.after")
			return exec, err
		}, s.endLate)
	}
	if failure != nil {
		return s.startFailed(id, cause, failure)
	}
	started = true
	why := s.execs.started(id, exec)
	s.execs.goOn(func() { s.attend(id, x.Request.Lease, l.IdleTimeout, exec, cause) })
	if why != "" {
		s.execs.kill(ctx, id, why)
	}
	return nil
}

// endLate ends a command that a driver started after its time was over. What became of it is on record as unknown.
func (s *Supervisor) endLate(exec drivers.Exec) {
	if exec == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.work), killTimeout)
	defer cancel()
	if err := exec.Kill(ctx, "started_too_late"); err != nil {
		s.log.Error("a command that was started too late could not be ended", "error", err)
	}
}

// startFailed records that a command never ran, or that nobody knows.
func (s *Supervisor) startFailed(id domain.ExecID, cause uuid.UUID, failure error) error {
	if errors.Is(failure, errLeft) {
		return s.recordEnd(id, cause, execution.Finish{
			Worker: s.deps.Process.ID, Ended: execution.Ended{End: execution.EndUnknown, Why: failure.Error()},
			OutputSealed: &execution.OutputSealed{State: execution.SealLost},
		})
	}
	ended := execution.Ended{End: execution.EndStartFailed, Stage: "driver", Code: "start_failed", Message: failure.Error()}
	if e, ok := errors.AsType[*drivers.StartError](failure); ok {
		ended.Stage = e.Stage
		if e.Code != "" {
			ended.Code = e.Code
		}
		if e.Remediation != "" {
			ended.Message += "; " + e.Remediation
		}
	} else if r, ok := errors.AsType[*domain.Refusal](failure); ok {
		ended.Stage, ended.Code = "environment", r.Code
		ended.Message += "; " + r.Remediation
	} else if f := failureOf("", failure); f.Code != "driver_failed" {
		ended.Code = f.Code
	}
	return s.recordEnd(id, cause, execution.Finish{Worker: s.deps.Process.ID, Ended: ended, OutputSealed: &execution.NoOutput})
}

// attend stays with a running command: it records its start, keeps its lease in use, and records its end.
func (s *Supervisor) attend(id domain.ExecID, leaseID domain.LeaseID, idle time.Duration, exec drivers.Exec, cause uuid.UUID) {
	defer s.execs.remove(id)
	// The end is refused by a log that has no start, so the start is tried for as long as the command runs and beyond.
	begun := make(chan error, 1)
	go func() { begun <- s.recordStart(id, cause, exec) }()
	result := s.await(leaseID, idle, exec)
	err := <-begun
	if err == nil {
		err = s.recordEnd(id, cause, finish(s.deps.Process.ID, result))
	}
	switch {
	case lostClaim(err):
		s.log.Warn("a command was closed by another process while it ran here", "exec", id, "end", result.End)
	case err != nil:
		s.log.Error("what became of a command could not be recorded", "exec", id, "end", result.End, "error", err)
	}
}

func (s *Supervisor) recordStart(id domain.ExecID, cause uuid.UUID, exec drivers.Exec) error {
	p := exec.Process()
	err := s.persist(func(ctx context.Context) error {
		_, err := s.deps.Commands.RecordExecStart(ctx, s.me(cause), id, execution.Start{
			Worker: s.deps.Process.ID, Started: execution.Started{PID: p.PID, StartTime: p.StartTime, BootID: p.BootID},
		})
		return err
	})
	if lostClaim(err) {
		s.execs.kill(context.WithoutCancel(s.work), id, "ended_elsewhere")
	}
	return err
}

// minRenewal bounds how often a running command says that its lease is in use.
const minRenewal = 10 * time.Millisecond

// renewTimeout bounds how long the end of a command may go unnoticed over that.
const renewTimeout = 5 * time.Second

// await waits for the end. A running command is use of its lease.
func (s *Supervisor) await(leaseID domain.LeaseID, idle time.Duration, exec drivers.Exec) drivers.ExecResult {
	ctx := context.WithoutCancel(s.work)
	ended := make(chan drivers.ExecResult, 1)
	go func() {
		faults.Point("driver.exec_wait.before")
		result, err := exec.Wait(ctx)
		faults.Point("driver.exec_wait.after")
		if err != nil {
			result = drivers.ExecResult{End: drivers.ExecUnknown, Why: err.Error(), Output: drivers.OutputSeal{State: drivers.OutputLost}}
		}
		ended <- result
	}()
	ticker := time.NewTicker(max(idle/renewals, minRenewal))
	defer ticker.Stop()
	for {
		select {
		case result := <-ended:
			return result
		case <-ticker.C:
			s.renew(ctx, leaseID)
		}
	}
}

func (s *Supervisor) renew(ctx context.Context, id domain.LeaseID) {
	ctx, cancel := context.WithTimeout(ctx, renewTimeout)
	defer cancel()
	if _, err := s.deps.Commands.RenewLease(ctx, s.me(uuid.Nil), id, commands.Renewal{Ongoing: true}); err != nil && !refused(err) {
		s.log.Warn("a lease in use could not be renewed", "lease", id, "error", err)
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

// recordEnd records the end of a command. An end that the log calls impossible, such as a signal without a name, is a
// driver's mistake: then nobody knows how the command ended, and that is what the log says.
func (s *Supervisor) recordEnd(id domain.ExecID, cause uuid.UUID, end execution.Finish) error {
	record := func(end execution.Finish) error {
		return s.persist(func(ctx context.Context) error {
			_, err := s.deps.Commands.FinishExec(ctx, s.me(cause), id, end)
			return err
		})
	}
	err := record(end)
	if err == nil || lostClaim(err) || !refused(err) && !tooMuch(err) {
		return err
	}
	s.log.Error("a driver reported an end that cannot be", "exec", id, "end", end.Ended.End, "error", err)
	return record(execution.Finish{
		Worker: end.Worker, Ended: execution.Ended{End: execution.EndUnknown, Why: fmt.Sprintf("the driver reported an end that cannot be: %v", err)},
		OutputSealed: &execution.OutputSealed{State: execution.SealLost},
	})
}
