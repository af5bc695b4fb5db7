package apptest_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/cmd/internal/apptest"
	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/commands"
	"github.com/tenure-dev/tenure/migrations/pgtest"
)

// tally is what became of requests for one slot.
type tally struct {
	mu                                    sync.Mutex
	granted, refused, timedOut, queueFull int
}

func (y *tally) count(n *int) {
	y.mu.Lock()
	defer y.mu.Unlock()
	*n++
}

// Case A16 with two engines on one database, and up to 50 ms between what an engine reads and what it appends: fifty at once
// want one slot. Some wait, some wait only so long, some not at all. Each has the slot for itself or a clear answer; no conflict
// and no deadlock reaches anybody; and by the log nobody ever shared the slot.
func TestOneSlotNeverHasTwoHoldersHoweverLongAnAppendTakes(t *testing.T) {
	t.Parallel()
	const clients = 50
	url := pgtest.URL(t)
	slow := apptest.WithDelay(t, "append.before", 50*time.Millisecond)
	way := func(e *apptest.Engine) { slow(e); apptest.WithEnv("TENURE_DATABASE_URL=" + url)(e) }
	p := startPairOn(t, url, [2]apptest.Option{way, way})
	places := 30
	tenant := p.engines[0].Tenant(wire.AddEnvironment{MaxLeases: 1, MaxQueued: &places})
	var sum tally
	var group sync.WaitGroup
	for n := range clients {
		c, other := p.clients[n%2], p.clients[(n+1)%2]
		in := wire.AcquireLease{EnvironmentID: tenant.Environment.ID, HeartbeatRunID: uuid.NewString(), AgentID: uuid.NewString()}
		switch n % 5 {
		case 0:
			in.NoWait = true
		case 1, 2:
			in.QueueTimeout = "1500ms"
		case 3:
			in.Priority = "high"
		}
		group.Go(func() { p.useSlot(c, other, tenant, in, &sum) })
	}
	group.Wait()
	t.Logf("granted %d, refused %d at once and %d for a full queue, timed out %d", sum.granted, sum.refused, sum.queueFull, sum.timedOut)
	require.Equal(t, clients, sum.granted+sum.refused+sum.timedOut+sum.queueFull)
	require.GreaterOrEqual(t, sum.granted, clients/5, "those of high priority wait without limit")
	p.oneHolderByTheLog(tenant)
	for _, e := range p.engines {
		for _, bad := range []string{"deadlock", "panic"} {
			assert.NotContains(t, e.Log(), bad)
		}
	}
}

// useSlot asks for the slot, and gives it back through the other engine.
func (p *pair) useSlot(c, other *client.Client, tenant apptest.Tenant, in wire.AcquireLease, sum *tally) {
	got, _, err := c.AcquireLease(context.Background(), tenant.Company.ID, in, client.Wait(60*time.Second))
	lease := got.Lease
	for err == nil && (lease.Status == wire.LeaseQueued || lease.Status == wire.LeaseProvisioning) {
		lease, err = c.Lease(context.Background(), lease.ID, client.Wait(30*time.Second))
	}
	problem, refused := errors.AsType[*client.Problem](err)
	switch {
	case refused && problem.Code == "no_capacity_now":
		assert.True(p.t, in.NoWait)
		assert.Equal(p.t, http.StatusTooManyRequests, problem.Status)
		assert.Positive(p.t, problem.RetryAfter)
		sum.count(&sum.refused)
		return
	case refused && problem.Code == "queue_full":
		assert.Equal(p.t, http.StatusTooManyRequests, problem.Status)
		sum.count(&sum.queueFull)
		return
	case refused && problem.Code == "lease_failed" && problem.Lease != nil:
		assert.Contains(p.t, *problem.Lease.FailureReason, "queue_timeout")
		assert.NotEmpty(p.t, in.QueueTimeout)
		sum.count(&sum.timedOut)
		return
	case err == nil && lease.Status == wire.LeaseFailed:
		assert.Contains(p.t, *lease.FailureReason, "queue_timeout")
		sum.count(&sum.timedOut)
		return
	}
	if assert.NoError(p.t, err) && assert.Equal(p.t, wire.LeaseActive, lease.Status) {
		sum.count(&sum.granted)
		assert.Equal(p.t, wire.LeaseReleased, p.ended(other, lease.ID).Status)
	}
}

