package deadlines_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/domaintest"
	"github.com/tenure-dev/tenure/domain/execution"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/projections/deadlines"
	"github.com/tenure-dev/tenure/projections/projectionstest"
)

var (
	id     = uuid.MustParse("a0000000-0000-4000-8000-000000000001")
	worker = domaintest.Worker
)

// todo is what stands in the row; nothing for no row.
type todo struct {
	kind   deadlines.Kind
	due    time.Time
	worker domain.WorkerID
}

func now(t *testing.T, h *projectionstest.History) (todo, bool) {
	t.Helper()
	row, ok, err := deadlines.Model.OfStream(h.Events)
	require.NoError(t, err)
	d := row.Data
	if ok {
		require.Equal(t, id, d.ID)
		require.Equal(t, domaintest.Company, d.Company)
	}
	return todo{d.Kind, d.DueAt, d.Worker}, ok
}

// leaseWalk asks a lease one thing after the other and looks at the row after each.
type leaseWalk struct {
	t *testing.T
	h *projectionstest.History
}

func walk(t *testing.T) leaseWalk { return leaseWalk{t, projectionstest.NewHistory(t)} }

func (w leaseWalk) lease(c lease.Command, want todo) {
	w.t.Helper()
	w.h.Lease(id, c)
	got, ok := now(w.t, w.h)
	require.True(w.t, ok, "there is no row")
	require.Equal(w.t, want, got)
	w.h.Pass(time.Second)
}

func (w leaseWalk) exec(c execution.Command, want todo) {
	w.t.Helper()
	w.h.Exec(id, c)
	got, ok := now(w.t, w.h)
	require.True(w.t, ok, "there is no row")
	require.Equal(w.t, want, got)
	w.h.Pass(time.Second)
}

func (w leaseWalk) over() {
	w.t.Helper()
	_, ok := now(w.t, w.h)
	require.False(w.t, ok, "there is still a row")
}

func (w leaseWalk) at() time.Time { return w.h.Now() }

// active walks to an active lease.
func (w leaseWalk) active() {
	deadline := w.at().Add(time.Minute)
	w.lease(lease.Request{Requested: domaintest.LeaseRequested()}, todo{})
	w.lease(lease.Grant{Slot: 1}, todo{kind: deadlines.KindProvision, due: w.at()})
	w.lease(lease.StartProvisioning{Runtime: domaintest.Runtime, Worker: worker, Now: w.at(), Deadline: deadline},
		todo{deadlines.KindProvision, deadline, worker})
	w.lease(lease.Provision{Attempt: 1, Worker: worker, Acquisition: lease.AcquisitionCreated, Now: w.at()},
		todo{kind: deadlines.KindExpire, due: w.at().Add(55 * time.Minute)})
}

func TestALeaseIsDueForItsNextStep(t *testing.T) {
	t.Parallel()
	w := walk(t)
	w.active()
	w.h.Pass(50 * time.Minute)
	w.lease(lease.Renew{Now: w.at()}, todo{kind: deadlines.KindExpire, due: w.at().Add(55 * time.Minute)})
	w.h.Pass(58 * time.Minute)
	w.lease(lease.Expire{Now: w.at()}, todo{kind: deadlines.KindExpire, due: w.at().Add(2*time.Minute - time.Second)})
	w.lease(lease.Release{Reason: lease.ReasonReleased}, todo{kind: deadlines.KindRelease, due: w.at()})
	deadline, retry := w.at().Add(time.Minute), w.at().Add(5*time.Second)
	w.lease(lease.StartRelease{Worker: worker, Now: w.at(), Deadline: deadline}, todo{deadlines.KindRelease, deadline, worker})
	w.lease(lease.FailRelease{Attempt: 1, Worker: worker, Code: "busy", RetryAt: retry}, todo{kind: deadlines.KindRelease, due: retry})
	w.lease(lease.StartRelease{Worker: worker, Now: retry, Deadline: deadline}, todo{deadlines.KindRelease, deadline, worker})
	w.h.Lease(id, lease.FinishRelease{Attempt: 2, Worker: worker})
	w.over()
}

