package admission_test

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/admission"
)

func limit(n int) *int { return &n }

func TestAFullQueueTakesNobodyMore(t *testing.T) {
	t.Parallel()
	s := given(t, admission.Opened{Capacity: 1, MaxQueued: limit(1)}, admission.Admitted{Lease: id(1), Slot: 1}, admission.Waiting{Lease: id(2)})
	r := s.When(admission.Enter{Lease: id(3)}).Refused(domain.KindBusy, "queue_full", "")
	require.NotEmpty(t, r.Remediation)
	s.When(admission.Enter{Lease: id(2)}).Nothing()
	s.When(admission.Leave{Lease: id(2)}).Then(admission.Left{Lease: id(2)}).
		When(admission.Enter{Lease: id(3)}).Then(admission.Waiting{Lease: id(3)})
	// A lower limit puts nobody out.
	lowered := s.When(admission.ChangeCapacity{Capacity: 1, MaxQueued: limit(0)}).Then(admission.CapacityChanged{Capacity: 1, MaxQueued: limit(0)})
	require.Equal(t, []domain.LeaseID{id(2)}, lowered.State().Queue())
	lowered.When(admission.Leave{Lease: id(1)}).
		Then(admission.Freed{Lease: id(1), Slot: 1}, admission.Admitted{Lease: id(2), Slot: 1, Rule: admission.RuleOnly})
}

func TestWithAQueueOfNoneNobodyWaits(t *testing.T) {
	t.Parallel()
	given(t, admission.Opened{Capacity: 1, MaxQueued: limit(0)}).
		When(admission.Enter{Lease: id(1)}).Then(admission.Admitted{Lease: id(1), Slot: 1, Rule: admission.RuleFree}).
		When(admission.Enter{Lease: id(2)}).Refused(domain.KindBusy, "queue_full", "")
}

func TestAQueueThatDoesNotSayHasAThousandPlaces(t *testing.T) {
	t.Parallel()
	opened := given(t, admission.Opened{Capacity: 1})
	require.Equal(t, 1000, opened.State().MaxQueued)
	opened.When(admission.ChangeCapacity{Capacity: 1, MaxQueued: limit(1000)}).Nothing()
	changed := opened.When(admission.ChangeCapacity{Capacity: 1, MaxQueued: limit(5)}).Then(admission.CapacityChanged{Capacity: 1, MaxQueued: limit(5)})
	require.Equal(t, 5, changed.State().MaxQueued)
	for _, n := range []int{-1, admission.LimitMaxQueued + 1} {
		opened.When(admission.ChangeCapacity{Capacity: 1, MaxQueued: limit(n)}).Refused(domain.KindInvalid, "invalid_queue_limit", "maxQueued")
	}
}

func TestWhoDoesNotWaitIsAdmittedAtOnceOrRefused(t *testing.T) {
	t.Parallel()
	s := given(t, admission.Opened{Capacity: 1}).
		When(admission.Enter{Lease: id(1), NoWait: true}).Then(admission.Admitted{Lease: id(1), Slot: 1, Rule: admission.RuleFree})
	s.When(admission.Enter{Lease: id(2), NoWait: true}).Refused(domain.KindBusy, "no_capacity_now", "")
	s.When(admission.Enter{Lease: id(2)}).Then(admission.Waiting{Lease: id(2)})
}

func TestAWrongStandingIsRefused(t *testing.T) {
	t.Parallel()
	s := given(t, admission.Opened{})
	s.When(admission.Enter{Lease: id(1), Standing: admission.Standing{Class: "x"}}).Refused(domain.KindInvalid, "unknown_priority", "priority")
	s.When(admission.Enter{Lease: id(1), Standing: admission.Standing{Weight: 101}}).Refused(domain.KindInvalid, "invalid_weight", "weight")
}

