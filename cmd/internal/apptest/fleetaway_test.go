package apptest_test

import (
	"errors"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/cmd/internal/apptest"
	"github.com/tenure-dev/tenure/migrations/pgtest"
)

// fleetAwayFor is how long the database of a fleet is away: longer than its processes count as alive.
const fleetAwayFor = 6 * time.Second

// The database of API servers and workers is away under load: it refuses, or takes everything and says nothing. Every call is
// answered in time, by 503 with what to do; a worker says that it is not ready; what runs goes on; nothing that was acknowledged
// is lost or done twice; all of it works again within five seconds, and no more connections than they may have are left.
func TestAFleetOutlivesItsDatabaseBeingAway(t *testing.T) {
	t.Parallel()
	for name, away := range map[string]func(p *pgtest.Proxy, is bool){
		"it refuses":      (*pgtest.Proxy).Refuse,
		"it says nothing": (*pgtest.Proxy).Silence,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			direct := pgtest.URL(t)
			proxy, through := pgtest.NewProxy(t, direct)
			application := "fleet-" + uuid.NewString()
			f := apptest.StartFleet(t, through+" pool_max_conns=5 application_name="+application, []string{"api", "api", "worker", "worker"},
				apptest.WithoutRace(t))
			t.Cleanup(f.Kill)
			outages := []*outage{newOutage(t, f[0]), newOutage(t, f[1])}
			work := sandboxes(t, f[0])
			long := outages[0].start(`while [ ! -e stop ]; do sleep 0.1; done; echo over`)
			load := func(d time.Duration) {
				var loads sync.WaitGroup
				for _, o := range outages {
					loads.Go(func() { o.load(d) })
				}
				loads.Wait()
			}

			load(500 * time.Millisecond)
			gone := time.Now()
			away(proxy, true)
			load(fleetAwayFor)
			for _, w := range f.Of("worker") {
				_, err := impatient(t, w).Health(t.Context())
				p, ok := errors.AsType[*client.Problem](err)
				require.True(t, ok && p.Status == http.StatusServiceUnavailable && p.RetryAfter > 0, "%v", err)
			}
			away(proxy, false)
			back := time.Now()
			// Whole lives of leases, which takes an API server, a worker and the read models.
			for i, o := range outages {
				var took time.Duration
				require.Eventually(t, func() bool {
					o.pace.look()
					err := wholeLife(t, impatient(t, f[i]), work)
					took = time.Since(back)
					return err == nil
				}, waitLong, 20*time.Millisecond)
				limit := max(outages[0].pace.stretched(backWithin), outages[1].pace.stretched(backWithin))
				require.Less(t, took, limit, "through API server %d", i)
			}
			for _, w := range f.Of("worker") {
				_, err := impatient(t, w).Health(t.Context())
				require.NoError(t, err)
			}
			again := time.Now()
			load(time.Second)

			for i, o := range outages {
				refused := 0
				for _, a := range o.answers.all() {
					end := a.began.Add(a.took)
					switch {
					case a.err != nil && a.began.After(gone) && a.began.Before(back):
						refused++
					case end.Before(gone) || a.began.After(again):
						require.NoError(t, a.err, "%s, %s after the outage", a.what, a.began.Sub(back))
					}
					if a.what == "acquire" && a.began.After(gone) && end.Before(back) {
						require.Error(t, a.err, "an append without a database")
					}
				}
				require.Greater(t, refused, 10, "API server %d", i)
				requireBearable(t, o.answers.all(), o.pace.stretched(answerWithin))
				o.requireNothingLostOrDoubled()
				for _, l := range o.held {
					got, err := f[1-i].Client.Lease(t.Context(), l.ID)
					require.NoError(t, err)
					require.Equal(t, wire.LeaseActive, got.Status)
				}
			}
			_, _, _ = f[1].Run(outages[0].held[0].ID, wire.StartExec{Argv: []string{"touch", "stop"}})
			x := f[1].Ended(long)
			require.Equal(t, wire.EndExited, x.Result.End)
			require.Equal(t, "complete", x.Output.State)

			if name == "it says nothing" {
				return // the server never learns that the old links are nobody's
			}
			// The writer, the listener and the liveness have one each beside the pool.
			sessions := pgtest.Connect(t, direct)
			require.Eventually(t, func() bool {
				var n int
				require.NoError(t, sessions.QueryRow(t.Context(), `SELECT count(*) FROM pg_stat_activity WHERE application_name = $1`, application).Scan(&n))
				return n > 0 && n <= len(f)*(5+3)
			}, waitLong, 50*time.Millisecond, "more connections than they may have, and they stay")
		})
	}
}

// wholeLife is a lease from its request to its end, each of which is asked for once.
func wholeLife(t *testing.T, c *client.Client, tenant apptest.Tenant) error {
	t.Helper()
	got, active, err := c.AcquireLease(t.Context(), tenant.Company.ID,
		wire.AcquireLease{EnvironmentID: tenant.Environment.ID, HeartbeatRunID: uuid.NewString()}, client.Wait(waitLong))
	if err == nil && !active {
		err = errors.New("the lease is " + got.Lease.Status)
	}
	if err != nil {
		return err
	}
	l, err := c.ReleaseLease(t.Context(), got.Lease.ID, wire.Release{}, client.Wait(waitLong))
	if err == nil && l.Status != wire.LeaseReleased {
		err = errors.New("the lease is " + l.Status)
	}
	return err
}
