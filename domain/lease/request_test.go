package lease_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/access"
	"github.com/tenure-dev/tenure/domain/domaintest"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/domain/selection"
)

func TestALeaseIsRequestedOnce(t *testing.T) {
	t.Parallel()
	want := domaintest.LeaseRequested()
	s := given(t).When(lease.Request{Requested: want}).Then(want)
	require.Equal(t, time.Unix(1, 0).UTC(), s.State().RequestedAt)
	require.Equal(t, 24*time.Hour, s.State().TTL)
	require.Equal(t, time.Hour, s.State().IdleTimeout)
	for _, status := range known {
		at(t, status).When(lease.Request{Requested: want}).Refused(domain.KindConflict, "lease_exists", "")
	}
}

func TestALeaseRemembersWhyItIsOfItsEnvironment(t *testing.T) {
	t.Parallel()
	want := domaintest.LeaseRequested()
	require.Nil(t, given(t).When(lease.Request{Requested: want}).Then(want).State().Selection)
	want.Selection = &lease.Selection{Level: selection.LevelAgent, Reason: "the agent names it"}
	require.Equal(t, want.Selection, given(t).When(lease.Request{Requested: want}).Then(want).State().Selection)
}

func TestALeaseNeedsNoIssueAndNoWorkspace(t *testing.T) {
	t.Parallel()
	bare := domaintest.LeaseRequested()
	bare.Context, bare.Env, bare.Config = lease.Context{}, nil, nil
	given(t).When(lease.Request{Requested: bare}).Then(bare)
}

func TestAWrongRequestIsRefused(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", domain.MaxReference+1)
	for name, tc := range map[string]struct {
		spoil       func(*lease.Requested)
		code, field string
	}{
		"no company":       {func(r *lease.Requested) { r.Company = domain.CompanyID{} }, "missing_field", "companyId"},
		"no environment":   {func(r *lease.Requested) { r.Environment = domain.EnvironmentID{} }, "missing_field", "environmentId"},
		"no run":           {func(r *lease.Requested) { r.Run = "" }, "missing_field", "heartbeatRunId"},
		"NUL in run":       {func(r *lease.Requested) { r.Run = "a\x00" }, "invalid_text", "heartbeatRunId"},
		"long run":         {func(r *lease.Requested) { r.Run = long }, "text_too_long", "heartbeatRunId"},
		"unknown policy":   {func(r *lease.Requested) { r.Policy = "forever" }, "unknown_lease_policy", "leasePolicy"},
		"no ttl":           {func(r *lease.Requested) { r.TTLMs = 0 }, "invalid_duration", "ttl"},
		"endless ttl":      {func(r *lease.Requested) { r.TTLMs = 1 << 62 }, "invalid_duration", "ttl"},
		"no idle timeout":  {func(r *lease.Requested) { r.IdleTimeoutMs = -1 }, "invalid_duration", "idleTimeout"},
		"endless idling":   {func(r *lease.Requested) { r.IdleTimeoutMs = 1 << 62 }, "invalid_duration", "idleTimeout"},
		"NUL in issue":     {func(r *lease.Requested) { r.Context.Issue = "\x00" }, "invalid_text", "issueId"},
		"lines in agent":   {func(r *lease.Requested) { r.Context.Agent = "a\nb" }, "invalid_text", "agentId"},
		"long workspace":   {func(r *lease.Requested) { r.Context.Workspace = long }, "text_too_long", "executionWorkspaceId"},
		"bytes in mode":    {func(r *lease.Requested) { r.Context.WorkspaceMode = "\xff" }, "invalid_text", "executionWorkspaceMode"},
		"NUL in adapter":   {func(r *lease.Requested) { r.Context.Adapter = "\x00" }, "invalid_text", "adapterType"},
		"variable with =":  {func(r *lease.Requested) { r.Env = []domain.EnvName{{Name: "A=B"}} }, "invalid_env_name", "env.A=B"},
		"nameless env":     {func(r *lease.Requested) { r.Env = []domain.EnvName{{}} }, "invalid_env_name", "env."},
		"a variable twice": {func(r *lease.Requested) { r.Env = []domain.EnvName{{Name: "A"}, {Name: "A"}} }, "duplicate_env_name", "env.A"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := domaintest.LeaseRequested()
			tc.spoil(&r)
			given(t).When(lease.Request{Requested: r}).Refused(domain.KindInvalid, tc.code, tc.field)
		})
	}
}

func TestAnUnknownLeaseIsNotFound(t *testing.T) {
	t.Parallel()
	for _, c := range []lease.Command{
		lease.Grant{}, lease.Cancel{}, lease.StartProvisioning{}, lease.Provision{}, lease.FailProvisioning{}, lease.Renew{},
		lease.Release{}, lease.Expire{}, lease.StartRelease{}, lease.FailRelease{}, lease.FinishRelease{},
	} {
		r := given(t).When(c).Refused(domain.KindNotFound, "lease_not_found", "")
		require.Equal(t, *access.NotFound("lease"), r)
	}
}

func TestAnUnknownCommandIsRefused(t *testing.T) {
	t.Parallel()
	at(t, lease.StatusActive).When(nil).Refused(domain.KindInvalid, "unknown_command", "")
}

func TestOnlyAWaitingLeaseIsGranted(t *testing.T) {
	t.Parallel()
	s := at(t, lease.StatusRequested).When(lease.Grant{Slot: 2}).Then(granted)
	require.Equal(t, 2, s.State().Slot)
	require.Equal(t, domain.Meta{Epoch: 1, Position: 2}.Fence(), s.State().Fence)
	for _, status := range except(lease.StatusRequested) {
		at(t, status).When(lease.Grant{Slot: 2}).Refused(domain.KindConflict, "lease_not_waiting", "")
	}
}

func TestALeaseThatIsNotActiveYetCanBeCanceled(t *testing.T) {
	t.Parallel()
	cancel := lease.Cancel{Reason: "not needed"}
	canceled := lease.Canceled{Reason: "not needed"}
	s := at(t, lease.StatusRequested).When(cancel).Then(canceled)
	s.When(cancel).Nothing()
	at(t, lease.StatusGranted).When(cancel).Then(canceled)

	asked := at(t, lease.StatusProvisioning).When(cancel).
		Then(lease.ReleaseRequested{Reason: lease.ReasonCanceled, Message: "not needed"})
	asked.When(cancel).Nothing()
	require.Equal(t, lease.StatusReleasing, asked.State().Status())

	for _, status := range except(lease.StatusRequested, lease.StatusGranted, lease.StatusProvisioning, lease.StatusCanceled) {
		at(t, status).When(cancel).Refused(domain.KindConflict, "lease_not_cancelable", "")
	}
	at(t, lease.StatusGranted).When(lease.Cancel{Reason: "\x00"}).Refused(domain.KindInvalid, "invalid_text", "reason")
}
