package supervisor

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/eventstore/commands"
)

// refused reports whether the log said no: somebody else has it, or there is nothing to do any more.
func refused(err error) bool {
	_, ok := errors.AsType[*domain.Refusal](err)
	return ok
}

// stepLease does the one next thing that the state of a lease asks for, and goes on until it asks for nothing.
func (s *Supervisor) stepLease(ctx context.Context, id domain.LeaseID, cause uuid.UUID) error {
	for {
		l, err := s.deps.Commands.Lease(ctx, id)
		if err != nil {
			return err
		}
		orphaned, err := s.orphaned(ctx, l)
		if err != nil {
			return err
		}
		var again bool
		switch now := s.now(); {
		case l.NeedsTeardown():
			again, err = s.release(ctx, id, l, orphaned, cause)
		case l.Status() == lease.StatusGranted || l.Status() == lease.StatusProvisioning:
			again, err = s.provision(ctx, id, l, orphaned, cause)
		case l.Status() == lease.StatusActive && !now.Before(l.ExpiresAt):
			_, err = s.deps.Commands.ExpireLease(ctx, s.me(cause), id)
			again = err == nil
		}
		if err != nil || !again {
			return err
		}
	}
}

// orphaned reports whether the lease's open claim is nobody's any more: its worker is dead, or it is this very process,
// which works on a lease in one step only and is not at it.
func (s *Supervisor) orphaned(ctx context.Context, l lease.State) (bool, error) {
	if !l.Attempting && !l.TearingDown {
		return false, nil
	}
	if l.Worker == s.deps.Process.ID {
		return true, nil
	}
	return s.dead(ctx, l.Worker)
}

// provision makes the runtime: claim, call the driver, record.
func (s *Supervisor) provision(ctx context.Context, id domain.LeaseID, l lease.State, orphaned bool, cause uuid.UUID) (again bool, err error) {
	now := s.now()
	if l.Attempting && !orphaned && now.Before(l.Deadline) {
		return false, nil
	}
	if now.Before(l.RetryAt) {
		s.later(commands.Leases.Stream(id.UUID), cause, l.RetryAt)
		return false, nil
	}
	driver, known := s.deps.Drivers.Get(l.Driver)
	runtime, err := uuid.NewV7()
	if err != nil {
		return false, fmt.Errorf("make an id: %w", err)
	}
	claimed, err := s.deps.Commands.ClaimProvisioning(ctx, s.me(cause), id, s.node(driver, known), lease.StartProvisioning{
		Runtime: domain.RuntimeID{UUID: runtime}, Worker: s.deps.Process.ID, Deadline: now.Add(s.opts.ProvisionTimeout), WorkerDead: orphaned,
	})
	if err != nil {
		return false, err
	}
	if !known {
		return false, s.provisionFailed(ctx, id, claimed, cause, noDriver(l.Driver))
	}
	made, err := s.acquire(ctx, driver, id, claimed)
	if err != nil {
		return true, s.provisionFailed(ctx, id, claimed, cause, err)
	}
	acquisition := lease.AcquisitionCreated
	if made.Resumed {
		acquisition = lease.AcquisitionResumed
	}
	_, err = s.deps.Commands.FinishProvisioning(ctx, s.me(cause), id, lease.Provision{
		Attempt: claimed.Attempt, Worker: s.deps.Process.ID, ProviderLeaseID: made.ProviderLeaseID, Metadata: made.Metadata,
		Acquisition: acquisition,
	})
	return true, err
}

func (s *Supervisor) acquire(ctx context.Context, driver drivers.Driver, id domain.LeaseID, l lease.State) (drivers.Runtime, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, s.opts.ProvisionTimeout, errors.New("the driver did not answer in time"))
	defer cancel()
	return driver.Acquire(ctx, drivers.AcquireRequest{
		RuntimeID: l.Runtime.String(), Installation: s.deps.Installation.String(), Epoch: s.deps.Epoch,
		Attempt: l.Attempt, Fence: l.Fence,
		LeaseID: id.String(), CompanyID: l.Company.String(), EnvironmentID: l.Environment.String(), RunID: l.Run,
		IssueID: l.Context.Issue, AgentID: l.Context.Agent, ExecutionWorkspaceID: l.Context.Workspace,
		ExecutionWorkspaceMode: l.Context.WorkspaceMode, AdapterType: l.Context.Adapter, Config: l.Config,
	})
}

