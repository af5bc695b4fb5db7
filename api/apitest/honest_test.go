package apitest_test

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/api"
	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/commands"
	"github.com/tenure-dev/tenure/eventstore/vault"
)

// A server that loses the log between doing a command and answering it does not say that nothing was done.
func TestACommandThatWasDoneIsNeverSaidNotToHaveBeen(t *testing.T) {
	t.Parallel()
	var away *leaves
	s := start(t, func(d *api.Deps) {
		away = &leaves{Store: d.Commands.Ledger().Store()}
		away.ledger = eventstore.NewLedger(away)
		d.Commands = commands.New(away.ledger, vault.InMemory())
	})
	tn := s.tenant("acme")
	once, err := client.New(s.url, tn.key, client.WithoutRetries())
	require.NoError(t, err)
	t.Cleanup(once.CloseIdleConnections)
	tn.client = once
	again := client.IdempotencyKey(uuid.NewString())
	away.after.Store("LeaseRequested")
	_, _, err = tn.client.AcquireLease(t.Context(), tn.company, tn.ask("slow"), again)
	require.True(t, client.IsCode(err, "outcome_unknown"), "%v", err)
	away.gone.Store(false)
	_, _, err = tn.client.AcquireLease(t.Context(), tn.company, tn.ask("slow"), again)
	require.True(t, client.IsCode(err, "outcome_unknown"), "it was done before: %v", err)
	away.gone.Store(false)
	away.after.Store("")
	repeated, _, err := tn.client.AcquireLease(t.Context(), tn.company, tn.ask("slow"), again)
	require.NoError(t, err)

	away.after.Store("LeaseCanceled")
	_, err = tn.client.CancelLease(t.Context(), repeated.Lease.ID, wire.Cancel{})
	require.True(t, client.IsCode(err, "outcome_unknown"), "%v", err)
	_, err = tn.client.CancelLease(t.Context(), repeated.Lease.ID, wire.Cancel{})
	require.True(t, client.IsCode(err, "unavailable"), "this one did nothing: %v", err)
	away.gone.Store(false)
	canceled, err := tn.client.CancelLease(t.Context(), repeated.Lease.ID, wire.Cancel{})
	require.NoError(t, err)
	require.Equal(t, wire.LeaseCanceled, canceled.Status)

	away.after.Store("LeaseRequested")
	_, _, err = tn.client.AcquireLease(t.Context(), tn.company, tn.ask("slow"))
	require.True(t, client.IsCode(err, "outcome_unknown"), "%v", err)
	away.gone.Store(false)
	away.after.Store("LeaseCanceled")
	_, err = tn.client.ReleaseRun(t.Context(), tn.company, "slow", wire.Release{})
	require.True(t, client.IsCode(err, "outcome_unknown"), "%v", err)
}

// leaves is a log that is away after a certain event, of which somebody else has just appended the next.
type leaves struct {
	eventstore.Store
	ledger *eventstore.Ledger
	after  atomic.Value
	gone   atomic.Bool
}

func (l *leaves) Submit(a eventstore.Append) eventstore.Pending {
	return left{l.Store.Submit(a), l, a}
}

func (l *leaves) ReadStream(ctx context.Context, stream eventstore.Stream, after int64, limit int) ([]eventstore.Recorded, error) {
	if l.gone.Load() {
		return nil, fmt.Errorf("%w: the cable is cut", eventstore.ErrUnavailable)
	}
	return l.Store.ReadStream(ctx, stream, after, limit)
}

type left struct {
	eventstore.Pending
	log *leaves
	a   eventstore.Append
}

func (p left) Wait(ctx context.Context) (eventstore.Result, error) {
	r, err := p.Pending.Wait(ctx)
	i := slices.IndexFunc(p.a.Events, func(e eventstore.NewEvent) bool { return e.Name == p.log.after.Load() })
	if err == nil && i >= 0 {
		p.log.gone.Store(true)
		p.log.ledger.Saw(p.a.Events[i].Stream, 1<<30)
	}
	return r, err
}
