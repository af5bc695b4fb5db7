package deadlines_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/domain/domaintest"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/domain/outage"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/projections"
	"github.com/tenure-dev/tenure/projections/deadlines"
	"github.com/tenure-dev/tenure/projections/projectionstest"
)

const minute = time.Minute

// The database finds the leases whose time is over wherever gaps moved it: all of them, and of those that are not over none
// but a few that were used within a gap.
func TestLeasesThatGapsMovedAreNotInFrontOfThoseThatAreOver(t *testing.T) {
	t.Parallel()
	began := time.Now().UTC().Truncate(time.Second).Add(-10 * time.Hour)
	at := func(d time.Duration) time.Time { return began.Add(d) }
	gap := func(from, to time.Duration) outage.Gap {
		return outage.Gap{From: at(from), To: at(to), Shift: min(to-from, 40*minute), Cap: 40 * minute}
	}
	gaps := outage.Gaps{gap(60*minute, 70*minute), gap(90*minute, 115*minute), gap(300*minute, 500*minute)}
	used := []time.Duration{0, 30 * minute, 60 * minute, 65 * minute, 80 * minute, 116 * minute, 299 * minute, 301 * minute, 501 * minute}
	idles := []time.Duration{20 * minute, 61 * minute, 85 * minute, 300 * minute}
	db, states := leasesUsedAt(t, at, used, idles)

	for now := time.Duration(0); now < 900*minute; now += 13 * minute {
		rows, err := deadlines.Expiring(t.Context(), db, eventstore.AllPartitions(), at(now), gaps, 1000)
		require.NoError(t, err)
		due := map[uuid.UUID]bool{}
		for i, row := range rows {
			due[row.Data.ID] = true
			require.True(t, i == 0 || !row.Data.DueAt.Before(rows[i-1].Data.DueAt))
		}
		early := 0
		for id, s := range states {
			over := !s.EndsAt(gaps).Add(s.NextDeadline().Sub(s.ExpiresAt)).After(at(now))
			if over {
				require.True(t, due[id], "%s: used at %s, ends at %s", now, s.LastUsedAt.Sub(began), s.EndsAt(gaps).Sub(began))
			} else if due[id] {
				early++
			}
		}
		require.LessOrEqual(t, early, 2*len(idles)+3, "%s: those used within a gap, and those that were to be warned before one", now)
	}
	// None is in front of the others for what gaps did, and without gaps all are due by their own deadline.
	rows, err := deadlines.Expiring(t.Context(), db, eventstore.AllPartitions(), at(10000*minute), gaps, 1000)
	require.NoError(t, err)
	require.Len(t, rows, len(states))
	rows, err = deadlines.Expiring(t.Context(), db, eventstore.AllPartitions(), at(10000*minute), nil, 3)
	require.NoError(t, err)
	require.Len(t, rows, 3)
}

// leasesUsedAt are active leases that were used at those times, with each of the idle timeouts.
func leasesUsedAt(t *testing.T, at func(time.Duration) time.Time, used, idles []time.Duration) (projections.DB, map[uuid.UUID]lease.State) {
	t.Helper()
	pool, store := open(t)
	h := projectionstest.NewHistory(t)
	times := map[string]time.Time{}
	for _, idle := range idles {
		for _, u := range used {
			id := uuid.New()
			request := domaintest.LeaseRequested()
			request.IdleTimeoutMs = idle.Milliseconds()
			request.TTLMs = (700 * minute).Milliseconds()
			h.Lease(id, lease.Request{Requested: request})
			h.Lease(id, lease.Grant{Slot: 1})
			h.Lease(id, lease.StartProvisioning{Runtime: domaintest.Runtime, Worker: worker, Now: at(u), Deadline: at(u)})
			h.Lease(id, lease.Provision{Attempt: 1, Worker: worker, Now: at(u), Acquisition: lease.AcquisitionCreated})
			times["lease-"+id.String()] = at(u)
		}
	}
	last := projectionstest.Append(t, store, h.Events)
	for stream, then := range times {
		_, err := pool.Exec(t.Context(), `UPDATE events SET recorded_at = $2 WHERE stream = $1`, stream, then)
		require.NoError(t, err)
	}
	keep(t, pool, store, last)
	states := map[uuid.UUID]lease.State{}
	rows, err := deadlines.Expiring(t.Context(), pool, eventstore.AllPartitions(), at(100_000*minute), nil, 1000)
	require.NoError(t, err)
	for _, row := range rows {
		states[row.Data.ID] = *row.Data.LeaseState
	}
	require.Len(t, states, len(used)*len(idles))
	return pool, states
}
