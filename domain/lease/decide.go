package lease

import (
	"time"

	"github.com/tenure-dev/tenure/domain"
)

// Decide answers a command. Commands that change nothing return no events.
func Decide(s State, cmd Command) ([]Event, error) {
	if c, ok := cmd.(Request); ok {
		return request(s, c)
	}
	if s.Status() == StatusNone {
		return nil, domain.NotFound("lease")
	}
	switch c := cmd.(type) {
	case Grant:
		return grant(s, c)
	case Cancel:
		return cancel(s, c)
	case TimeOut:
		return timeOut(s, c)
	case StartProvisioning:
		return startProvisioning(s, c)
	case Provision:
		return provision(s, c)
	case FailProvisioning:
		return failProvisioning(s, c)
	case Renew:
		return renew(s, c)
	case Release:
		return release(s, c)
	case Expire:
		return expire(s, c)
	case StartRelease:
		return startRelease(s, c)
	case FailRelease:
		return failRelease(s, c)
	case FinishRelease:
		return finishRelease(s, c)
	case Pass:
		return pass(s, c)
	case EndRetention:
		return endRetention(s, c)
	case Disown:
		return disown(s), nil
	case RetryCleanup:
		return retryCleanup(s)
	case ForceCleanup:
		return forceCleanup(s, c)
	case ConfirmCleanup:
		return confirmCleanup(s)
	case LoseNode:
		return loseNode(s, c)
	case ForgetNode:
		return forgetNode(s, c)
	}
	return nil, domain.Refuse(domain.KindInvalid, "unknown_command", "the lease does not know this command")
}

func request(s State, c Request) ([]Event, error) {
	if s.Status() != StatusNone {
		return nil, domain.Refuse(domain.KindConflict, "lease_exists", "a lease with this id exists already")
	}
	if err := checkRequest(c.Requested); err != nil {
		return nil, err
	}
	e := c.Requested
	if e.MaxTTLMs > 0 {
		e.TTLMs = min(e.TTLMs, e.MaxTTLMs)
	}
	return []Event{e}, nil
}

func checkRequest(r Requested) error {
	switch {
	case r.Company.IsZero():
		return domain.Refuse(domain.KindInvalid, "missing_field", "is missing").On("companyId").
			Mend("name the company that asks")
	case r.Environment.IsZero():
		return domain.Refuse(domain.KindInvalid, "missing_field", "is missing").On("environmentId").
			Mend("name the environment to lease; GET /companies/{companyId}/environments lists them")
	case r.Run == "":
		return domain.Refuse(domain.KindInvalid, "missing_field", "is missing").On("heartbeatRunId").
			Mend("give the id of the run that will hold the lease")
	}
	if err := checkPolicy(r); err != nil {
		return err
	}
	if err := checkDuration("ttl", r.TTLMs, "1h"); err != nil {
		return err
	}
	if err := checkDuration("idleTimeout", r.IdleTimeoutMs, "30m"); err != nil {
		return err
	}
	if err := checkQueueing(r.Queue); err != nil {
		return err
	}
	for _, word := range []struct{ field, text string }{
		{"heartbeatRunId", r.Run},
		{"issueId", r.Context.Issue},
		{"agentId", r.Context.Agent},
		{"executionWorkspaceId", r.Context.Workspace},
		{"executionWorkspaceMode", r.Context.WorkspaceMode},
		{"adapterType", r.Context.Adapter},
	} {
		if err := domain.CheckLine(word.field, word.text, domain.MaxReference); err != nil {
			return err
		}
	}
	return domain.CheckEnvNames("env", r.Env)
}

func checkDuration(field string, n int64, example string) error {
	refuse := func(problem string) error {
		return domain.Refuse(domain.KindInvalid, "invalid_duration", "%s", problem).On(field).
			Mend("give a duration such as %s, or leave it out", example)
	}
	switch {
	case n <= 0:
		return refuse("must be more than zero")
	case n > domain.MaxDuration.Milliseconds():
		return refuse("must be at most " + domain.MaxDuration.String())
	}
	return nil
}