// provisionFailed records why an attempt failed and whether there will be another.
func (s *Supervisor) provisionFailed(ctx context.Context, id domain.LeaseID, l lease.State, cause uuid.UUID, failure error) error {
	if s.work.Err() != nil {
		return failure
	}
	f := lease.FailProvisioning{
		Attempt: l.Attempt, Worker: s.deps.Process.ID, Kind: lease.FailureKind(drivers.OutcomeOf(failure)), Code: "driver_failed",
		Message: failure.Error(),
	}
	if d, ok := errors.AsType[*drivers.Failure](failure); ok {
		f.Code, f.Step = d.Code, d.Step
	}
	if f.Kind == lease.FailureRetryable && l.Attempt < s.opts.MaxAttempts {
		at := s.now().Add(commands.Backoff(l.Attempt, s.opts.RetryBase, s.opts.RetryLimit))
		f.RetryAt = &at
	}
	s.log.Info("provisioning failed", "lease", id, "attempt", l.Attempt, "kind", f.Kind, "code", f.Code, "error", failure)
	_, err := s.deps.Commands.FailProvisioning(ctx, s.me(cause), id, f)
	return err
}

// release takes the runtime down: claim, end the commands in it, call the driver, record.
func (s *Supervisor) release(ctx context.Context, id domain.LeaseID, l lease.State, orphaned bool, cause uuid.UUID) (again bool, err error) {
	now := s.now()
	switch {
	case (l.Attempting || l.TearingDown) && !orphaned && now.Before(l.Deadline):
		return false, nil
	case now.Before(l.TeardownRetryAt) && !l.TearingDown:
		s.later(commands.Leases.Stream(id.UUID), cause, l.TeardownRetryAt)
		return false, nil
	}
	claimed, err := s.deps.Commands.ClaimRelease(ctx, s.me(cause), id, lease.StartRelease{
		Worker: s.deps.Process.ID, Deadline: now.Add(s.opts.ReleaseTimeout), WorkerDead: orphaned,
	})
	if err != nil {
		return false, err
	}
	if err := s.takeDown(ctx, id, claimed); err != nil {
		return true, s.releaseFailed(ctx, id, claimed, cause, err)
	}
	_, err = s.deps.Commands.FinishRelease(ctx, s.me(cause), id, lease.FinishRelease{Attempt: claimed.Teardown, Worker: s.deps.Process.ID})
	return false, err
}

func (s *Supervisor) takeDown(ctx context.Context, id domain.LeaseID, l lease.State) error {
	ctx, cancel := context.WithTimeoutCause(ctx, s.opts.ReleaseTimeout, errors.New("the driver did not answer in time"))
	defer cancel()
	// Since the claim is in the log, no command starts in this lease any more.
	s.execs.endLease(ctx, id, "lease_released")
	driver, known := s.deps.Drivers.Get(l.Driver)
	if !known {
		return noDriver(l.Driver)
	}
	err := driver.Release(ctx, drivers.ReleaseRequest{Handle: handle(l), Attempt: l.Teardown})
	if errors.Is(err, drivers.ErrGone) {
		return nil
	}
	return err
}

func (s *Supervisor) releaseFailed(ctx context.Context, id domain.LeaseID, l lease.State, cause uuid.UUID, failure error) error {
	if s.work.Err() != nil {
		return failure
	}
	f := lease.FailRelease{
		Attempt: l.Teardown, Worker: s.deps.Process.ID, Code: "driver_failed", Message: failure.Error(),
		RetryAt: s.now().Add(commands.Backoff(l.Teardown, s.opts.RetryBase, s.opts.RetryLimit)),
	}
	if d, ok := errors.AsType[*drivers.Failure](failure); ok {
		f.Code = d.Code
	}
	s.log.Warn("teardown failed", "lease", id, "attempt", l.Teardown, "code", f.Code, "error", failure)
	_, err := s.deps.Commands.FailRelease(ctx, s.me(cause), id, f)
	return err
}

func (s *Supervisor) node(d drivers.Driver, known bool) domain.NodeID {
	if known && d.Describe().NodeBound {
		return s.deps.Process.Node
	}
	return domain.NodeID{}
}

func noDriver(name string) error {
	return &drivers.Failure{
		Outcome: drivers.OutcomeDefinite, Code: "driver_unavailable", Err: fmt.Errorf("this engine has no driver %q", name),
		Remediation: "start an engine that has it, or use another environment",
	}
}

func handle(l lease.State) drivers.Handle {
	return drivers.Handle{
		RuntimeID: l.Runtime.String(), ProviderLeaseID: l.ProviderLeaseID, Metadata: l.Metadata, Config: l.Config,
	}
}
