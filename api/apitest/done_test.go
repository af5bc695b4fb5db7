package apitest_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/migrations"
	"github.com/tenure-dev/tenure/migrations/pgtest"
)

// The database goes away while a client waits for what it asked for, which is in the log. It must not hear that nothing was done.
func TestWhoseCommandWasAcceptedIsNotToldThatNothingWasDone(t *testing.T) {
	t.Parallel()
	proxy, url := pgtest.NewProxy(t, pgtest.URL(t))
	pool := pgtest.Connect(t, url)
	require.NoError(t, migrations.Up(t.Context(), pool))
	s := startOn(t, pool, "")
	tn := s.tenant("acme")
	impatient, err := client.New(s.url, s.adminKey, client.WithoutRetries())
	require.NoError(t, err)

	key := client.IdempotencyKey(uuid.NewString())
	answered := make(chan error, 1)
	go func() {
		_, _, err := impatient.AcquireLease(t.Context(), tn.company, tn.ask("slow"), key, client.Wait(3*time.Second))
		answered <- err
	}()
	require.Eventually(t, func() bool {
		found, err := impatient.Leases(t.Context(), tn.company, client.LeaseFilter{})
		return err == nil && len(found.Items) == 1
	}, time.Minute, 10*time.Millisecond)
	proxy.Refuse(true)
	err = <-answered
	proxy.Refuse(false)
	var problem *client.Problem
	require.ErrorAs(t, err, &problem)
	require.Equal(t, http.StatusServiceUnavailable, problem.Status)
	require.Equal(t, "outcome_unknown", problem.Code)
	require.True(t, problem.Retryable)

	require.Eventually(t, func() bool {
		again, _, err := impatient.AcquireLease(t.Context(), tn.company, tn.ask("slow"), key)
		return err == nil && again.Lease.Status == wire.LeaseProvisioning
	}, time.Minute, 50*time.Millisecond)
	found, err := impatient.Leases(t.Context(), tn.company, client.LeaseFilter{})
	require.NoError(t, err)
	require.Len(t, found.Items, 1)
}
