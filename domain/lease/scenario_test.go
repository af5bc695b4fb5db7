package lease_test

import (
	"testing"
	"time"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/domaintest"
	"github.com/tenure-dev/tenure/domain/lease"
)

type scenario = domaintest.Scenario[lease.State, lease.Command, lease.Event]

var (
	worker = domaintest.Worker
	other  = domaintest.ID[domain.WorkerID](99)
	noon   = domaintest.Noon
	later  = noon.Add(time.Minute)
)

var (
	granted     = lease.Granted{Slot: 2}
	started     = lease.ProvisioningStarted{Attempt: 1, Runtime: domaintest.Runtime, Worker: worker, Deadline: later}
	provisioned = lease.Provisioned{
		Attempt: 1, Runtime: domaintest.Runtime, Acquisition: lease.AcquisitionCreated,
		HardExpiresAt: noon.Add(24 * time.Hour), ExpiresAt: noon.Add(time.Hour),
	}
	toRelease = lease.ReleaseRequested{Reason: lease.ReasonReleased}
	teardown  = lease.ReleaseStarted{Attempt: 1, Worker: worker, Deadline: later}
	tornBadly = lease.ReleaseFailed{Attempt: 1, Code: "busy", Message: "in use", RetryAt: later}
	failed    = lease.Failed{Code: "c", Message: "m", CleanupPending: true}
	retryAt   = later
	retryable = lease.ProvisioningFailed{Attempt: 1, Kind: lease.FailureRetryable, Code: "c", Message: "m", RetryAt: &retryAt}
)

func given(t *testing.T, facts ...lease.Event) scenario {
	t.Helper()
	return domaintest.Given[lease.State, lease.Command, lease.Event](t, lease.Decider, facts...)
}

// at is a lease in a status, as it usually gets there.
func at(t *testing.T, status lease.Status) scenario {
	t.Helper()
	facts := map[lease.Status][]lease.Event{
		lease.StatusNone:           nil,
		lease.StatusRequested:      {},
		lease.StatusGranted:        {granted},
		lease.StatusProvisioning:   {granted, started},
		lease.StatusActive:         {granted, started, provisioned},
		lease.StatusReleasing:      {granted, started, provisioned, toRelease},
		lease.StatusPendingCleanup: {granted, started, provisioned, toRelease, teardown, tornBadly},
		lease.StatusReleased:       {granted, started, provisioned, toRelease, teardown, lease.Released{}},
		lease.StatusExpired:        {granted, started, provisioned, toRelease, teardown, lease.Expired{}},
		lease.StatusFailed:         {granted, started, retryable, failed},
		lease.StatusRetained:       {granted, started, provisioned, toRelease, teardown, lease.Retained{Disposition: lease.DispositionKeepRunning, KeptUntil: later}},
		lease.StatusCanceled:       {lease.Canceled{}},
	}[status]
	if status != lease.StatusNone {
		facts = append([]lease.Event{domaintest.LeaseRequested()}, facts...)
	}
	s := given(t, facts...)
	if got := s.State().Status(); got != status {
		t.Fatalf("the lease is %s, not %s", got, status)
	}
	return s
}

// known is every status of a lease that was requested.
var known = []lease.Status{
	lease.StatusRequested, lease.StatusGranted, lease.StatusProvisioning, lease.StatusActive, lease.StatusReleasing,
	lease.StatusPendingCleanup, lease.StatusReleased, lease.StatusExpired, lease.StatusFailed, lease.StatusRetained, lease.StatusCanceled,
}

// except is known without some.
func except(some ...lease.Status) []lease.Status {
	var rest []lease.Status
next:
	for _, s := range known {
		for _, e := range some {
			if s == e {
				continue next
			}
		}
		rest = append(rest, s)
	}
	return rest
}

// requestedFacts is a lease whose provisioning was started, and more.
func requestedFacts(more ...lease.Event) []lease.Event {
	return append([]lease.Event{domaintest.LeaseRequested(), granted, started}, more...)
}