func grant(s State, c Grant) ([]Event, error) {
	if s.Status() != StatusRequested {
		return nil, domain.Refuse(domain.KindConflict, "lease_not_waiting", "the lease is %s", s.Status())
	}
	return []Event{Granted(c)}, nil
}

func cancel(s State, c Cancel) ([]Event, error) {
	if err := domain.CheckText("reason", c.Reason, domain.MaxMessage); err != nil {
		return nil, err
	}
	switch s.Status() {
	case StatusRequested, StatusGranted, StatusProvisioning:
		if s.nothingOutside() {
			return []Event{Canceled(c)}, nil
		}
		return releaseAs(s, Release{Reason: ReasonCanceled, Message: c.Reason})
	case StatusCanceled:
		return nil, nil
	case StatusReleasing, StatusPendingCleanup:
		if s.ReleaseReason == ReasonCanceled {
			return nil, nil
		}
	case StatusNone, StatusActive, StatusReleased, StatusExpired, StatusFailed, StatusRetained:
	}
	return nil, domain.Refuse(domain.KindConflict, "lease_not_cancelable", "the lease is %s", s.Status()).
		Mend("only a lease that is not active yet can be canceled; release it instead")
}

func startProvisioning(s State, c StartProvisioning) ([]Event, error) {
	switch s.Status() {
	case StatusGranted:
	case StatusProvisioning:
		if s.Attempting && !c.WorkerDead && s.Worker != c.Worker {
			return nil, stale("attempt %d is held by another worker until %s", s.Attempt, s.Deadline.Format(time.RFC3339))
		}
		if s.Attempting && !c.WorkerDead && c.Now.Before(s.Deadline) {
			return nil, stale("attempt %d is already under way", s.Attempt)
		}
		if c.Now.Before(s.RetryAt) {
			return nil, stale("the next attempt may start at %s", s.RetryAt.Format(time.RFC3339))
		}
	case StatusNone, StatusRequested, StatusActive, StatusReleasing, StatusPendingCleanup, StatusReleased, StatusExpired,
		StatusFailed, StatusRetained, StatusCanceled:
		return nil, stale("the lease is %s", s.Status())
	}
	started := ProvisioningStarted{
		Attempt: s.Attempt + 1, Runtime: c.Runtime, Worker: c.Worker, Deadline: c.Deadline, Plugin: c.Plugin, Node: c.Node, Fingerprint: c.Fingerprint,
	}
	if !s.Runtime.IsZero() || c.Resume != nil {
		if err := checkPlace(s, c.Node); err != nil {
			return nil, err
		}
	}
	switch {
	case s.Resuming:
		started.Runtime, started.Node, started.Resumes = s.Runtime, s.Node, s.From
		started.ProviderLeaseID, started.Metadata = s.ProviderLeaseID, s.Metadata
	case !s.Runtime.IsZero():
		started.Runtime, started.Node = s.Runtime, s.Node
	case s.Attempt == 0 && c.Resume != nil:
		r := c.Resume
		started.Runtime, started.Node, started.Resumes = r.Runtime, s.Node, r.Lease
		started.ProviderLeaseID, started.Metadata = r.ProviderLeaseID, r.Metadata
	case s.Attempt == 0:
		started.Replaces = c.Replaces
	}
	return []Event{started}, nil
}

// provision turns the good end of an attempt into an active lease, unless a release was asked for meanwhile.
func provision(s State, c Provision) ([]Event, error) {
	if err := checkAttempt(s, c.Attempt, c.Worker); err != nil {
		return nil, err
	}
	if len(c.Metadata) > 0 {
		if err := domain.CheckObject("metadata", c.Metadata); err != nil {
			return nil, err
		}
	}
	if s.ReleaseReason != "" {
		return []Event{ProvisioningAbandoned{
			Attempt: c.Attempt, Code: "release_requested", ProviderLeaseID: c.ProviderLeaseID, Metadata: c.Metadata,
		}}, nil
	}
	acquisition := c.Acquisition
	switch {
	case s.Resuming:
		acquisition = AcquisitionResumed
	case s.Replaces != "":
		acquisition = AcquisitionReplacement
	}
	hard := c.Now.Add(s.TTL)
	return []Event{Provisioned{
		Attempt: c.Attempt, Runtime: s.Runtime, ProviderLeaseID: c.ProviderLeaseID, Metadata: c.Metadata,
		Acquisition: acquisition, AcquisitionReason: s.Replaces, HardExpiresAt: hard, ExpiresAt: earlier(hard, c.Now.Add(s.IdleTimeout)),
	}}, nil
}

