package apitest_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/access"
	"github.com/tenure-dev/tenure/domain/leak"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/domain/runtime"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/commands"
)

// stuck is a lease whose teardown failed as often as it may.
func (s *server) stuck(tn tenant, run string) wire.Lease {
	s.t.Helper()
	l := s.lease(tn, "sticky "+run)
	_, err := tn.client.ReleaseLease(s.t.Context(), l.ID, wire.Release{})
	require.NoError(s.t, err)
	id, worker := domain.LeaseID{UUID: l.ID}, domain.WorkerID{UUID: uuid.New()}
	soon := s.commands.Ledger().Now().Add(time.Hour)
	_, _, err = s.commands.ClaimRelease(s.t.Context(), commands.Caller{}, id, lease.StartRelease{Worker: worker, Deadline: soon}, commands.Need{})
	require.NoError(s.t, err)
	_, err = s.commands.FailRelease(s.t.Context(), commands.Caller{}, id, lease.FailRelease{
		Attempt: 1, Worker: worker, Code: "busy", Message: "still in use", RetryAt: soon, Limit: 1,
	})
	require.NoError(s.t, err)
	l, err = tn.client.Lease(s.t.Context(), l.ID)
	require.NoError(s.t, err)
	return l
}

// unknownLeak is one that is nobody's, as far as is known.
func (s *server) unknownLeak() domain.LeakID {
	s.t.Helper()
	id := domain.RuntimeID{UUID: uuid.New()}
	_, err := s.commands.ListLeak(s.t.Context(), commands.Caller{}, commands.Sighting{
		Driver: "docker", Provider: "docker", RuntimeID: id.String(), FirstSeen: s.commands.Ledger().Now(),
	})
	require.NoError(s.t, err)
	return leak.OfRuntime(id)
}

func (s *server) leaks(c *client.Client, f client.LeakFilter) []wire.Leak {
	s.t.Helper()
	list, err := c.Leaks(s.t.Context(), f, client.MinPosition(s.head()))
	require.NoError(s.t, err)
	return list.Items
}

func TestALeaseInQuarantineSaysSoAndStandsOnTheListOfLeaks(t *testing.T) {
	t.Parallel()
	s := start(t)
	tn := s.tenant("acme")
	l := s.stuck(tn, "a")
	require.Equal(t, wire.LeasePendingCleanup, l.Status)
	require.Equal(t, "failed", *l.CleanupStatus)
	require.Equal(t, 1, l.Cleanup.Attempts)
	require.True(t, l.Cleanup.Quarantined)
	require.NotNil(t, l.Cleanup.NextTryAt)
	require.Equal(t, "busy: still in use", *l.Cleanup.LastError)

	list := s.leaks(tn.auditor, client.LeakFilter{})
	require.Len(t, list, 1)
	require.Equal(t, "quarantined", list[0].Why)
	require.Equal(t, l.ID, *list[0].LeaseID)
	require.Equal(t, tn.company, *list[0].CompanyID)
	require.Equal(t, wire.LeakOpen, list[0].Status)
	_, err := tn.operator.ClearLeak(t.Context(), list[0].ID, wire.ClearLeak{Reason: "removed"})
	require.True(t, client.IsCode(err, "lease_not_over"), "%v", err)

	b := s.balance()
	require.Equal(t, wire.Balance{Created: 1, InWork: 1, LostRuntimes: []wire.LostRuntime{}}, b)
}

func (s *server) balance() wire.Balance {
	s.t.Helper()
	require.NoError(s.t, s.models.Wait(s.t.Context(), s.head()))
	b, err := s.admin.Balance(s.t.Context())
	require.NoError(s.t, err)
	require.Equal(s.t, b.Created, b.Held+b.InWork+b.Listed+b.Destroyed+b.Lost)
	return b
}

func TestACleanupIsRetriedAndForcedByHand(t *testing.T) {
	t.Parallel()
	s := start(t)
	tn := s.tenant("acme")
	l := s.stuck(tn, "a")
	retried, err := tn.operator.RetryCleanup(t.Context(), l.ID)
	require.NoError(t, err)
	require.Equal(t, "pending", *retried.CleanupStatus)
	require.False(t, retried.Cleanup.Quarantined)
	require.Nil(t, retried.Cleanup.NextTryAt)
	_, err = tn.client.RetryCleanup(t.Context(), l.ID)
	require.True(t, client.IsCode(err, "forbidden"), "%v", err)

	_, err = tn.operator.ForceCleanup(t.Context(), l.ID, wire.ForceCleanup{})
	require.True(t, client.IsCode(err, "missing_field"), "%v", err)
	forced, err := tn.operator.ForceCleanup(t.Context(), l.ID, wire.ForceCleanup{Reason: "the machine is gone"})
	require.NoError(t, err)
	require.Equal(t, wire.LeaseReleased, forced.Status)
	require.Equal(t, "failed", *forced.CleanupStatus)
	require.True(t, forced.Cleanup.Forced)
	again, err := tn.operator.ForceCleanup(t.Context(), l.ID, wire.ForceCleanup{Reason: "the machine is gone"})
	require.NoError(t, err)
	require.Equal(t, forced.Version, again.Version)
	require.Equal(t, wire.Balance{Created: 1, Listed: 1, LostRuntimes: []wire.LostRuntime{}}, s.balance())

	open := s.leaks(tn.operator, client.LeakFilter{})
	require.Len(t, open, 1)
	_, err = tn.operator.ClearLeak(t.Context(), open[0].ID, wire.ClearLeak{})
	require.True(t, client.IsCode(err, "missing_field"), "%v", err)
	cleared, err := tn.operator.ClearLeak(t.Context(), open[0].ID, wire.ClearLeak{Reason: "scrapped"})
	require.NoError(t, err)
	require.Equal(t, "person", *cleared.Proof)
	require.Equal(t, "scrapped", *cleared.Reason)
	require.Empty(t, s.leaks(tn.operator, client.LeakFilter{}))
	require.Len(t, s.leaks(tn.operator, client.LeakFilter{Status: "cleared"}), 1)
	require.Equal(t, wire.Balance{Created: 1, Destroyed: 1, LostRuntimes: []wire.LostRuntime{}}, s.balance())

	active := s.lease(tn, "fine")
	_, err = tn.operator.ForceCleanup(t.Context(), active.ID, wire.ForceCleanup{Reason: "r"})
	require.True(t, client.IsCode(err, "not_stuck"), "%v", err)
	_, err = tn.operator.RetryCleanup(t.Context(), active.ID)
	require.True(t, client.IsCode(err, "nothing_to_clean"), "%v", err)
}

