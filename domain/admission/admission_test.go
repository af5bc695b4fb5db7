package admission_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/access"
	"github.com/tenure-dev/tenure/domain/admission"
	"github.com/tenure-dev/tenure/domain/domaintest"
)

type scenario = domaintest.Scenario[admission.State, admission.Command, admission.Event]

func id(n byte) domain.LeaseID { return domaintest.ID[domain.LeaseID](n) }

func given(t *testing.T, facts ...admission.Event) scenario {
	t.Helper()
	return domaintest.Given[admission.State, admission.Command, admission.Event](t, admission.Decider, facts...)
}

// full is an environment of two slots, both held, where leases 3 and 4 wait.
func full(t *testing.T) scenario {
	t.Helper()
	return given(t, admission.Opened{Capacity: 2},
		admission.Admitted{Lease: id(1), Slot: 1}, admission.Admitted{Lease: id(2), Slot: 2},
		admission.Waiting{Lease: id(3)}, admission.Waiting{Lease: id(4)})
}

func TestAnEnvironmentIsOpenedOnce(t *testing.T) {
	t.Parallel()
	opened := given(t).When(admission.Open{Capacity: 2}).Then(admission.Opened{Capacity: 2})
	require.True(t, opened.State().IsOpen)
	opened.When(admission.Open{Capacity: 2}).Refused(domain.KindConflict, "environment_exists", "")
	given(t, admission.Opened{}, admission.Closed{}).When(admission.Open{}).Refused(domain.KindConflict, "environment_exists", "")
}

func TestACapacityIsNeverNegative(t *testing.T) {
	t.Parallel()
	given(t).When(admission.Open{Capacity: -1}).Refused(domain.KindInvalid, "invalid_capacity", "maxLeases")
	full(t).When(admission.ChangeCapacity{Capacity: -1}).Refused(domain.KindInvalid, "invalid_capacity", "maxLeases")
}

func TestAnUnknownEnvironmentIsNotFound(t *testing.T) {
	t.Parallel()
	for _, c := range []admission.Command{
		admission.ChangeCapacity{Capacity: 1}, admission.Close{}, admission.Enter{Lease: id(1)}, admission.Leave{Lease: id(1)},
	} {
		r := given(t).When(c).Refused(domain.KindNotFound, "environment_not_found", "")
		require.Equal(t, *access.NotFound("environment"), r)
	}
}

func TestAFreeSlotIsGivenAtOnce(t *testing.T) {
	t.Parallel()
	given(t, admission.Opened{Capacity: 2}).
		When(admission.Enter{Lease: id(1)}).Then(admission.Admitted{Lease: id(1), Slot: 1, Rule: admission.RuleFree}).
		When(admission.Enter{Lease: id(2)}).Then(admission.Admitted{Lease: id(2), Slot: 2, Rule: admission.RuleFree}).
		When(admission.Enter{Lease: id(3)}).Then(admission.Waiting{Lease: id(3)})
}

func TestWithoutALimitNobodyWaits(t *testing.T) {
	t.Parallel()
	s := given(t, admission.Opened{})
	for n := byte(1); n <= 50; n++ {
		s = s.When(admission.Enter{Lease: id(n)}).Then(admission.Admitted{Lease: id(n), Slot: int(n), Rule: admission.RuleFree})
	}
}

func TestEnteringAgainChangesNothing(t *testing.T) {
	t.Parallel()
	full(t).When(admission.Enter{Lease: id(1)}).Nothing()
	full(t).When(admission.Enter{Lease: id(3)}).Nothing()
}

func TestAFreedSlotGoesToWhoWaitsLongest(t *testing.T) {
	t.Parallel()
	full(t).
		When(admission.Leave{Lease: id(1)}).Then(admission.Freed{Lease: id(1), Slot: 1}, admission.Admitted{Lease: id(3), Slot: 1, Rule: admission.RuleAge}).
		When(admission.Leave{Lease: id(2)}).
		Then(admission.Freed{Lease: id(2), Slot: 2}, admission.Admitted{Lease: id(4), Slot: 2, Rule: admission.RuleOnly}).
		When(admission.Leave{Lease: id(4)}).Then(admission.Freed{Lease: id(4), Slot: 2}).
		When(admission.Enter{Lease: id(5)}).Then(admission.Admitted{Lease: id(5), Slot: 2, Rule: admission.RuleFree})
}

func TestWhoLeavesTheQueueMakesNoRoom(t *testing.T) {
	t.Parallel()
	after := full(t).When(admission.Leave{Lease: id(3)}).Then(admission.Left{Lease: id(3)})
	require.Equal(t, []domain.LeaseID{id(4)}, after.State().Queue())
	after.When(admission.Leave{Lease: id(3)}).Nothing()
	after.When(admission.Leave{Lease: id(9)}).Nothing()
}

func TestALargerCapacityAdmitsInOrder(t *testing.T) {
	t.Parallel()
	full(t).When(admission.ChangeCapacity{Capacity: 3}).
		Then(admission.CapacityChanged{Capacity: 3}, admission.Admitted{Lease: id(3), Slot: 3, Rule: admission.RuleAge})
	full(t).When(admission.ChangeCapacity{Capacity: 0}).
		Then(admission.CapacityChanged{}, admission.Admitted{Lease: id(3), Slot: 3, Rule: admission.RuleAge},
			admission.Admitted{Lease: id(4), Slot: 4, Rule: admission.RuleOnly})
	full(t).When(admission.ChangeCapacity{Capacity: 2}).Nothing()
}

func TestWhatIsHeldAboveALoweredCapacityStaysHeld(t *testing.T) {
	t.Parallel()
	lowered := full(t).When(admission.ChangeCapacity{Capacity: 1}).Then(admission.CapacityChanged{Capacity: 1})
	require.Len(t, lowered.State().Holders, 2)
	lowered.
		When(admission.Leave{Lease: id(1)}).Then(admission.Freed{Lease: id(1), Slot: 1}).
		When(admission.Leave{Lease: id(2)}).Then(admission.Freed{Lease: id(2), Slot: 2},
		admission.Admitted{Lease: id(3), Slot: 1, Rule: admission.RuleAge})
}

func TestAnArchivedEnvironmentAdmitsOnlyWhoWaitsAlready(t *testing.T) {
	t.Parallel()
	closed := full(t).When(admission.Close{}).Then(admission.Closed{})
	closed.When(admission.Close{}).Nothing()
	closed.When(admission.Enter{Lease: id(5)}).Refused(domain.KindConflict, "environment_archived", "environmentId")
	closed.When(admission.Enter{Lease: id(3)}).Nothing()
	closed.When(admission.Leave{Lease: id(1)}).
		Then(admission.Freed{Lease: id(1), Slot: 1}, admission.Admitted{Lease: id(3), Slot: 1, Rule: admission.RuleAge})
}

func TestASlotThatTheLogSkippedIsFree(t *testing.T) {
	t.Parallel()
	given(t, admission.Opened{}, admission.Admitted{Lease: id(1), Slot: 3}).
		When(admission.Enter{Lease: id(2)}).Then(admission.Admitted{Lease: id(2), Slot: 1, Rule: admission.RuleFree}).
		When(admission.Enter{Lease: id(3)}).Then(admission.Admitted{Lease: id(3), Slot: 2, Rule: admission.RuleFree}).
		When(admission.Enter{Lease: id(4)}).Then(admission.Admitted{Lease: id(4), Slot: 4, Rule: admission.RuleFree})
}

func TestAnUnknownCommandIsRefused(t *testing.T) {
	t.Parallel()
	full(t).When(nil).Refused(domain.KindInvalid, "unknown_command", "")
}
