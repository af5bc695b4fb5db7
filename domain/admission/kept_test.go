package admission_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/admission"
)

const scope = `provider="ssh" agent="a" adapter="x"`

// resting is an environment of two slots, where lease 1 keeps a runtime and lease 2 lives.
func resting(t *testing.T) scenario {
	t.Helper()
	return given(t, admission.Opened{Capacity: 2}, admission.Admitted{Lease: id(1), Slot: 1}, admission.Admitted{Lease: id(2), Slot: 2}).
		When(admission.Rest{Lease: id(1), Scope: scope}).Then(admission.Idled{Lease: id(1), Scope: scope})
}

func TestAKeptRuntimeComesWithItsSlot(t *testing.T) {
	t.Parallel()
	s := resting(t)
	require.Equal(t, []domain.LeaseID{id(1)}, s.State().Idle())
	s.When(admission.Rest{Lease: id(1), Scope: scope}).Nothing()
	s = s.When(admission.Enter{Lease: id(3), Scope: scope}).
		Then(admission.Admitted{Lease: id(3), Slot: 1, Rule: admission.RuleKept, From: id(1)})
	require.Equal(t, map[domain.LeaseID]int{id(2): 2, id(3): 1}, s.State().Holders)
	require.Empty(t, s.State().Idle())
	s.When(admission.Leave{Lease: id(1)}).Nothing()
	s.When(admission.Rest{Lease: id(1)}).Nothing()
}

func TestOfSeveralKeptRuntimesTheLastUsedIsTaken(t *testing.T) {
	t.Parallel()
	s := resting(t).When(admission.Rest{Lease: id(2), Scope: scope}).Then(admission.Idled{Lease: id(2), Scope: scope})
	s.When(admission.Enter{Lease: id(3), Scope: scope}).Then(admission.Admitted{Lease: id(3), Slot: 2, Rule: admission.RuleKept, From: id(2)})
}

func TestAKeptRuntimeOfAnotherScopeMakesRoomForWhoWaits(t *testing.T) {
	t.Parallel()
	for _, other := range []string{"", "another"} {
		s := resting(t).When(admission.Enter{Lease: id(3), Scope: other}).
			Then(admission.Waiting{Lease: id(3), Scope: other}, admission.Evicted{Lease: id(1)})
		require.Empty(t, s.State().Idle())
		s = s.When(admission.Enter{Lease: id(4), Scope: scope}).Then(admission.Waiting{Lease: id(4), Scope: scope})
		s = s.When(admission.Leave{Lease: id(1)}).
			Then(admission.Freed{Lease: id(1), Slot: 1}, admission.Admitted{Lease: id(3), Slot: 1, Rule: admission.RuleAge})
		// Who waits is given a runtime that comes to be kept, if it is of its scope.
		s.When(admission.Rest{Lease: id(3), Scope: scope}).
			Then(admission.Idled{Lease: id(3), Scope: scope}, admission.Admitted{Lease: id(4), Slot: 1, Rule: admission.RuleOnly, From: id(3)})
		s.When(admission.Rest{Lease: id(3), Scope: other}).
			Then(admission.Idled{Lease: id(3), Scope: other}, admission.Evicted{Lease: id(3)})
	}
}

func TestWhatIsKeptToBeLookedAtIsGivenToNobody(t *testing.T) {
	t.Parallel()
	s := given(t, admission.Opened{Capacity: 1}, admission.Admitted{Lease: id(1), Slot: 1}).
		When(admission.Rest{Lease: id(1)}).Then(admission.Idled{Lease: id(1)})
	s.When(admission.Enter{Lease: id(2)}).Then(admission.Waiting{Lease: id(2)}, admission.Evicted{Lease: id(1)})
}

func TestNobodyTakesAKeptRuntimeBeforeThoseWhoWait(t *testing.T) {
	t.Parallel()
	s := given(t, admission.Opened{Capacity: 2}, admission.Admitted{Lease: id(1), Slot: 1}, admission.Admitted{Lease: id(2), Slot: 2},
		admission.Idled{Lease: id(1), Scope: "one"}, admission.Idled{Lease: id(2), Scope: scope},
		admission.Waiting{Lease: id(3)}, admission.Evicted{Lease: id(1)})
	s.When(admission.Enter{Lease: id(4), Scope: scope}).
		Then(admission.Waiting{Lease: id(4), Scope: scope}, admission.Evicted{Lease: id(2)})
}

func TestWhenATeardownStallsAnotherKeptRuntimeMakesRoom(t *testing.T) {
	t.Parallel()
	s := given(t, admission.Opened{Capacity: 2}, admission.Admitted{Lease: id(1), Slot: 1}, admission.Admitted{Lease: id(2), Slot: 2},
		admission.Idled{Lease: id(1), Scope: "one"}, admission.Idled{Lease: id(2), Scope: "two"}).
		When(admission.Enter{Lease: id(3)}).Then(admission.Waiting{Lease: id(3)}, admission.Evicted{Lease: id(1)})
	s.When(admission.Stall{Lease: id(2)}).Nothing()
	s = s.When(admission.Stall{Lease: id(1)}).Then(admission.Stalled{Lease: id(1)}, admission.Evicted{Lease: id(2)})
	s.When(admission.Stall{Lease: id(1)}).Nothing()
	s.When(admission.Leave{Lease: id(2)}).Then(admission.Freed{Lease: id(2), Slot: 2}, admission.Admitted{Lease: id(3), Slot: 2, Rule: admission.RuleOnly})
}

func TestAnUnusedRuntimeIsHandedBack(t *testing.T) {
	t.Parallel()
	s := resting(t).When(admission.Enter{Lease: id(3), Scope: scope}).
		Then(admission.Admitted{Lease: id(3), Slot: 1, Rule: admission.RuleKept, From: id(1)})
	back := s.When(admission.HandBack{Lease: id(3), To: id(1), Scope: scope}).
		Then(admission.HandedBack{Lease: id(3), To: id(1), Slot: 1, Scope: scope})
	require.Equal(t, []domain.LeaseID{id(1)}, back.State().Idle())
	require.Equal(t, map[domain.LeaseID]int{id(1): 1, id(2): 2}, back.State().Holders)
	back.When(admission.HandBack{Lease: id(3), To: id(1), Scope: scope}).Nothing()
	s.When(admission.Enter{Lease: id(4)}).Then(admission.Waiting{Lease: id(4)}).
		When(admission.HandBack{Lease: id(3), To: id(1), Scope: scope}).
		Then(admission.HandedBack{Lease: id(3), To: id(1), Slot: 1, Scope: scope}, admission.Evicted{Lease: id(1)})
}

func TestAKeptRuntimeThatGoesByItselfIsGivenToNobody(t *testing.T) {
	t.Parallel()
	s := resting(t).When(admission.Evict{Lease: id(1)}).Then(admission.Evicted{Lease: id(1)})
	s.When(admission.Evict{Lease: id(1)}).Nothing()
	s.When(admission.Enter{Lease: id(3), Scope: scope}).Then(admission.Waiting{Lease: id(3), Scope: scope})
	resting(t).When(admission.Evict{Lease: id(2)}).Nothing()
}
