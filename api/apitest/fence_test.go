package apitest_test

import (
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/api/wire"
)

// A fence keeps out who holds another lease than the one that a call is for: an older one of the same runtime, or the wrong one.
func TestOnlyTheHolderOfALeaseUsesIt(t *testing.T) {
	t.Parallel()
	s := start(t)
	tn := s.tenant("acme")
	l, other := s.lease(tn, "run"), s.lease(tn, "another")
	path := "/api/v1/leases/" + l.ID.String()
	calls := []struct {
		path, body string
		required   bool
	}{
		{"/execs", `{"argv":["print"]}`, true},
		{"/renew", "", true},
		{"/release", "", false},
		{"/cancel", "", false},
	}
	fences := []struct {
		fence  string
		status int
		code   string
	}{
		{strconv.FormatInt(other.Fence, 10), 412, "stale_fence"},
		{strconv.FormatInt(l.Fence-1, 10), 412, "stale_fence"},
		{strconv.FormatInt(l.Fence+1, 10), 412, "stale_fence"},
		{"0", 412, "stale_fence"},
		{"-1", 400, "invalid_parameter"},
		{"seven", 400, "invalid_parameter"},
		{"99999999999999999999", 400, "invalid_parameter"},
	}
	before := s.head()
	for _, call := range calls {
		for _, f := range fences {
			p := s.problem(tn.key, "POST", path+call.path, call.body, wire.HeaderFence, f.fence)
			require.Equal(t, f.status, p.Status, "%s %s", call.path, f.fence)
			require.Equal(t, f.code, p.Code, "%s %s", call.path, f.fence)
			require.Equal(t, wire.HeaderFence, p.Field)
			require.NotEmpty(t, p.Remediation)
		}
		if call.required {
			p := s.problem(tn.key, "POST", path+call.path, call.body)
			require.Equal(t, 428, p.Status, call.path)
			require.Equal(t, "fence_required", p.Code, call.path)
			require.Equal(t, wire.HeaderFence, p.Field)
		}
	}
	require.Equal(t, before, s.head(), "nothing half-made stays")

	_, err := tn.client.StartExec(t.Context(), l.ID, l.Fence, wire.StartExec{Argv: []string{"print"}})
	require.NoError(t, err)
	_, err = tn.client.RenewLease(t.Context(), l.ID, l.Fence)
	require.NoError(t, err)
	_, err = tn.client.ReleaseLease(t.Context(), l.ID, wire.Release{})
	require.NoError(t, err, "who gives a lease back need not hold it: an operator, a sweep of the client's own")
}