func TestAFailedAttemptIsDueWhenItMayBeRetried(t *testing.T) {
	t.Parallel()
	w := walk(t)
	retry, deadline := w.at().Add(time.Minute), w.at().Add(time.Hour)
	w.lease(lease.Request{Requested: domaintest.LeaseRequested()}, todo{})
	w.lease(lease.Grant{Slot: 1}, todo{kind: deadlines.KindProvision, due: w.at()})
	w.lease(lease.StartProvisioning{Runtime: domaintest.Runtime, Worker: worker, Now: w.at(), Deadline: deadline},
		todo{deadlines.KindProvision, deadline, worker})
	w.lease(lease.FailProvisioning{Attempt: 1, Worker: worker, Kind: lease.FailureRetryable, Code: "x", RetryAt: &retry},
		todo{kind: deadlines.KindProvision, due: retry})
	w.lease(lease.StartProvisioning{Runtime: domaintest.Runtime, Worker: worker, Now: retry, Deadline: deadline},
		todo{deadlines.KindProvision, deadline, worker})
	// It gives up, and what may have been made is to be removed though the lease has ended.
	w.lease(lease.FailProvisioning{Attempt: 2, Worker: worker, Kind: lease.FailureAmbiguous, Code: "x"},
		todo{kind: deadlines.KindRelease, due: w.at()})
	w.lease(lease.StartRelease{Worker: worker, Now: w.at(), Deadline: deadline}, todo{deadlines.KindRelease, deadline, worker})
	w.h.Lease(id, lease.FinishRelease{Attempt: 1, Worker: worker})
	w.over()
}

func TestALeaseReleasedWhileItIsBeingMadeIsDueWithItsAttempt(t *testing.T) {
	t.Parallel()
	w := walk(t)
	deadline := w.at().Add(time.Minute)
	w.lease(lease.Request{Requested: domaintest.LeaseRequested()}, todo{})
	w.lease(lease.Grant{Slot: 1}, todo{kind: deadlines.KindProvision, due: w.at()})
	attempt := todo{deadlines.KindProvision, deadline, worker}
	w.lease(lease.StartProvisioning{Runtime: domaintest.Runtime, Worker: worker, Now: w.at(), Deadline: deadline}, attempt)
	w.lease(lease.Release{Reason: lease.ReasonReleased}, attempt)
	w.lease(lease.Provision{Attempt: 1, Worker: worker, Now: w.at()}, todo{kind: deadlines.KindRelease, due: w.at()})
}

func TestACanceledLeaseIsNobodysBusiness(t *testing.T) {
	t.Parallel()
	w := walk(t)
	w.lease(lease.Request{Requested: domaintest.LeaseRequested()}, todo{})
	w.h.Lease(id, lease.Cancel{Reason: "not needed"})
	w.over()
}

func TestACommandIsDueUntilItIsClaimedAndThenOnlyByItsWorkersDeath(t *testing.T) {
	t.Parallel()
	w := walk(t)
	w.exec(execution.Request{Requested: domaintest.ExecRequested()}, todo{kind: deadlines.KindExec, due: w.at()})
	w.exec(execution.Claim{Worker: worker}, todo{kind: deadlines.KindExec, worker: worker})
	w.exec(execution.Start{Worker: worker, Started: execution.Started{PID: 1}}, todo{kind: deadlines.KindExec, worker: worker})
	w.exec(execution.RequestKill{Why: "enough"}, todo{deadlines.KindKill, w.at(), worker})
	w.h.Exec(id, execution.Finish{Worker: worker, Ended: execution.Ended{End: execution.EndKilled}, OutputSealed: &execution.NoOutput})
	w.over()
}

func TestALeaseThatWaitsIsDueWhenItGivesUp(t *testing.T) {
	t.Parallel()
	w := walk(t)
	asked := domaintest.LeaseRequested()
	asked.Queue.TimeoutMs = 60_000
	due := w.at().Add(time.Minute)
	w.lease(lease.Request{Requested: asked}, todo{kind: deadlines.KindQueue, due: due})
	w.h.Lease(id, lease.TimeOut{Now: due})
	w.over()

	w = walk(t)
	w.lease(lease.Request{Requested: asked}, todo{kind: deadlines.KindQueue, due: w.at().Add(time.Minute)})
	w.lease(lease.Grant{Slot: 1}, todo{kind: deadlines.KindProvision, due: w.at()})
}
