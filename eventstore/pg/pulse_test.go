package pg_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/domain/outage"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/commands"
	"github.com/tenure-dev/tenure/eventstore/memory"
	"github.com/tenure-dev/tenure/eventstore/pg"
	"github.com/tenure-dev/tenure/eventstore/vault"
	"github.com/tenure-dev/tenure/migrations/pgtest"
)

func TestThePulseStaysWhereItIsAfterAGapUntilItIsResumed(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	s, err := pg.Open(context.Background(), pool, pg.Options{})
	require.NoError(t, err)
	t.Cleanup(s.Close)
	inMemory := memory.New()
	for name, p := range map[string]eventstore.Pulse{"pg": s.Pulse(), "memory": memory.NewPulse(inMemory)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, err := p.Look(t.Context())
			require.NoError(t, err)
			require.True(t, r.At.IsZero(), "nobody has served yet")
			require.WithinDuration(t, time.Now(), r.Now, time.Minute)
			first, err := p.Beat(t.Context(), time.Hour)
			require.NoError(t, err)
			require.False(t, first.At.IsZero())
			again, err := p.Beat(t.Context(), time.Hour)
			require.NoError(t, err)
			require.False(t, again.At.Before(first.At))
			// With no gap allowed at all, any beat comes too late.
			late, err := p.Beat(t.Context(), 0)
			require.NoError(t, err)
			require.True(t, again.At.Equal(late.At), "%s %s", again.At, late.At)
			require.True(t, late.Now.After(late.At))
			back, err := p.Resume(t.Context(), 7)
			require.NoError(t, err)
			require.True(t, back.At.After(late.At))
			require.Equal(t, int64(7), back.Version)
			back, err = p.Resume(t.Context(), 3)
			require.NoError(t, err)
			require.Equal(t, int64(7), back.Version, "it never goes back")
		})
	}
}

// However many processes find a gap at once, and whoever is killed in between, it is one event.
func TestAGapThatManyFindAtOnceIsOneEvent(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	const processes = 6
	stores := make([]*pg.Store, processes)
	for i := range stores {
		var err error
		stores[i], err = pg.Open(context.Background(), pool, pg.Options{})
		require.NoError(t, err)
		t.Cleanup(stores[i].Close)
	}
	_, err := stores[0].Pulse().Beat(t.Context(), time.Hour)
	require.NoError(t, err)
	_, err = pool.Exec(t.Context(), `UPDATE pulse SET beat_at = beat_at - interval '5 minutes'`)
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	var all []*commands.Commands
	for _, s := range stores {
		c := commands.New(eventstore.NewLedger(s), vault.InMemory())
		renewals := c.WatchRenewals(s.Pulse(), commands.RenewalOptions{Serves: true, Interval: 20 * time.Millisecond})
		running.Go(func() { renewals.Run(ctx) })
		all = append(all, c)
	}
	require.Eventually(t, func() bool {
		for _, c := range all {
			if len(c.Gaps()) != 1 {
				return false
			}
		}
		return true
	}, time.Minute, 10*time.Millisecond)
	stop()
	running.Wait()
	var events int
	require.NoError(t, pool.QueryRow(t.Context(), `SELECT count(*) FROM events WHERE name = 'RenewalsInterrupted'`).Scan(&events))
	require.Equal(t, 1, events)
	require.InDelta(t, 5*time.Minute, all[0].Gaps()[0].Shift, float64(30*time.Second))
	require.Equal(t, outage.DefaultCap, all[0].Gaps()[0].Cap)
}
