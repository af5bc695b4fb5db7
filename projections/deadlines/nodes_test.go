package deadlines_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/domaintest"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/projections/deadlines"
	"github.com/tenure-dev/tenure/projections/projectionstest"
)

// What waits for a node is due for nobody else, and for that node until it is done.
func TestWhatWaitsForANodeIsThatNodesToDo(t *testing.T) {
	t.Parallel()
	pool, store := open(t)
	h := projectionstest.NewHistory(t)
	node, other := domaintest.Node, domaintest.ID[domain.NodeID](77)
	late := h.Now().Add(time.Hour).Truncate(time.Microsecond)
	waits, made := uuid.New(), uuid.New()
	for _, id := range []uuid.UUID{waits, made} {
		h.Lease(id, lease.Request{Requested: domaintest.LeaseRequested()})
		h.Lease(id, lease.Grant{Slot: 1})
		h.Lease(id, lease.StartProvisioning{Runtime: domaintest.Runtime, Worker: worker, Now: h.Now(), Deadline: late, Node: node})
	}
	h.Lease(waits, lease.Provision{Attempt: 1, Worker: worker, Acquisition: lease.AcquisitionCreated, Now: h.Now()})
	h.Lease(waits, lease.Release{Reason: lease.ReasonReleased})
	h.Lease(waits, lease.LoseNode{Node: node, Now: h.Now()})
	last := projectionstest.Append(t, store, h.Events)

	keep(t, pool, store, last)

	all := deadlines.Scope{Partitions: eventstore.AllPartitions(), Node: node}
	due, _, err := deadlines.Due(t.Context(), pool, all, time.Now().Add(24*time.Hour), 10)
	require.NoError(t, err)
	require.Equal(t, []uuid.UUID{made}, ids(due), "the other one is due for its node only")
	waiting, err := deadlines.Waiting(t.Context(), pool, all, 10)
	require.NoError(t, err)
	require.Equal(t, []uuid.UUID{waits}, ids(waiting))
	for _, s := range []deadlines.Scope{everything, {Partitions: eventstore.AllPartitions(), Node: other}} {
		waiting, err = deadlines.Waiting(t.Context(), pool, s, 10)
		require.NoError(t, err)
		require.Empty(t, waiting)
	}

	left, err := deadlines.LeftOn(t.Context(), pool, everything, []domain.NodeID{other, node}, 10)
	require.NoError(t, err)
	require.ElementsMatch(t, []uuid.UUID{waits, made}, ids(left))
	left, err = deadlines.LeftOn(t.Context(), pool, deadlines.Scope{Partitions: []int{eventstore.PartitionOf(waits)}}, []domain.NodeID{node}, 10)
	require.NoError(t, err)
	require.Contains(t, ids(left), waits)
	for _, none := range [][]domain.NodeID{nil, {other}} {
		left, err = deadlines.LeftOn(t.Context(), pool, everything, none, 10)
		require.NoError(t, err)
		require.Empty(t, left)
	}

	counts, position, err := deadlines.ByNode(t.Context(), pool)
	require.NoError(t, err)
	require.Equal(t, last, position)
	require.Equal(t, []deadlines.OnNode{{Node: node, Live: 1, Waiting: 1}}, counts)
}

func ids(rows []deadlines.Row) (of []uuid.UUID) {
	for _, r := range rows {
		of = append(of, r.Data.ID)
	}
	return of
}