func failProvisioning(s State, c FailProvisioning) ([]Event, error) {
	if err := checkAttempt(s, c.Attempt, c.Worker); err != nil {
		return nil, err
	}
	if s.Resuming {
		return failResuming(s, c)
	}
	nothing := c.Kind == FailureDefinite || c.Kind == FailureRetryable && c.NothingMade
	if s.ReleaseReason != "" {
		abandoned := ProvisioningAbandoned{Attempt: c.Attempt, Code: domain.CleanWord(c.Code), NothingMade: nothing, ProviderLeaseID: c.ProviderLeaseID}
		if nothing && !s.MaybeMade {
			return []Event{abandoned, s.ending()}, nil
		}
		return []Event{abandoned}, nil
	}
	failed := ProvisioningFailed{
		Attempt: c.Attempt, Kind: c.Kind, NothingMade: c.NothingMade && c.Kind == FailureRetryable, Code: domain.CleanWord(c.Code), Step: domain.CleanWord(c.Step),
		Message: domain.Clean(c.Message, domain.MaxMessage), ProviderLeaseID: c.ProviderLeaseID,
	}
	if c.Kind == FailureRetryable && c.RetryAt != nil {
		failed.RetryAt = c.RetryAt
		return []Event{failed}, nil
	}
	return []Event{failed, Failed{
		Code: failed.Code, Message: failed.Message, CleanupPending: s.MaybeMade || !nothing,
	}}, nil
}

func checkAttempt(s State, attempt int, worker domain.WorkerID) error {
	switch {
	case !s.Attempting:
		return stale("no attempt is open; the lease is %s", s.Status())
	case s.Attempt != attempt:
		return stale("attempt %d is open, not %d", s.Attempt, attempt)
	case s.Worker != worker:
		return stale("attempt %d is held by another worker", s.Attempt)
	}
	return nil
}

func release(s State, c Release) ([]Event, error) {
	switch c.Reason {
	case ReasonReleased, ReasonExpired, ReasonFailed, ReasonCanceled:
	default:
		return nil, domain.Refuse(domain.KindInvalid, "unknown_reason", "%q is not how a lease ends", string(c.Reason)).On("status").
			Mend("use %s, %s or %s, or leave it out", ReasonReleased, ReasonExpired, ReasonFailed)
	}
	if err := domain.CheckText("message", c.Message, domain.MaxMessage); err != nil {
		return nil, err
	}
	switch s.Status() {
	case StatusRequested, StatusGranted, StatusProvisioning, StatusActive:
		if s.nothingOutside() {
			return []Event{Canceled{Reason: string(c.Reason)}}, nil
		}
		return releaseAs(s, c)
	case StatusRetained, StatusFailed:
		if c.Disposition == DispositionDestroy {
			return endRetention(s, EndRetention{Reason: RetentionReleased})
		}
	case StatusNone, StatusReleasing, StatusPendingCleanup, StatusReleased, StatusExpired, StatusCanceled:
	}
	return nil, nil
}

// releaseAs asks to take down a lease that something may exist of outside.
func releaseAs(s State, c Release) ([]Event, error) {
	disposition, err := s.disposition(c.Reason, c.Disposition)
	if err != nil {
		return nil, err
	}
	e := ReleaseRequested{Reason: c.Reason, Message: c.Message}
	if disposition.Keeps() {
		e.Disposition = disposition
	}
	return []Event{e}, nil
}

