package apitest_test

import (
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
)

func TestAcquiredLeaseKeepsTheSeedContract(t *testing.T) {
	t.Parallel()
	s := start(t)
	tn := s.tenant("acme")

	acquired, ready, err := tn.client.AcquireLease(t.Context(), tn.company, tn.ask("run-1"), client.Wait(time.Minute))

	require.NoError(t, err)
	require.True(t, ready)
	l := acquired.Lease
	require.Equal(t, tn.company, l.CompanyID)
	require.Equal(t, tn.env.ID, l.EnvironmentID)
	require.Equal(t, tn.env.ID, acquired.Environment.ID)
	require.Equal(t, "run-1", l.HeartbeatRunID)
	require.Nil(t, l.IssueID)
	require.Equal(t, wire.LeaseActive, l.Status)
	require.Equal(t, "local", l.Provider)
	require.Nil(t, l.ProviderLeaseID)
	require.Equal(t, "ephemeral", l.LeasePolicy)
	require.Equal(t, wire.LeaseContext{}, acquired.LeaseContext)
	require.Equal(t, "local", l.Metadata["driver"])
	require.Contains(t, l.Metadata, "executionWorkspaceMode")
	require.Nil(t, l.Metadata["executionWorkspaceMode"])
	require.Positive(t, l.Fence)
	require.WithinDuration(t, l.AcquiredAt.Add(time.Hour), *l.ExpiresAt, 30*time.Second, "idle timeout of one hour")

	released, err := tn.client.ReleaseRun(t.Context(), tn.company, "run-1", wire.Release{})
	require.NoError(t, err)
	require.Len(t, released.Released, 1)
	require.Equal(t, l.ID, released.Released[0].Lease.ID)
	require.Equal(t, wire.LeaseReleased, released.Released[0].Lease.Status)
	require.Equal(t, "success", *released.Released[0].Lease.CleanupStatus)
	require.Equal(t, tn.env.ID, released.Released[0].Environment.ID)

	active, err := tn.client.Leases(t.Context(), tn.company, client.LeaseFilter{Status: wire.LeaseActive}, client.MinPosition(released.Position))
	require.NoError(t, err)
	require.Empty(t, active.Items)
	again, err := tn.client.ReleaseRun(t.Context(), tn.company, "run-1", wire.Release{})
	require.NoError(t, err)
	require.Equal(t, []wire.ReleasedLease{}, again.Released)
}

func TestLeaseWithoutWaitIsAnsweredAtOnce(t *testing.T) {
	t.Parallel()
	s := start(t)
	tn := s.tenant("acme")
	acquired, ready, err := tn.client.AcquireLease(t.Context(), tn.company, tn.ask("slow"))
	require.NoError(t, err)
	require.False(t, ready)
	require.Equal(t, wire.LeaseProvisioning, acquired.Lease.Status)

	resp, _ := s.raw(tn.key, "POST", "/api/v1/companies/"+tn.company.String()+"/leases",
		`{"environmentId":"`+tn.env.ID.String()+`","heartbeatRunId":"slow"}`, "Prefer", "respond-async, wait=1")
	require.Equal(t, 202, resp.StatusCode, "the time is over and it is not active")
}

func TestContextOfTheClientIsCarriedAlong(t *testing.T) {
	t.Parallel()
	s := start(t)
	tn := s.tenant("acme")
	in := tn.ask("run")
	in.IssueID, in.AgentID, in.ExecutionWorkspaceID, in.ExecutionWorkspaceMode = "issue-1", "agent-1", "ws-1", "shared"
	in.TTL, in.IdleTimeout = "30m", "2h"
	acquired, _, err := tn.client.AcquireLease(t.Context(), tn.company, in, client.Wait(time.Minute))
	require.NoError(t, err)
	require.Equal(t, "issue-1", *acquired.Lease.IssueID)
	require.Equal(t, "agent-1", *acquired.Lease.AgentID)
	require.Equal(t, "ws-1", *acquired.LeaseContext.ExecutionWorkspaceID)
	require.Equal(t, "shared", acquired.Lease.Metadata["executionWorkspaceMode"])
	require.WithinDuration(t, acquired.Lease.AcquiredAt.Add(30*time.Minute), *acquired.Lease.ExpiresAt, 30*time.Second, "the earlier limit wins")
}

