package check_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/cmd/internal/check"
	"github.com/tenure-dev/tenure/domain/lease"
)

// A long run in two slots: 10,000 leases and 200,000 events, with the read models and as many calls as it takes.
func BenchmarkCheckOfALongRun(b *testing.B) {
	h := longRun(b, 10_000)
	b.Logf("%d events, %d calls, %d lines of the ledger", len(h.Log), len(h.Calls), len(h.Ledgers[0].Entries))
	for b.Loop() {
		require.Empty(b, check.Check(h).Violations)
	}
}

func TestALongerHistoryPasses(t *testing.T) {
	t.Parallel()
	found := check.Check(longRun(t, 200))
	require.Empty(t, found.Violations)
	require.Equal(t, 200, found.Finished)
}

func longRun(t testing.TB, leases int) check.History {
	t.Helper()
	s := newStory(t)
	for n := range leases {
		h := s.acquire(lease.PolicyEphemeral, 1)
		s.exec(h, n%3)
		s.renew(h)
		s.release(h, "")
		s.startTeardown(h, 1)
		s.destroy(h, lease.Released{}, nil)
	}
	return s.end()
}
