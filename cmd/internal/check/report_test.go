package check_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/cmd/internal/check"
)

func TestTheReportSaysWhatWasFoundAndHowMuchWasLookedAt(t *testing.T) {
	t.Parallel()
	w := newWhole(t)
	var r check.Report
	r.Fill(w.History, check.Check(w.History))
	require.False(t, r.Failed())
	require.Equal(t, 1, r.Forks)
	require.Equal(t, check.Calls{Sent: len(w.Calls), Acknowledged: len(w.Calls) - 2, Unavailable: 1, Unanswered: 1, Replayed: 1}, r.Calls)

	raw, err := json.Marshal(r)
	require.NoError(t, err)
	var said map[string]json.RawMessage
	require.NoError(t, json.Unmarshal(raw, &said))
	require.Equal(t, "7", string(said["finishedLeases"]))
	require.Equal(t, "[]", string(said["violations"]), "a list, also when nothing is wrong")
	var looked map[check.Rule]int
	require.NoError(t, json.Unmarshal(said["looked"], &looked))
	require.Len(t, looked, len(check.Rules()))

	w.Calls[0].Answer.Fence++
	r.Fill(w.History, check.Check(w.History))
	require.True(t, r.Failed())
	require.True(t, (&check.Report{Errors: []string{"no database"}}).Failed(), "a run that went wrong proves nothing")
}