// startRelease claims a teardown. An attempt to provision that a dead worker left open ends here: what it made is
// destroyed by the runtime's id.
func startRelease(s State, c StartRelease) ([]Event, error) {
	if !s.NeedsTeardown() {
		return nil, stale("the lease is %s and needs no teardown", s.Status())
	}
	if err := checkPlace(s, c.Node); err != nil {
		return nil, err
	}
	var events []Event
	if s.Attempting {
		if !c.WorkerDead && c.Now.Before(s.Deadline) {
			return nil, stale("attempt %d is still under way", s.Attempt)
		}
		events = append(events, ProvisioningAbandoned{Attempt: s.Attempt, Code: "worker_gone"})
	}
	if s.TearingDown && !c.WorkerDead && (s.Worker != c.Worker || c.Now.Before(s.Deadline)) {
		return nil, stale("teardown %d is already under way", s.Teardown)
	}
	if c.Now.Before(s.TeardownRetryAt) {
		return nil, stale("the next teardown may start at %s", s.TeardownRetryAt.Format(time.RFC3339))
	}
	return append(events, ReleaseStarted{Attempt: s.Teardown + 1, Worker: c.Worker, Deadline: c.Deadline}), nil
}

// NeedsTeardown reports whether something may exist outside that is to be destroyed.
func (s State) NeedsTeardown() bool {
	return s.CleanupNeeded && !s.Cleaned && !s.Kept && !s.Forced && (s.ReleaseReason != "" || s.End != StatusNone)
}

// Over reports whether the lease has ended and looks after nothing any more.
func (s State) Over() bool {
	return s.Status() == StatusNone || s.Status().Ended() && !s.NeedsTeardown() && !s.Kept
}

func failRelease(s State, c FailRelease) ([]Event, error) {
	if err := checkTeardown(s, c.Attempt, c.Worker); err != nil {
		return nil, err
	}
	events := []Event{ReleaseFailed{
		Attempt: c.Attempt, Code: domain.CleanWord(c.Code), Message: domain.Clean(c.Message, domain.MaxMessage), RetryAt: c.RetryAt,
	}}
	if !s.Quarantined && s.Exhausts(c.Limit) {
		events = append(events, Quarantined{Attempts: s.TeardownFails + 1, Code: domain.CleanWord(c.Code)})
	}
	return events, nil
}

// Exhausts reports whether one more failed teardown is as many as may fail.
func (s State) Exhausts(limit int) bool { return limit > 0 && s.TeardownFails+1 >= limit }

func finishRelease(s State, c FinishRelease) ([]Event, error) {
	if err := checkTeardown(s, c.Attempt, c.Worker); err != nil {
		return nil, err
	}
	switch {
	case s.End != StatusNone:
		return []Event{CleanupCompleted{}}, nil
	case c.Kept && s.Disposition.Keeps():
		return []Event{Retained{Disposition: s.Disposition, KeptUntil: c.Now.Add(s.RetainFor)}}, nil
	}
	return []Event{s.ending()}, nil
}

// ending is how the lease ends once nothing is left of it.
func (s State) ending() Event {
	switch s.ReleaseReason {
	case ReasonExpired:
		return Expired{}
	case ReasonFailed:
		return Failed{Code: "run_failed", Message: s.ReleaseMessage}
	case ReasonCanceled:
		return Canceled{Reason: s.ReleaseMessage}
	case ReasonReleased:
	}
	return Released{}
}

// nothingOutside reports that nothing was made for the lease and nobody is about to.
func (s State) nothingOutside() bool { return !s.Attempting && !s.CleanupNeeded }

func checkTeardown(s State, attempt int, worker domain.WorkerID) error {
	switch {
	case !s.TearingDown:
		return stale("no teardown is open; the lease is %s", s.Status())
	case s.Teardown != attempt:
		return stale("teardown %d is open, not %d", s.Teardown, attempt)
	case s.Worker != worker:
		return stale("teardown %d is held by another worker", s.Teardown)
	}
	return nil
}

// CheckFence refuses who holds another lease than this one.
func (s State) CheckFence(fence int64) error {
	if fence == s.Fence {
		return nil
	}
	return domain.Refuse(domain.KindStale, "stale_fence", "the lease has another fence").On("Lease-Fence").
		Mend("send the fence of the lease that you hold")
}

func notActive(s State) *domain.Refusal {
	return domain.Refuse(domain.KindConflict, "lease_not_active", "the lease is %s", s.Status()).
		Mend("wait until the lease is active: acquire with Prefer: wait=N, or follow its events")
}

func stale(format string, args ...any) *domain.Refusal {
	return domain.Refuse(domain.KindStale, "stale_claim", format, args...)
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