// Every constraint that fails is named, and those that waiting mends do not refuse.
func TestAllThatCanNeverBeMetIsSaidAtOnce(t *testing.T) {
	t.Parallel()
	off := domain.Refuse(domain.KindConflict, "plugin_disabled", "the plugin is disabled").Mend("enable it")
	full := given(t, admission.Opened{Capacity: 1, MaxQueued: limit(0)}, admission.Admitted{Lease: id(1), Slot: 1}).State()
	err := admission.Unsatisfiable(append(
		admission.Lasting(admission.Facts{Environment: "archived", Provider: "fake", Unavailable: off}), admission.Passing(full, id(2))...))
	r, ok := errors.AsType[*domain.Refusal](err)
	require.True(t, ok)
	require.Equal(t, "unsatisfiable", r.Code)
	require.Equal(t, "the request can never be met: the environment is archived; the plugin is disabled", r.Message)
	require.Equal(t, "lease another environment; enable it", r.Remediation)
	require.Len(t, r.Constraints, 2)

	fine := admission.Lasting(admission.Facts{Environment: "active", EnvironmentActive: true, Provider: "fake"})
	require.NoError(t, admission.Unsatisfiable(append(fine, admission.Passing(full, id(2))...)))
}

// The wait to expect is what the last slots took that were freed while somebody waited.
func TestTheWaitToExpectIsOfTheLogsOwnHistory(t *testing.T) {
	t.Parallel()
	noon := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	s := admission.Decider.Initial()
	at := func(d time.Duration, e admission.Event) { s = admission.Evolve(s, e, domain.Meta{At: noon.Add(d)}) }
	at(0, admission.Opened{Capacity: 1})
	at(0, admission.Admitted{Lease: id(1), Slot: 1})
	require.Equal(t, admission.Wait{}, s.WaitFor(1, noon), "nothing is known yet")
	at(time.Hour, admission.Waiting{Lease: id(2)})
	at(time.Hour, admission.Waiting{Lease: id(3)})
	at(time.Hour+time.Minute, admission.Freed{Lease: id(1), Slot: 1})
	at(time.Hour+time.Minute, admission.Admitted{Lease: id(2), Slot: 1})
	at(time.Hour+4*time.Minute, admission.Freed{Lease: id(2), Slot: 1})
	at(time.Hour+4*time.Minute, admission.Admitted{Lease: id(3), Slot: 1})
	at(time.Hour+4*time.Minute, admission.Waiting{Lease: id(4)})
	now := noon.Add(time.Hour + 5*time.Minute)
	require.Equal(t, admission.Wait{Known: true, Samples: 2, For: time.Minute}, s.WaitFor(1, now), "two minutes on average, and one has passed")
	require.Equal(t, admission.Wait{Known: true, Samples: 2, For: 5 * time.Minute}, s.WaitFor(3, now))
	require.Equal(t, time.Duration(0), s.WaitFor(1, now.Add(time.Hour)).For)
}

// A policy that keeps runtimes asks for a provider that can. What is not known refuses nobody, and says so.
func TestAPolicyThatTheProviderCannotKeepIsNeverMet(t *testing.T) {
	t.Parallel()
	able := admission.Facts{Environment: "active", EnvironmentActive: true, Provider: "box", Policy: "reuse_by_environment", Keeping: admission.KeepingAble}
	lasting := admission.Lasting(able)
	require.Len(t, lasting, 3)
	require.NoError(t, admission.Unsatisfiable(lasting))

	unknown := able
	unknown.Keeping = admission.KeepingUnknown
	lasting = admission.Lasting(unknown)
	require.NoError(t, admission.Unsatisfiable(lasting))
	require.True(t, lasting[2].OK && lasting[2].Unknown)
	require.Contains(t, lasting[2].Detail, "no process that has it lives now")

	unable := able
	unable.Keeping = admission.KeepingUnable
	r, ok := errors.AsType[*domain.Refusal](admission.Unsatisfiable(admission.Lasting(unable)))
	require.True(t, ok)
	require.Equal(t, []string{"unsatisfiable", "leasePolicy"}, []string{r.Code, r.Field})
	require.Len(t, r.Constraints, 1)
	require.Equal(t, admission.ConstraintPolicy, r.Constraints[0].Name)
	require.Equal(t, "box cannot keep a runtime after its lease, as reuse_by_environment asks for", r.Constraints[0].Detail)
	require.NotEmpty(t, r.Remediation)

	unable.EnvironmentActive, unable.Environment = false, "archived"
	r, ok = errors.AsType[*domain.Refusal](admission.Unsatisfiable(admission.Lasting(unable)))
	require.True(t, ok)
	require.Equal(t, "environmentId", r.Field)
	require.Len(t, r.Constraints, 2)
}