func TestLeaseThatEndsBeforeItIsActiveIsAProblemWithTheLease(t *testing.T) {
	t.Parallel()
	s := start(t)
	tn := s.tenant("acme")
	_, _, err := tn.client.AcquireLease(t.Context(), tn.company, tn.ask("broken"), client.Wait(time.Minute))
	var p *client.Problem
	require.ErrorAs(t, err, &p)
	require.Equal(t, 409, p.Status)
	require.Equal(t, "lease_failed", p.Code)
	require.Equal(t, wire.LeaseFailed, p.Lease.Status)
	require.Equal(t, "disk_full: no space is left", *p.Lease.FailureReason)
	require.NotNil(t, p.Lease.ReleasedAt)
}

func TestRepeatedAcquireIsOneLease(t *testing.T) {
	t.Parallel()
	s := start(t)
	tn := s.tenant("acme")
	const repeats = 20
	leases := make([]wire.Acquired, repeats)
	errs := make([]error, repeats)
	var group sync.WaitGroup
	for i := range repeats {
		group.Go(func() {
			// How long a client waits, and for what, is not what it asks for.
			leases[i], _, errs[i] = tn.client.AcquireLease(t.Context(), tn.company, tn.ask("run"), client.IdempotencyKey("one"),
				client.Wait(time.Minute), client.MinPosition(int64(i%2)))
		})
	}
	group.Wait()
	for i := range repeats {
		require.NoError(t, errs[i])
		require.Equal(t, leases[0].Lease.ID, leases[i].Lease.ID)
		require.Equal(t, wire.LeaseActive, leases[i].Lease.Status)
	}
	require.Equal(t, 1, s.worker.runtimes())

	_, _, err := tn.client.AcquireLease(t.Context(), tn.company, tn.ask("another"), client.IdempotencyKey("one"))
	var p *client.Problem
	require.ErrorAs(t, err, &p)
	require.Equal(t, 422, p.Status)
	require.Equal(t, "idempotency_key_reused", p.Code)

	_, err = tn.client.ReleaseLease(t.Context(), leases[0].Lease.ID, wire.Release{}, client.Wait(time.Minute))
	require.NoError(t, err)
	body := `{"environmentId":"` + tn.env.ID.String() + `","heartbeatRunId":"run"}`
	resp, answer := s.raw(tn.key, "POST", "/api/v1/companies/"+tn.company.String()+"/leases", body, "Idempotency-Key", "one", "Prefer", "wait=60")
	require.Equal(t, 201, resp.StatusCode, "the status of the first: %s", answer)
	require.Equal(t, "true", resp.Header.Get(wire.HeaderReplayed))
	require.Contains(t, string(answer), leases[0].Lease.ID.String())
	require.Contains(t, string(answer), `"status":"released"`)
	require.Equal(t, 1, s.worker.runtimes())
}

func TestIdempotencyKeysOfCompaniesAreApart(t *testing.T) {
	t.Parallel()
	s := start(t)
	one, two := s.tenant("one"), s.tenant("two")
	a, _, err := one.client.AcquireLease(t.Context(), one.company, one.ask("run"), client.IdempotencyKey("same"))
	require.NoError(t, err)
	b, _, err := two.client.AcquireLease(t.Context(), two.company, two.ask("run"), client.IdempotencyKey("same"))
	require.NoError(t, err)
	require.NotEqual(t, a.Lease.ID, b.Lease.ID)
}

func TestRepeatedCommandsOnALeaseAreToldApartFromOthers(t *testing.T) {
	t.Parallel()
	s := start(t)
	tn := s.tenant("acme")
	l := s.lease(tn, "run")
	path := "/api/v1/leases/" + l.ID.String() + "/release"
	first, _ := s.raw(tn.key, "POST", path, `{}`, "Idempotency-Key", "r", "Prefer", "wait=60")
	require.Equal(t, 200, first.StatusCode)
	require.Empty(t, first.Header.Get(wire.HeaderReplayed))
	again, _ := s.raw(tn.key, "POST", path, `{}`, "Idempotency-Key", "r", "Prefer", "wait=60")
	require.Equal(t, "true", again.Header.Get(wire.HeaderReplayed))
	p := s.problem(tn.key, "POST", path, `{"status":"failed"}`, "Idempotency-Key", "r")
	require.Equal(t, "idempotency_key_reused", p.Code)
}

