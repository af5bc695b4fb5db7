package check_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/cmd/internal/check"
)

func TestAHistoryInWhichNothingIsWrongPasses(t *testing.T) {
	t.Parallel()
	w := newWhole(t)
	found := check.Check(w.History)
	for _, v := range found.Violations {
		t.Error(v)
	}
	for _, r := range check.Rules() {
		require.Positive(t, found.Looked[r], "rule %s had nothing to look at", r)
	}
	require.Equal(t, 7, found.Finished)
}
