package supervisor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/domain/secretread"
	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/commands"
	"github.com/tenure-dev/tenure/eventstore/faults"
)

// stepLease does the one next thing that the state of a lease asks for, and goes on until it asks for nothing.
func (s *Supervisor) stepLease(ctx context.Context, id domain.LeaseID, cause uuid.UUID) error {
	for again := true; again; again = again && !s.leases.isClosed() {
		l, err := s.deps.Commands.KnownLease(ctx, id)
		if err != nil {
			return err
		}
		if l.Over() {
			s.residents.remove(id.UUID)
		}
		whose, err := s.matterOf(ctx, id, l)
		if err != nil {
			return err
		}
		right, mine, err := s.turn(ctx, whose)
		if !mine && (l.Attempting || l.TearingDown) && l.Worker == s.deps.Process.ID {
			// A claim stays with who has it, whoever has its partition by now: nobody takes it from a process that lives.
			right, mine = nil, true
		}
		if err != nil || !mine {
			return err
		}
		if !l.Node.IsZero() && l.Node != s.deps.Process.Node {
			if done, err := s.elsewhere(ctx, id, l, right, cause); done || err != nil {
				return err
			}
		}
		orphaned, err := s.orphaned(ctx, l)
		if err != nil {
			return err
		}
		again = false
		switch now := s.now(); {
		case l.WaitedTooLong(now):
			_, err = s.deps.Commands.TimeOutLease(ctx, s.as(right, cause), id)
		case l.NeedsTeardown():
			again, err = s.release(ctx, id, l, orphaned, right, cause)
		case l.Kept && !now.Before(l.KeptUntil):
			var done eventstore.Outcome
			done, err = s.deps.Commands.EndRetention(ctx, s.as(right, cause), id, lease.RetentionExpired)
			again = done.Changed
		case l.Status() == lease.StatusGranted || l.Status() == lease.StatusProvisioning:
			again, err = s.provision(ctx, id, l, orphaned, right, cause)
		case l.Status() == lease.StatusActive:
			again, err = s.expire(ctx, id, l, right, cause)
		}
		if err != nil {
			return err
		}
	}
	return nil
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

// takeoverFactor bounds attempts of all kinds, those that nobody saw the end of included, to a multiple of MaxAttempts: a
// lease whose provisioning ends the process that drives it must not do so for ever.
const takeoverFactor = 4

// provision makes the runtime: claim, call the driver, record.
func (s *Supervisor) provision(
	ctx context.Context, id domain.LeaseID, l lease.State, orphaned bool, right *eventstore.Ownership, cause uuid.UUID,
) (again bool, err error) {
	now := s.now()
	driver, unresolved := s.deps.Drivers.Resolve(target(l))
	var about drivers.Description
	if unresolved == nil {
		about = driver.Describe()
	}
	// Nobody saw the end of the open attempt, and asking such a driver again would make a second runtime.
	unseen := l.Attempting && !l.Resuming && about.Class == drivers.ClassBlind
	switch {
	case l.Attempting && now.Before(l.Deadline) && (!orphaned || unseen):
		return false, nil
	case now.Before(l.RetryAt):
		s.later(commands.Leases.Stream(id.UUID), cause, l.RetryAt)
		return false, nil
	}
	runtime, err := uuid.NewV7()
	if err != nil {
		return false, fmt.Errorf("make an id: %w", err)
	}
	var node domain.NodeID
	if about.NodeBound || l.Node == s.deps.Process.Node {
		node = s.deps.Process.Node
	}
	need, unreadable := s.provisioningNeed(ctx, id, l)
	if transient(unreadable) {
		return false, unreadable
	}
	granted := l.Node // where the runtime is that came with its slot
	l, got, err := s.deps.Commands.ClaimProvisioning(ctx, s.as(right, cause), id, node, lease.StartProvisioning{
		Runtime: domain.RuntimeID{UUID: runtime}, Worker: s.deps.Process.ID, Deadline: now.Add(s.opts.ProvisionTimeout), WorkerDead: orphaned,
		Plugin: pluginOf(about, l),
	}, need)
	switch {
	case commands.FormerFirst(err):
		s.later(commands.Leases.Stream(id.UUID), cause, now.Add(formerLook))
		return false, nil
	case commands.FormerAway(err):
		return false, s.formerElsewhere(ctx, id, granted, right, cause)
	}
	if err != nil {
		return false, err
	}
	if l.Node == s.deps.Process.Node {
		s.residents.add(id.UUID)
	}
	var config json.RawMessage
	if unreadable == nil {
		config, unreadable = s.open(l.Config, got)
	}
	if transient(unreadable) {
		return false, unreadable
	}
	var made drivers.Runtime
	switch {
	case unreadable != nil:
		err = notAsked(noSecret(unreadable))
	case unresolved != nil:
		err = notAsked(unresolved)
	case unseen:
		err = &drivers.Failure{
			Outcome: drivers.OutcomeAmbiguous, Code: "outcome_unknown",
			Err:         errors.New("the worker of the former attempt is gone, and what it made cannot be looked up"),
			Remediation: "look at the provider for a runtime of this run and remove it there",
		}
	case !l.Resuming && l.Policy.MayKeep() && !about.Capabilities.Keep:
		err = cannotKeep(l)
	case l.Attempt > takeoverFactor*s.opts.MaxAttempts:
		err = &drivers.Failure{
			Outcome: drivers.OutcomeAmbiguous, Code: "too_many_attempts", Err: fmt.Errorf("%d attempts came to nothing", l.Attempt-1),
			Remediation: "see what ended the processes that drove them: the engines' logs",
		}
	default:
		if err := s.confirm(s.attempting(id, l)); err != nil {
			return false, err
		}
		get := s.acquire
		if l.Resuming {
			get = s.resume
		}
		made, err = get(ctx, driver, id, l, config)
	}
	if err != nil {
		return true, s.provisionFailed(id, l, cause, about.Class, err)
	}
	return false, s.provisioned(id, l, cause, made)
}

// acquire makes the runtime of a lease; config is its configuration with the secrets in it.
func (s *Supervisor) acquire(
	ctx context.Context, driver drivers.Driver, id domain.LeaseID, l lease.State, config json.RawMessage,
) (drivers.Runtime, error) {
	if !s.now().Before(l.Deadline) {
		return drivers.Runtime{}, notAsked(errClaimOver)
	}
	// The deadline in the log is when others may assume that this call is over.
	return callDriver(ctx, s, driver, VerbAcquire, within(l.Deadline.Sub(s.now())), func(ctx context.Context) (drivers.Runtime, error) {
		faults.Point("driver.acquire.before")
		request := s.acquireRequest(id, l, config)
		request.Settled = func() {
			// The lease may have been taken down meanwhile, by a process that knew nothing of this call.
			if driver.Describe().Class != drivers.ClassBlind {
				s.discard(s.work, id, l)
			}
		}
		made, err := driver.Acquire(ctx, request)
		faults.Point("driver.acquire.after")
		return made, err
	}, func(made drivers.Runtime) {
		l.ProviderLeaseID, l.Metadata = made.ProviderLeaseID, made.Metadata
		s.discard(s.work, id, l)
	})
}

// acquireRequest asks for the runtime of a lease; config is its configuration with the secrets in it.
func (s *Supervisor) acquireRequest(id domain.LeaseID, l lease.State, config json.RawMessage) drivers.AcquireRequest {
	installation, epoch := s.identity()
	return drivers.AcquireRequest{
		RuntimeID: l.Runtime.String(), Installation: installation.String(), Epoch: epoch,
		Attempt: l.Attempt, Fence: l.Fence,
		LeaseID: id.String(), CompanyID: l.Company.String(), EnvironmentID: l.Environment.String(), RunID: l.Run,
		IssueID: l.Context.Issue, AgentID: l.Context.Agent, ExecutionWorkspaceID: l.Context.Workspace,
		ExecutionWorkspaceMode: l.Context.WorkspaceMode, AdapterType: l.Context.Adapter, Config: config, StoredConfig: l.Config,
	}
}

// provisioned records the good end of an attempt.
func (s *Supervisor) provisioned(id domain.LeaseID, l lease.State, cause uuid.UUID, made drivers.Runtime) error {
	acquisition := lease.AcquisitionCreated
	if made.Resumed {
		acquisition = lease.AcquisitionResumed
	}
	err := s.persist(func(ctx context.Context) error {
		_, err := s.deps.Commands.FinishProvisioning(ctx, s.me(cause), id, lease.Provision{
			Attempt: l.Attempt, Worker: s.deps.Process.ID, ProviderLeaseID: made.ProviderLeaseID, Metadata: made.Metadata,
			Acquisition: acquisition,
		})
		return err
	})
	switch {
	case (lostClaim(err) || unknown(err)) && l.Resuming:
		// It made nothing. Who took the attempt over has the runtime, or has taken it down.
	case lostClaim(err), unknown(err):
		l.ProviderLeaseID, l.Metadata = made.ProviderLeaseID, made.Metadata
		s.discardLater(id, l)
	case tooMuch(err):
		// The log can never hold what the driver said, such as metadata beyond every limit.
		said := &drivers.Failure{
			Outcome: drivers.OutcomeAmbiguous, Code: "result_invalid", Err: err,
			Remediation: "report it to whoever made the driver or plugin; what it says of a runtime is too large or no JSON object",
		}
		l.ProviderLeaseID = made.ProviderLeaseID
		if err := s.provisionFailed(id, l, cause, "", said); !tooMuch(err) {
			return err
		}
		l.ProviderLeaseID = nil // it is what cannot be held
		return s.provisionFailed(id, l, cause, "", said)
	}
	return err
}

// provisionFailed records why an attempt failed and whether there will be another.
func (s *Supervisor) provisionFailed(id domain.LeaseID, l lease.State, cause uuid.UUID, class drivers.Class, failure error) error {
	if s.work.Err() != nil {
		// It was cut short, which says nothing of the driver. The claim is open and the next process takes it over.
		return failure
	}
	if l.Resuming {
		return s.resumeFailed(id, l, cause, failure)
	}
	f := failureOf(class, failure)
	fail := lease.FailProvisioning{
		Attempt: l.Attempt, Worker: s.deps.Process.ID, Kind: lease.FailureKind(f.Outcome), Code: f.Code, Step: f.Step,
		Message:     messageOf(f, failure),
		NothingMade: f.NothingMade, ProviderLeaseID: l.ProviderLeaseID,
	}
	if f.Outcome == drivers.OutcomeRetryable && l.Attempt < s.opts.MaxAttempts {
		at := s.now().Add(s.backoff(f.Code, l.Attempt))
		fail.RetryAt = &at
	}
	s.log.Info("provisioning failed", "lease", id, "attempt", l.Attempt, "kind", fail.Kind, "code", fail.Code, "error", failure)
	err := s.persist(func(ctx context.Context) error {
		_, err := s.deps.Commands.FailProvisioning(ctx, s.me(cause), id, fail)
		return err
	})
	if lostClaim(err) && f.Outcome != drivers.OutcomeDefinite {
		s.discardLater(id, l)
	}
	return err
}

// release takes the runtime down: claim, end the commands in it, call the driver, record.
func (s *Supervisor) release(
	ctx context.Context, id domain.LeaseID, l lease.State, orphaned bool, right *eventstore.Ownership, cause uuid.UUID,
) (again bool, err error) {
	now := s.now()
	switch {
	case (l.Attempting || l.TearingDown) && !orphaned && now.Before(l.Deadline):
		return false, nil
	case now.Before(l.TeardownRetryAt) && !l.TearingDown:
		s.later(commands.Leases.Stream(id.UUID), cause, l.TeardownRetryAt)
		return false, nil
	}
	need, unreadable := s.need(l.Config, secretread.Read{Purpose: secretread.PurposeRelease, Lease: id, Environment: l.Environment})
	_, epoch := s.identity()
	l, got, err := s.deps.Commands.ClaimRelease(ctx, s.as(right, cause), id, lease.StartRelease{
		Worker: s.deps.Process.ID, Node: s.deps.Process.Node, Deadline: now.Add(s.opts.ReleaseTimeout), WorkerDead: orphaned,
	}, need)
	if err != nil {
		return false, err
	}
	l.Fence = fenceIn(epoch, l.Fence)
	var config json.RawMessage
	if unreadable == nil {
		config, unreadable = s.open(l.Config, got)
	}
	kept, err := s.takeDown(ctx, id, l, config, unreadable)
	switch {
	case lostClaim(err):
		return false, err
	case err != nil:
		return true, s.releaseFailed(id, l, cause, err)
	}
	err = s.persist(func(ctx context.Context) error {
		_, err := s.deps.Commands.FinishRelease(ctx, s.me(cause), id, lease.FinishRelease{
			Attempt: l.Teardown, Worker: s.deps.Process.ID, Kept: kept,
		})
		return err
	})
	if lostClaim(err) {
		// The lease may have been ended by force meanwhile: then this is the proof that was missing.
		return false, errors.Join(err, s.persist(func(ctx context.Context) error {
			_, err := s.deps.Commands.SettleForced(ctx, s.me(cause), id)
			return err
		}))
	}
	if refused(err) {
		// The log cannot have this end. It is a failure like any other, or it would be tried again at once and without end.
		return true, s.releaseFailed(id, l, cause, &drivers.Failure{
			Outcome: drivers.OutcomeRetryable, Code: "end_refused", Err: err, Remediation: "report it, with the events of the lease and its runtime",
		})
	}
	return false, err
}

// takeDown ends what a lease has, but for a runtime that it is to keep; config is its configuration with the secrets in it,
// unless it is unreadable.
func (s *Supervisor) takeDown(
	ctx context.Context, id domain.LeaseID, l lease.State, config json.RawMessage, unreadable error,
) (kept bool, err error) {
	// Since the claim is in the log, no command starts in this lease any more. One whose end cannot be recorded must not
	// use up the driver's time.
	half, cancel := context.WithTimeout(ctx, s.opts.ReleaseTimeout/2)
	s.execs.endLease(half, id, "lease_released")
	cancel()
	if unreadable != nil {
		return false, noSecret(unreadable)
	}
	driver, err := s.deps.Drivers.Resolve(target(l))
	if err != nil {
		return false, err
	}
	if err := s.confirm(s.tearingDown(id, l)); err != nil {
		return false, err
	}
	if !s.now().Before(l.Deadline) {
		return false, errClaimOver
	}
	handle := s.handle(id, l, config)
	if l.Keeping() && driver.Describe().Capabilities.Keep {
		err = s.keep(ctx, driver, l, handle)
		kept = err == nil
	}
	if !kept && (err == nil || leaves(driver, err)) {
		if l.Keeping() && err == nil {
			s.log.Warn("a runtime that was to be kept is taken down: its driver cannot keep any", "lease", id, "runtime", l.Runtime)
		}
		_, err = callDriver(ctx, s, driver, VerbRelease, within(l.Deadline.Sub(s.now())), func(ctx context.Context) (struct{}, error) {
			faults.Point("driver.release.before")
			err := driver.Release(ctx, drivers.ReleaseRequest{Handle: handle, Attempt: l.Teardown})
			faults.Point("driver.release.after")
			return struct{}{}, err
		}, nothing)
	}
	if errors.Is(err, drivers.ErrGone) {
		return false, nil
	}
	return kept, err
}

func (s *Supervisor) releaseFailed(id domain.LeaseID, l lease.State, cause uuid.UUID, failure error) error {
	if s.work.Err() != nil {
		return failure
	}
	f := failureOf("", failure)
	fail := lease.FailRelease{
		Attempt: l.Teardown, Worker: s.deps.Process.ID, Code: f.Code, Message: messageOf(f, failure),
		RetryAt: s.now().Add(s.backoff("", l.TeardownFails+1)), Limit: s.opts.CleanupAttempts,
	}
	if l.Quarantined || l.Exhausts(s.opts.CleanupAttempts) {
		fail.RetryAt = s.now().Add(jittered(s.opts.QuarantineRetry))
	}
	s.log.Warn("teardown failed", "lease", id, "attempt", l.Teardown, "code", f.Code, "error", failure)
	return s.persist(func(ctx context.Context) error {
		_, err := s.deps.Commands.FailRelease(ctx, s.me(cause), id, fail)
		return err
	})
}

// handle names a lease's runtime; config is its configuration with the secrets in it.
func (s *Supervisor) handle(id domain.LeaseID, l lease.State, config json.RawMessage) drivers.Handle {
	installation, _ := s.identity()
	return drivers.Handle{
		RuntimeID: l.Runtime.String(), ProviderLeaseID: l.ProviderLeaseID, Metadata: l.Metadata, Config: config,
		Installation: installation.String(), Fence: l.Fence, LeaseID: id.String(), CompanyID: l.Company.String(),
		EnvironmentID: l.Environment.String(), IssueID: l.Context.Issue,
	}
}

// target is who makes the lease's runtime, or made it: once a plugin was asked, no other one is.
func target(l lease.State) drivers.Target {
	t := drivers.Target{Driver: l.Driver, Provider: l.Provider}
	if p := l.Plugin; p != nil {
		t.Plugin = drivers.Plugin{ID: p.ID, Key: p.Key, Version: p.Version}
	}
	return t
}

// pluginOf is the plugin that an attempt asks; nil for none. One that cannot be found stays the one that was asked before.
func pluginOf(about drivers.Description, l lease.State) *lease.Plugin {
	if about.Plugin == (drivers.Plugin{}) {
		return l.Plugin
	}
	return &lease.Plugin{ID: about.Plugin.ID, Key: about.Plugin.Key, Version: about.Plugin.Version}
}
