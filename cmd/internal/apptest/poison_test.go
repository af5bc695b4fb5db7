package apptest_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/cmd/internal/apptest"
	"github.com/tenure-dev/tenure/migrations/pgtest"
	"github.com/tenure-dev/tenure/projections/leases"
)

// Case A26: a read model cannot take the events of one lease. That lease is parked, with the reason and in order; those of
// fifty others go on; an operator has it tried again by the command line once the cause is gone.
func TestALeaseThatAReadModelCannotTakeHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	pool := pgtest.Connect(t, url)
	e := apptest.Start(t, apptest.WithEnv("TENURE_DATABASE_URL="+url))
	tenant := e.Tenant(wire.AddEnvironment{})
	acquired := e.Acquire(tenant, wire.AcquireLease{})
	poison := acquired.Lease
	var generation int64
	key := leases.Model.Key()
	require.NoError(t, pool.QueryRow(t.Context(), `SELECT generation FROM projection_pointers WHERE name = $1`, key.Name).Scan(&generation))
	table := key.Table(generation)
	_, err := e.Client.Leases(t.Context(), tenant.Company.ID, client.LeaseFilter{}, client.MinPosition(acquired.Position))
	require.NoError(t, err, "it is there as active before")
	_, err = pool.Exec(t.Context(), fmt.Sprintf(`ALTER TABLE %s ADD CONSTRAINT poison CHECK (stream <> 'lease-%s') NOT VALID`, table, poison.ID))
	require.NoError(t, err)
	longer := "30h" // one that changes nothing would be no event
	_, err = e.Client.RenewLeaseFor(t.Context(), poison.ID, poison.Fence, wire.Renew{TTL: &longer})
	require.NoError(t, err)
	released, err := e.Client.ReleaseLease(t.Context(), poison.ID, wire.Release{}, client.Wait(waitLong))
	require.NoError(t, err)
	require.Equal(t, wire.LeaseReleased, released.Status, "the lease itself is from the log, and goes on")

	var others sync.WaitGroup
	for range 10 {
		others.Go(func() {
			for range 5 {
				got, _, err := e.Client.AcquireLease(context.Background(), tenant.Company.ID,
					wire.AcquireLease{EnvironmentID: tenant.Environment.ID, HeartbeatRunID: uuid.NewString()}, client.Wait(waitLong))
				if err == nil {
					_, err = e.Client.ReleaseLease(context.Background(), got.Lease.ID, wire.Release{}, client.Wait(waitLong))
				}
				assert.NoError(t, err)
			}
		})
	}
	others.Wait()
	// list counts the leases that the read model shows as released, and says how it shows the one that is parked.
	list := func() (released int, ofParked string) {
		t.Helper()
		page, err := e.Client.Leases(t.Context(), tenant.Company.ID, client.LeaseFilter{}, client.Page("", 200))
		require.NoError(t, err)
		for _, l := range page.Items {
			switch {
			case l.ID == poison.ID:
				ofParked = l.Status
			case l.Status == wire.LeaseReleased:
				released++
			}
		}
		return released, ofParked
	}
	require.Eventually(t, func() bool { n, _ := list(); return n == 50 }, waitLong, 20*time.Millisecond, "the others go on")
	_, shown := list()
	require.Equal(t, wire.LeaseActive, shown, "no later event overtakes the one that is parked")
	parked, err := e.Client.Parked(t.Context(), key.Name)
	require.NoError(t, err)
	require.Len(t, parked.Items, 1)
	require.Equal(t, "lease-"+poison.ID.String(), parked.Items[0].Stream)
	require.Contains(t, parked.Items[0].Reason, "poison")
	require.Positive(t, parked.Items[0].Behind)

	operate := func(args ...string) (string, error) {
		cmd := exec.CommandContext(t.Context(), apptest.Binary(t), append(args, "--data-dir", e.DataDir)...)
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + filepath.Dir(e.DataDir)}
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	out, err := operate("projection", "parked", key.Name)
	require.NoError(t, err, out)
	require.Contains(t, out, poison.ID.String())
	out, err = operate("projection", "retry", key.Name, parked.Items[0].Stream)
	require.Error(t, err, "the cause is still there: %s", out)
	_, err = pool.Exec(t.Context(), `ALTER TABLE `+table+` DROP CONSTRAINT poison`)
	require.NoError(t, err)
	out, err = operate("projection", "retry", key.Name, parked.Items[0].Stream)
	require.NoError(t, err, out)
	n, shown := list()
	require.Equal(t, 50, n)
	require.Equal(t, wire.LeaseReleased, shown)
}
