package epoch_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/epoch"
)

func fold(events ...epoch.Event) epoch.State {
	s := epoch.Decider.Initial()
	for i, e := range events {
		s = epoch.Evolve(s, e, domain.Meta{Position: int64(100 + i), Version: int64(i + 1)})
	}
	return s
}

// The one who remembers most says what is lost, whoever came first.
func TestOfSeveralWhoFindAForkTheOneWhoRemembersMostCounts(t *testing.T) {
	t.Parallel()
	first := epoch.Forked{Findings: []epoch.Finding{epoch.FindingTimeline}, FromEpoch: 1, Head: 99}
	second := epoch.Forked{Findings: []epoch.Finding{epoch.FindingLost}, FromEpoch: 2, Head: 100, Kept: 99, Remembered: &epoch.Mark{Epoch: 1, Position: 105, Hash: "aa"}}
	s := fold(first, second)
	require.True(t, s.Forked)
	require.Len(t, s.Forks, 2)
	require.EqualValues(t, 100, s.ForkedAt)
	require.EqualValues(t, 6, s.LostAtMost)
	require.EqualValues(t, 105, s.LostTo)
	require.False(t, first.Lost())
	require.True(t, second.Lost())
}

func TestALogThatWasAdoptedIsInForceUntilTheNextFork(t *testing.T) {
	t.Parallel()
	lost := epoch.Forked{Findings: []epoch.Finding{epoch.FindingLost}, Kept: 3, Remembered: &epoch.Mark{Epoch: 1, Position: 9}}
	s := fold(lost, epoch.Adopted{Reason: "failover", LostAtMost: 6})
	require.False(t, s.Forked)
	require.Equal(t, "failover", s.Adopted.Reason)
	s = fold(lost, epoch.Adopted{}, epoch.Forked{Findings: []epoch.Finding{epoch.FindingTimeline}})
	require.True(t, s.Forked)
	require.Zero(t, s.LostAtMost, "what was lost before the adoption is settled")
	require.Nil(t, s.Adopted)
}

func TestForksAreOnlyRecorded(t *testing.T) {
	t.Parallel()
	_, err := epoch.Decider.Decide(epoch.State{}, nil)
	r, ok := err.(*domain.Refusal) //nolint:errorlint // that it is bare is part of what is asked
	require.True(t, ok)
	require.Equal(t, "unknown_command", r.Code)
}