// oneHolderByTheLog folds the admission of the tenant's environment and looks at every version of it.
func (p *pair) oneHolderByTheLog(tenant apptest.Tenant) {
	p.t.Helper()
	type row struct {
		Name    string
		Payload []byte
	}
	rows, err := p.pool.Query(p.t.Context(), `SELECT name, payload FROM events WHERE stream = 'admission-' || $1::text ORDER BY version`, tenant.Environment.ID)
	require.NoError(p.t, err)
	events, err := pgx.CollectRows(rows, pgx.RowToStructByPos[row])
	require.NoError(p.t, err)
	state := commands.Admissions.Decider.Initial()
	waited := map[domain.LeaseID]bool{}
	for i, e := range events {
		state, err = commands.Admissions.Fold(state, []eventstore.Recorded{{Name: e.Name, Revision: 1, Payload: e.Payload}})
		require.NoError(p.t, err)
		require.LessOrEqual(p.t, len(state.Holders), 1, "at version %d", i+1)
		for _, id := range state.Queue() {
			waited[id] = true
		}
	}
	require.Empty(p.t, state.Holders, "all is given back")
	require.Zero(p.t, state.Queued(), "and nobody is left waiting")
	require.NotEmpty(p.t, waited)
}

// A lease that waits in the queue gives up when its time is over, by the sweep, and its place is free in the same append.
func TestTheSweepEndsLeasesThatWaitedTooLong(t *testing.T) {
	t.Parallel()
	e := apptest.Start(t, apptest.OnServer(t))
	tenant := e.Tenant(wire.AddEnvironment{MaxLeases: 1})
	holder := e.Acquire(tenant, wire.AcquireLease{})
	ask := func(timeout string) wire.Lease {
		got, _, err := e.Client.AcquireLease(t.Context(), tenant.Company.ID,
			wire.AcquireLease{EnvironmentID: tenant.Environment.ID, HeartbeatRunID: uuid.NewString(), QueueTimeout: timeout})
		require.NoError(t, err)
		require.Equal(t, wire.LeaseQueued, got.Lease.Status)
		return got.Lease
	}
	hasty, patient := ask("1s"), ask("10m")
	got, err := e.Client.Lease(t.Context(), hasty.ID, client.Wait(30*time.Second))
	require.NoError(t, err)
	require.Equal(t, wire.LeaseFailed, got.Status)
	require.Contains(t, *got.FailureReason, "queue_timeout")
	require.False(t, got.ReleasedAt.Before(hasty.CreatedAt.Add(time.Second)), "not before its time")
	t.Logf("it gave up after %s", got.ReleasedAt.Sub(hasty.CreatedAt))
	events, err := e.Client.LeaseEvents(t.Context(), hasty.ID)
	require.NoError(t, err)
	var names []string
	for _, x := range events.Items {
		names = append(names, x.Name)
	}
	require.Equal(t, "LeaseRequested LeaseFailed", strings.Join(names, " "))
	q, err := e.Client.Queue(t.Context(), tenant.Environment.ID)
	require.NoError(t, err)
	require.Len(t, q.Items, 1)
	require.Equal(t, patient.ID, q.Items[0].LeaseID)
	_, err = e.Client.ReleaseLease(t.Context(), holder.Lease.ID, wire.Release{}, client.Wait(30*time.Second))
	require.NoError(t, err)
	got, err = e.Client.Lease(t.Context(), patient.ID, client.Wait(30*time.Second))
	require.NoError(t, err)
	require.Equal(t, wire.LeaseActive, got.Status)
}
