package lease_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/admission"
	"github.com/tenure-dev/tenure/domain/domaintest"
	"github.com/tenure-dev/tenure/domain/lease"
)

func TestALeaseGivesUpWaitingAtItsTimeAndNotBefore(t *testing.T) {
	t.Parallel()
	asked := domaintest.LeaseRequested()
	asked.Queue.TimeoutMs = 60_000
	waiting := given(t).When(lease.Request{Requested: asked}).Then(asked)
	deadline := time.Unix(1, 0).UTC().Add(time.Minute)
	require.Equal(t, deadline, waiting.State().QueueDeadline())
	waiting.When(lease.TimeOut{Now: deadline.Add(-time.Nanosecond)}).Nothing()

	failed := lease.Failed{Code: "queue_timeout", Message: "no slot of the environment was free within 1m0s"}
	over := waiting.When(lease.TimeOut{Now: deadline}).Then(failed)
	require.Equal(t, lease.StatusFailed, over.State().Status())
	require.Equal(t, lease.CleanupNone, over.State().CleanupStatus())
	require.False(t, over.State().HoldsSlot())
	over.When(lease.TimeOut{Now: deadline.Add(time.Hour)}).Nothing()

	granted := waiting.When(lease.Grant{Slot: 1, Rule: admission.RuleAge}).Then(lease.Granted{Slot: 1, Rule: admission.RuleAge})
	require.Equal(t, admission.RuleAge, granted.State().GrantRule)
	require.Equal(t, time.Unix(2, 0).UTC(), granted.State().GrantedAt)
	granted.When(lease.TimeOut{Now: deadline.Add(time.Hour)}).Nothing()
}

func TestALeaseThatDoesNotSayWaitsWithoutLimit(t *testing.T) {
	t.Parallel()
	s := given(t, domaintest.LeaseRequested())
	require.True(t, s.State().QueueDeadline().IsZero())
	s.When(lease.TimeOut{Now: time.Unix(1<<40, 0)}).Nothing()
	given(t).When(lease.TimeOut{Now: domaintest.Noon}).Refused(domain.KindNotFound, "lease_not_found", "")
}

func TestAWrongWayToWaitIsRefused(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		queue       lease.Queueing
		code, field string
	}{
		"unknown priority": {lease.Queueing{Standing: admission.Standing{Class: "urgent"}}, "unknown_priority", "priority"},
		"negative weight":  {lease.Queueing{Standing: admission.Standing{Weight: -1}}, "invalid_weight", "weight"},
		"huge weight":      {lease.Queueing{Standing: admission.Standing{Weight: 101}}, "invalid_weight", "weight"},
		"NUL in key":       {lease.Queueing{Standing: admission.Standing{Key: "a\x00"}}, "invalid_text", "fairnessKey"},
		"negative timeout": {lease.Queueing{TimeoutMs: -1}, "invalid_duration", "queueTimeout"},
		"endless timeout":  {lease.Queueing{TimeoutMs: 1 << 62}, "invalid_duration", "queueTimeout"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			asked := domaintest.LeaseRequested()
			asked.Queue = tc.queue
			given(t).When(lease.Request{Requested: asked}).Refused(domain.KindInvalid, tc.code, tc.field)
		})
	}
}
