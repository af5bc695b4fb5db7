package supervisor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/admission"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/eventstore/commands"
	"github.com/tenure-dev/tenure/eventstore/faults"
)

// formerLook is how often a lease looks whether the kept runtime that it cannot use is gone.
const formerLook = 200 * time.Millisecond

// resumeLimit bounds the pause between two tries to resume.
const resumeLimit = 5 * time.Second

// keep ends what a lease runs and leaves its runtime for the next one.
func (s *Supervisor) keep(ctx context.Context, driver drivers.Driver, l lease.State, handle drivers.Handle) error {
	_, err := callDriver(ctx, s, driver, VerbKeep, within(l.Deadline.Sub(s.now())), func(ctx context.Context) (struct{}, error) {
		faults.Point("driver.keep.before")
		err := drivers.Keep(ctx, driver, drivers.KeepRequest{
			Handle: handle, Attempt: l.Teardown, Stop: l.Disposition == lease.DispositionStopAndRetain,
		})
		faults.Point("driver.keep.after")
		return struct{}{}, err
	}, nothing)
	return err
}

// resume readies a kept runtime for its next lease. It makes nothing, so what comes too late leaves nothing.
func (s *Supervisor) resume(
	ctx context.Context, driver drivers.Driver, id domain.LeaseID, l lease.State, config json.RawMessage,
) (drivers.Runtime, error) {
	if !s.now().Before(l.Deadline) {
		return drivers.Runtime{}, notAsked(errClaimOver)
	}
	made, err := callDriver(ctx, s, driver, VerbResume, within(l.Deadline.Sub(s.now())), func(ctx context.Context) (drivers.Runtime, error) {
		faults.Point("driver.resume.before")
		made, err := drivers.Resume(ctx, driver, drivers.ResumeRequest{
			AcquireRequest: s.acquireRequest(id, l, config), ProviderLeaseID: l.ProviderLeaseID, Metadata: l.Metadata,
		})
		faults.Point("driver.resume.after")
		return made, err
	}, func(drivers.Runtime) {})
	if leaves(driver, err) {
		return made, s.clear(ctx, driver, id, l, config, err)
	}
	return made, err
}

// leaves reports whether a driver says that a runtime does not exist any more, and may have something under its id all the same.
// Not if another thing has the name: that is somebody else's. Who is blind has nothing by id.
func leaves(driver drivers.Driver, err error) bool {
	return errors.Is(err, drivers.ErrGone) && !errors.Is(err, drivers.ErrMismatch) && driver.Describe().Class != drivers.ClassBlind
}

// clearTries is up to which attempt trouble with what is left is a reason for another one: a replacement is wanted.
const clearTries = 3

// clear takes down what a runtime that is gone may have left under its id, such as the half of one that an acquisition was
// killed over: nobody else will look for it, since its place is another one's from now on. It returns that it is gone, or, as
// long as it is tried, why that failed: then all of it is tried again.
func (s *Supervisor) clear(
	ctx context.Context, driver drivers.Driver, id domain.LeaseID, l lease.State, config json.RawMessage, gone error,
) error {
	if err := s.confirm(s.attempting(id, l)); err != nil {
		return err
	}
	_, err := callDriver(ctx, s, driver, VerbRelease, within(l.Deadline.Sub(s.now())), func(ctx context.Context) (struct{}, error) {
		faults.Point("driver.clear.before")
		err := driver.Release(ctx, drivers.ReleaseRequest{Handle: s.handle(id, l, config), Attempt: l.Attempt})
		faults.Point("driver.clear.after")
		return struct{}{}, err
	}, nothing)
	if err == nil || errors.Is(err, drivers.ErrGone) {
		return gone
	}
	if l.Attempt >= min(clearTries, s.opts.MaxResumes) {
		s.log.Warn("what a runtime that is gone has left may still be there", "lease", id, "runtime", l.Runtime, "error", err)
		return gone
	}
	f := failureOf("", err)
	return &drivers.Failure{
		Outcome: drivers.OutcomeRetryable, Code: f.Code, Step: f.Step, Remediation: f.Remediation,
		Err: fmt.Errorf("the runtime is gone, and what it has left cannot be taken down yet: %w", err),
	}
}

// cannotKeep is the failure of an attempt whose driver cannot do what the policy of the lease asks for. Whoever took the request
// refuses what is known; this is for what was not known then. The driver is not asked, so nothing is made.
func cannotKeep(l lease.State) error {
	c := admission.PolicyConstraint(admission.Facts{Provider: l.Provider, Policy: string(l.Policy), Keeping: admission.KeepingUnable})
	return &drivers.Failure{
		Outcome: drivers.OutcomeDefinite, Code: admission.CodePolicyUnsupported, Err: errors.New(c.Detail), Remediation: c.Remediation,
	}
}

// resumeFailed records why a kept runtime could not be resumed. Only the driver's word that it is gone, or that another one has
// its name, permits to make another one. After anything else it is tried again, for a while, and then left as it is.
func (s *Supervisor) resumeFailed(id domain.LeaseID, l lease.State, cause uuid.UUID, failure error) error {
	f := failureOf("", failure)
	fail := lease.FailProvisioning{
		Attempt: l.Attempt, Worker: s.deps.Process.ID, Kind: lease.FailureKind(f.Outcome), Code: f.Code, Step: f.Step,
		Message: messageOf(f, failure),
	}
	now := s.now()
	switch {
	case errors.Is(failure, drivers.ErrGone):
		fail.Gone, fail.Code, fail.Message, fail.RetryAt = lease.GoneAbsent, string(lease.GoneAbsent), failure.Error(), &now
	case errors.Is(failure, drivers.ErrMismatch):
		fail.Gone, fail.Code, fail.Message, fail.RetryAt = lease.GoneMismatch, string(lease.GoneMismatch), failure.Error(), &now
	case f.Outcome == drivers.OutcomeRetryable && l.Attempt < s.opts.MaxResumes:
		at := now.Add(commands.Backoff(l.Attempt, s.opts.RetryBase/2, min(resumeLimit, s.opts.RetryLimit)))
		fail.RetryAt = &at
	}
	s.log.Info("a kept runtime could not be resumed", "lease", id, "attempt", l.Attempt, "code", fail.Code, "gone", fail.Gone, "error", failure)
	return s.persist(func(ctx context.Context) error {
		_, err := s.deps.Commands.FailProvisioning(ctx, s.me(cause), id, fail)
		return err
	})
}