func TestReleasedRunAnswersARepetitionWithTheSameLeases(t *testing.T) {
	t.Parallel()
	s := start(t)
	tn := s.tenant("acme")
	want := []uuid.UUID{s.lease(tn, "a/b c").ID, s.lease(tn, "a/b c").ID}
	other := s.lease(tn, "other")
	for range 2 {
		out, err := tn.client.ReleaseRun(t.Context(), tn.company, "a/b c", wire.Release{Status: "failed", Message: "tests failed"}, client.IdempotencyKey("r"))
		require.NoError(t, err)
		require.Len(t, out.Released, 2)
		for i, r := range out.Released {
			require.Equal(t, want[i], r.Lease.ID)
			require.Equal(t, wire.LeaseFailed, r.Lease.Status)
			require.Equal(t, "run_failed: tests failed", *r.Lease.FailureReason)
		}
	}
	still, err := tn.client.Lease(t.Context(), other.ID)
	require.NoError(t, err)
	require.Equal(t, wire.LeaseActive, still.Status)
}

func TestRacingReleasesOfARunShareTheLeases(t *testing.T) {
	t.Parallel()
	s := start(t)
	tn := s.tenant("acme")
	const leases, calls = 6, 4
	for range leases {
		s.lease(tn, "run")
	}
	outs := make([]wire.RunReleased, calls)
	errs := make([]error, calls)
	var group sync.WaitGroup
	for i := range calls {
		group.Go(func() { outs[i], errs[i] = tn.client.ReleaseRun(t.Context(), tn.company, "run", wire.Release{}) })
	}
	group.Wait()
	seen := map[uuid.UUID]int{}
	for i := range calls {
		require.NoError(t, errs[i])
		for _, r := range outs[i].Released {
			seen[r.Lease.ID]++
		}
	}
	require.Len(t, seen, leases)
	for id, n := range seen {
		require.Equal(t, 1, n, "lease %s", id)
	}
}

func TestReleasedRunTakesWaitingLeasesAlong(t *testing.T) {
	t.Parallel()
	s := start(t)
	tn := s.tenant("acme")
	_, _, err := tn.client.AcquireLease(t.Context(), tn.company, tn.ask("slow"))
	require.NoError(t, err)
	out, err := tn.client.ReleaseRun(t.Context(), tn.company, "slow", wire.Release{})
	require.NoError(t, err)
	require.Len(t, out.Released, 1)
	require.Equal(t, wire.LeaseCanceled, out.Released[0].Lease.Status)
}

func TestReleasedRunSaysReleasingWhenTheTeardownLasts(t *testing.T) {
	t.Parallel()
	s := start(t)
	tn := s.tenant("acme")
	s.lease(tn, "sticky")
	out, err := tn.client.ReleaseRun(t.Context(), tn.company, "sticky", wire.Release{}, client.Wait(time.Second))
	require.NoError(t, err)
	require.Equal(t, wire.LeaseReleasing, out.Released[0].Lease.Status)
	require.Equal(t, "pending", *out.Released[0].Lease.CleanupStatus)
}

func TestOnlyALeaseThatIsNotActiveIsCanceled(t *testing.T) {
	t.Parallel()
	s := start(t)
	tn := s.tenant("acme")
	waiting, _, err := tn.client.AcquireLease(t.Context(), tn.company, tn.ask("slow"))
	require.NoError(t, err)
	canceled, err := tn.client.CancelLease(t.Context(), waiting.Lease.ID, wire.Cancel{Reason: "not needed"})
	require.NoError(t, err)
	require.Equal(t, wire.LeaseCanceled, canceled.Status)
	_, err = tn.client.CancelLease(t.Context(), s.lease(tn, "run").ID, wire.Cancel{})
	require.True(t, client.IsCode(err, "lease_not_cancelable"), "%v", err)
}

