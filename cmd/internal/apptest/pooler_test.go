package apptest_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/cmd/internal/apptest"
	"github.com/tenure-dev/tenure/migrations/pgtest"
)

// Case A41, the pooler in between: two whole engines through PgBouncer in transaction mode with four sessions, one of them
// with a direct URL, which it needs for nothing but to hear of the other at once.
func TestWholeEnginesWorkBehindAPoolerThatGivesEachTransactionAnotherSession(t *testing.T) {
	t.Parallel()
	pooled, direct := pgtest.NewPooler(t).Database(t)
	p := startPairOn(t, direct, [2]apptest.Option{
		apptest.WithEnv("TENURE_DATABASE_URL=" + pooled),
		apptest.WithEnv("TENURE_DATABASE_URL="+pooled, "TENURE_DATABASE_DIRECT_URL="+direct),
	})
	tenant := p.engines[0].Tenant(wire.AddEnvironment{})

	// Leases cycle and commands run, through both at once.
	held := p.engines[0].Acquire(tenant, wire.AcquireLease{}).Lease
	var users sync.WaitGroup
	for n := range 8 {
		users.Go(func() {
			for range 3 {
				useOnce(t, p.engines[n%2], tenant)
			}
		})
	}
	users.Wait()
	require.False(t, t.Failed())

	// Events that one appends come out of the stream of the other.
	released := make(chan struct{})
	follow, stop := context.WithCancel(t.Context())
	defer stop()
	var follower sync.WaitGroup
	follower.Go(func() {
		defer close(released)
		for e, err := range p.clients[1].FollowLeaseEvents(follow, held.ID, 0) {
			if !assert.NoError(t, err) || e.Name == "LeaseReleased" {
				return
			}
		}
	})
	require.Equal(t, wire.LeaseReleased, p.ended(p.clients[0], held.ID).Status)
	select {
	case <-released:
	case <-time.After(waitLong):
		require.Fail(t, "the stream does not bring the release")
	}
	stop()
	follower.Wait()

	p.rebuildOneAtATime(t)

	// One dies in the middle of it all, with a lease on it and a rebuild under way, and goes on where it was.
	survivor := p.leaseOnFirst(t, tenant)
	for _, err := range p.clients[0].FollowRebuild(t.Context(), "all") {
		require.NoError(t, err)
		break
	}
	p.engines[0].Kill()
	p.engines[0].Start()
	p.connect(0)
	x, out, _ := p.engines[0].Run(survivor.ID, wire.StartExec{Argv: []string{"echo", "still here"}})
	require.Equal(t, wire.EndExited, x.Result.End)
	require.Equal(t, "still here\n", string(out))
	require.Equal(t, wire.LeaseReleased, p.ended(p.clients[1], survivor.ID).Status)
	p.rebuildOneAtATime(t)
	require.Contains(t, p.engines[0].Log(), "--database-direct-url", "it says what would make it faster")
	require.NotContains(t, p.engines[1].Log(), "a pooler stands before the database")
	for _, e := range p.engines {
		require.Zero(t, workspaces(t, e))
		for _, bad := range []string{"deadlock", "panic", "DATA RACE", "prepared statement"} {
			require.NotContains(t, e.Log(), bad)
		}
	}
}

// leaseOnFirst is a lease whose workspace the first engine made: either may, and outputs are read where they are.
func (p *pair) leaseOnFirst(t *testing.T, tenant apptest.Tenant) wire.Lease {
	t.Helper()
	for {
		require.Zero(t, workspaces(t, p.engines[0]))
		l := p.engines[0].Acquire(tenant, wire.AcquireLease{}).Lease
		if workspaces(t, p.engines[0]) == 1 {
			return l
		}
		require.Equal(t, wire.LeaseReleased, p.ended(p.clients[0], l.ID).Status)
	}
}

// rebuildOneAtATime lets both engines rebuild at once. One waits a moment for the other and is refused if that takes longer
// (which package runner tests); each rebuild that began ends well.
func (p *pair) rebuildOneAtATime(t *testing.T) {
	t.Helper()
	refused := func(err error) bool {
		problem, ok := errors.AsType[*client.Problem](err)
		return ok && problem.Status == http.StatusConflict
	}
	for range 5 {
		asked := false
		for progress, err := range p.clients[0].FollowRebuild(t.Context(), "all") {
			if refused(err) {
				break // what the dead process had begun, or the other engine, is not over yet
			}
			require.NoError(t, err)
			require.NotEqual(t, wire.RebuildFailed, progress.State)
			if progress.State == wire.RebuildRunning && !asked {
				asked = true
				if _, err := p.clients[1].RebuildProjection(t.Context(), "all"); !refused(err) {
					require.NoError(t, err)
				}
			}
		}
	}
	require.Eventually(t, func() bool {
		list, err := p.clients[1].Projections(t.Context())
		if err != nil {
			return false
		}
		return !slices.ContainsFunc(list.Items, func(m wire.Projection) bool {
			return m.State != wire.ProjectionLive || m.Rebuild != nil && m.Rebuild.State != wire.RebuildDone
		})
	}, waitLong, 20*time.Millisecond, "those of the other engine end well too")
}