func TestALeakIsShownToItsCompanyAndOneOfNobodyToOperatorsOfAll(t *testing.T) {
	t.Parallel()
	s := start(t)
	owner, stranger := s.tenant("owner"), s.tenant("stranger")
	s.stuck(owner, "a")
	unknown := s.unknownLeak()
	require.Len(t, s.leaks(owner.auditor, client.LeakFilter{}), 1)
	require.Empty(t, s.leaks(stranger.operator, client.LeakFilter{}))
	require.Len(t, s.leaks(s.client(s.addKey(access.RoleOperator, uuid.Nil)), client.LeakFilter{}), 2)
	require.Len(t, s.leaks(s.admin, client.LeakFilter{Provider: "docker"}), 1)
	_, err := owner.client.Leaks(t.Context(), client.LeakFilter{})
	require.True(t, client.IsCode(err, "forbidden"), "%v", err)
	_, err = s.admin.Leaks(t.Context(), client.LeakFilter{Status: "odd"})
	require.True(t, client.IsCode(err, "invalid_parameter"), "%v", err)

	_, err = owner.admin.ClearLeak(t.Context(), unknown.UUID, wire.ClearLeak{Reason: "r"})
	require.True(t, client.IsCode(err, "leak_not_found"), "%v", err)
	cleared, err := s.admin.ClearLeak(t.Context(), unknown.UUID, wire.ClearLeak{Reason: "not ours"})
	require.NoError(t, err)
	require.Nil(t, cleared.CompanyID)
	require.Equal(t, wire.LeakCleared, cleared.Status)
}

func TestTheBalanceNamesARuntimeThatNobodyLooksAfter(t *testing.T) {
	t.Parallel()
	s := start(t)
	tn := s.tenant("acme")
	s.lease(tn, "held")
	require.Equal(t, wire.Balance{Created: 1, Held: 1, LostRuntimes: []wire.LostRuntime{}}, s.balance())
	// What no command of the engine's does: a runtime of a lease that is over.
	over := s.lease(tn, "over")
	_, err := tn.client.ReleaseLease(t.Context(), over.ID, wire.Release{}, client.Wait(time.Minute))
	require.NoError(t, err)
	lost := domain.RuntimeID{UUID: uuid.New()}
	_, err = eventstore.Execute(t.Context(), s.commands.Ledger(), eventstore.Options{}, func(ctx context.Context, w *eventstore.Work) error {
		_, err := eventstore.Act(ctx, w, commands.Runtimes, lost.UUID, runtime.Command(runtime.Intend{Intended: runtime.Intended{
			Company: domain.CompanyID{UUID: tn.company}, Lease: domain.LeaseID{UUID: over.ID}, Driver: "local", Provider: "local",
		}}))
		return err
	})
	require.NoError(t, err)
	b := s.balance()
	require.EqualValues(t, 1, b.Lost)
	require.Equal(t, lost.UUID, b.LostRuntimes[0].RuntimeID)
	require.Equal(t, over.ID, *b.LostRuntimes[0].LeaseID)
	require.EqualValues(t, 1, b.Held)
	require.EqualValues(t, 1, b.Destroyed)
	_, err = tn.operator.Balance(t.Context())
	require.True(t, client.IsCode(err, "company_key"), "%v", err)
}

func TestWhatCouldNotBeTakenDownIsInTheMetrics(t *testing.T) {
	t.Parallel()
	s := start(t)
	tn := s.tenant("acme")
	s.stuck(tn, "a")
	s.unknownLeak()
	_ = s.balance()
	_, body := s.raw(s.adminKey, "GET", "/metrics", "")
	for _, line := range []string{
		`tenure_leaks{provider="docker",why="unknown_runtime"} 1`, `tenure_leaks{provider="local",why="quarantined"} 1`,
		"tenure_pending_cleanup 1", "tenure_quarantined 1",
	} {
		require.Contains(t, string(body), line+"\n")
	}
}