func TestLeasesAreFoundByStatusEnvironmentAndRun(t *testing.T) {
	t.Parallel()
	s := start(t)
	tn := s.tenant("acme")
	one, two := s.lease(tn, "run-1"), s.lease(tn, "run-2")
	gone, err := tn.client.ReleaseLease(t.Context(), one.ID, wire.Release{}, client.Wait(time.Minute))
	require.NoError(t, err)
	find := func(f client.LeaseFilter) (ids []uuid.UUID) {
		list, err := tn.auditor.Leases(t.Context(), tn.company, f, client.MinPosition(gone.Position))
		require.NoError(t, err)
		for _, l := range list.Items {
			ids = append(ids, l.ID)
		}
		return ids
	}
	require.Equal(t, []uuid.UUID{two.ID, one.ID}, find(client.LeaseFilter{}), "the newest first")
	require.Equal(t, []uuid.UUID{two.ID}, find(client.LeaseFilter{Status: wire.LeaseActive}))
	require.Equal(t, []uuid.UUID{one.ID}, find(client.LeaseFilter{Status: wire.LeaseReleased}))
	require.Equal(t, []uuid.UUID{one.ID}, find(client.LeaseFilter{HeartbeatRunID: "run-1"}))
	require.Empty(t, find(client.LeaseFilter{EnvironmentID: uuid.New()}))

	for query, field := range map[string]string{"status=busy": "status", "environmentId=x": "environmentId", "limit=1001": "limit", "limit=x": "limit", "colour=red": "colour", "after=zzz": "after", "minPosition=-1": "minPosition"} {
		p := s.problem(tn.key, "GET", "/api/v1/companies/"+tn.company.String()+"/leases?"+query, "")
		require.Equal(t, 400, p.Status, query)
		require.Equal(t, field, p.Field, query)
	}
}

func TestBadRequestForALeaseNamesTheField(t *testing.T) {
	t.Parallel()
	s := start(t)
	tn := s.tenant("acme")
	env := `"environmentId":"` + tn.env.ID.String() + `"`
	for body, field := range map[string]string{
		`{"environmentId":"` + uuid.Nil.String() + `","heartbeatRunId":"r"}`: "environmentId", `{` + env + `}`: "heartbeatRunId", `{"environmentId":"x","heartbeatRunId":"r"}`: "environmentId",
		`{` + env + `,"heartbeatRunId":"r","ttl":"soon"}`: "ttl", `{` + env + `,"heartbeatRunId":"r","ttl":"8785h"}`: "ttl",
		`{` + env + `,"heartbeatRunId":"r","idleTimeout":"0s"}`: "idleTimeout", `{` + env + `,"heartbeatRunId":"r","leasePolicy":"keep"}`: "leasePolicy",
		`{` + env + `,"heartbeatRunId":"r","env":{"A=B":"x"}}`: "env.A=B", `{` + env + `,"heartbeatRunId":"a\nb"}`: "heartbeatRunId",
		`{` + env + `,"heartbeatRunId":"r","env":{"A":"\u0000secret"}}`: "env.A",
	} {
		p := s.problem(tn.key, "POST", "/api/v1/companies/"+tn.company.String()+"/leases", body)
		require.Equal(t, 400, p.Status, body)
		require.Equal(t, field, p.Field, body)
		require.NotContains(t, p.Detail, "secret")
	}
	p := s.problem(tn.key, "POST", "/api/v1/companies/"+tn.company.String()+"/leases", `{"environmentId":"`+uuid.NewString()+`","heartbeatRunId":"r"}`)
	require.Equal(t, 404, p.Status)
	require.Equal(t, "environment_not_found", p.Code)
	require.Equal(t, "environmentId", p.Field)
	p = s.problem(tn.key, "POST", "/api/v1/companies/"+tn.company.String()+"/leases", `{}`, "Prefer", "wait=soon")
	require.Equal(t, "Prefer", p.Field)
}
