package apitest_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
)

func TestARuntimeIsReusedAsThePolicySays(t *testing.T) {
	t.Parallel()
	s := start(t)
	tn := s.tenant("acme")
	acquire := func(run string) wire.Lease {
		t.Helper()
		ask := tn.ask(run)
		ask.LeasePolicy, ask.AgentID, ask.RetainFor = "reuse_by_environment", "agent", "2h"
		got, ready, err := tn.client.AcquireLease(t.Context(), tn.company, ask, client.Wait(time.Minute))
		require.NoError(t, err)
		require.True(t, ready)
		return got.Lease
	}
	release := func(id wire.Lease, in wire.Release) wire.Lease {
		t.Helper()
		l, err := tn.client.ReleaseLease(t.Context(), id.ID, in, client.Wait(time.Minute))
		require.NoError(t, err)
		return l
	}
	first := acquire("one")
	require.Equal(t, &wire.Acquisition{Outcome: "created"}, first.Acquisition)
	require.Nil(t, first.RetainedUntil)
	kept := release(first, wire.Release{})
	require.Equal(t, wire.LeaseRetained, kept.Status)
	require.Nil(t, kept.CleanupStatus)
	require.WithinDuration(t, kept.ReleasedAt.Add(2*time.Hour), *kept.RetainedUntil, 10*time.Second)
	listed, err := tn.client.Leases(t.Context(), tn.company, client.LeaseFilter{Status: wire.LeaseRetained}, client.MinPosition(kept.Position))
	require.NoError(t, err)
	require.Len(t, listed.Items, 1)

	second := acquire("two")
	require.Equal(t, &wire.Acquisition{Outcome: "resumed", FromLeaseID: &first.ID}, second.Acquisition)
	require.Equal(t, first.ProviderLeaseID, second.ProviderLeaseID)
	require.Greater(t, second.Fence, first.Fence)
	now, err := tn.client.Lease(t.Context(), first.ID)
	require.NoError(t, err)
	require.Nil(t, now.RetainedUntil, "it is the other one's")

	release(second, wire.Release{})
	gone := release(second, wire.Release{Disposition: "destroy"})
	require.Equal(t, wire.LeaseRetained, gone.Status)
	require.Nil(t, gone.RetainedUntil)
	require.Eventually(t, func() bool {
		l, err := tn.client.Lease(t.Context(), second.ID)
		return err == nil && l.CleanupStatus != nil && *l.CleanupStatus == "success"
	}, time.Minute, 10*time.Millisecond)
	third := acquire("three")
	require.Equal(t, "created", third.Acquisition.Outcome)
	require.Equal(t, wire.LeaseReleased, release(third, wire.Release{Disposition: "destroy"}).Status)
}

func TestABadPolicyIsRefusedWithItsField(t *testing.T) {
	t.Parallel()
	s := start(t)
	tn := s.tenant("acme")
	l := s.lease(tn, "run")
	before := s.head()
	acquire := "/api/v1/companies/" + tn.company.String() + "/leases"
	ask := `{"environmentId":"` + tn.env.ID.String() + `","heartbeatRunId":"r",`
	for _, x := range []struct{ path, body, code, field string }{
		{acquire, ask + `"leasePolicy":"for_ever"}`, "unknown_lease_policy", "leasePolicy"},
		{acquire, ask + `"leasePolicy":7}`, "wrong_type", "leasePolicy"},
		{acquire, ask + `"leasePolicy":"reuse_by_execution_workspace"}`, "missing_field", "executionWorkspaceId"},
		{acquire, ask + `"retainFor":"1h"}`, "conflicting_fields", "retainFor"},
		{acquire, ask + `"leasePolicy":"retain_on_failure","retainFor":"0s"}`, "invalid_duration", "retainFor"},
		{acquire, ask + `"leasePolicy":"retain_on_failure","retainFor":"-1h"}`, "invalid_duration", "retainFor"},
		{acquire, ask + `"leasePolicy":"retain_on_failure","retainFor":"soon"}`, "invalid_duration", "retainFor"},
		{acquire, ask + `"leasePolicy":"retain_on_failure","retainFor":"9000h"}`, "invalid_duration", "retainFor"},
		{"/api/v1/leases/" + l.ID.String() + "/release", `{"disposition":"freeze"}`, "unknown_disposition", "disposition"},
		{"/api/v1/leases/" + l.ID.String() + "/release", `{"disposition":"keep_running"}`, "lease_ephemeral", "disposition"},
	} {
		p := s.problem(tn.key, "POST", x.path, x.body)
		require.Equal(t, []string{x.code, x.field}, []string{p.Code, p.Field}, x.body)
		require.Contains(t, []int{400, 409}, p.Status, x.body)
		require.NotEmpty(t, p.Remediation, x.body)
	}
	require.Equal(t, before, s.head(), "nothing half-made stays")
}
