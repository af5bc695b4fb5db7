package apptest_test

import (
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/cmd/internal/apptest"
	"github.com/tenure-dev/tenure/migrations/pgtest"
)

// Case A14, the variant with another live instance: two engines on one database, each with workspaces of its own. What
// lives on one is never driven by the other, which restarts meanwhile.
func TestAnEngineLeavesAloneWhatLivesOnAnother(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	first := apptest.Start(t, apptest.WithEnv("TENURE_DATABASE_URL="+url), patient())
	second := apptest.New(t, apptest.WithEnv("TENURE_DATABASE_URL="+url), patient())
	second.Beside(first)
	second.Start()
	tenant := first.Tenant(wire.AddEnvironment{})
	held := first.Acquire(tenant, wire.AcquireLease{}).Lease
	var wg sync.WaitGroup
	for _, e := range []*apptest.Engine{first, second} {
		for range 2 {
			wg.Go(func() {
				for range 10 {
					useOnce(t, e, tenant)
				}
			})
		}
	}
	wg.Wait()
	second.Kill()
	second.Start()
	useOnce(t, second, tenant)

	got, err := second.Client.Lease(t.Context(), held.ID)
	require.NoError(t, err)
	require.Equal(t, wire.LeaseActive, got.Status)
	require.Equal(t, 1, workspaces(t, first)+workspaces(t, second), "only the lease that is held has a workspace, somewhere")
	got, err = second.Client.ReleaseLease(t.Context(), held.ID, wire.Release{}, client.Wait(waitLong))
	require.NoError(t, err)
	require.Equal(t, wire.LeaseReleased, got.Status)
	require.Zero(t, workspaces(t, first)+workspaces(t, second))
}

// useOnce acquires a lease, runs a command in it and releases it, all through one engine.
func useOnce(t *testing.T, e *apptest.Engine, tenant apptest.Tenant) {
	t.Helper()
	got, _, err := e.Client.AcquireLease(t.Context(), tenant.Company.ID,
		wire.AcquireLease{EnvironmentID: tenant.Environment.ID, HeartbeatRunID: uuid.NewString()}, client.Wait(waitLong))
	if err != nil {
		t.Error(err)
		return
	}
	x, err := e.Client.StartExec(t.Context(), got.Lease.ID, got.Lease.Fence, wire.StartExec{Argv: []string{"true"}})
	if err == nil {
		x, err = e.Client.Exec(t.Context(), x.ID, client.Wait(waitLong))
	}
	if err != nil || x.Result == nil || x.Result.End != wire.EndExited {
		t.Errorf("exec: %v, %+v", err, x.Result)
	}
	lease, err := e.Client.ReleaseLease(t.Context(), got.Lease.ID, wire.Release{}, client.Wait(waitLong))
	if err != nil || lease.Status != wire.LeaseReleased {
		t.Errorf("release: %v, %s", err, lease.Status)
	}
}

func workspaces(t *testing.T, e *apptest.Engine) int {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(e.DataDir, "runtimes"))
	require.NoError(t, err)
	return len(entries)
}

// A secret that was given to one engine is used by commands on the other, in the version that is latest by then; each use
// is on record, whichever engine it was.
func TestASecretIsUsedByEveryEngineOfItsDatabase(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	first := apptest.Start(t, apptest.WithEnv("TENURE_DATABASE_URL="+url), patient())
	second := apptest.New(t, apptest.WithEnv("TENURE_DATABASE_URL="+url), patient())
	second.Beside(first)
	second.Start()
	company, err := first.Client.AddCompany(t.Context(), wire.AddCompany{Name: "acme"})
	require.NoError(t, err)
	secret, err := first.Client.AddSecret(t.Context(), company.ID, wire.AddSecret{Name: "token", Value: "first value"})
	require.NoError(t, err)
	env, err := first.Client.AddEnvironment(t.Context(), company.ID, wire.AddEnvironment{
		Name: "local", Driver: "local", EnvVars: map[string]wire.EnvValue{"TOKEN": {SecretRef: &wire.SecretRef{SecretID: secret.ID}}},
	})
	require.NoError(t, err)
	tenant := apptest.Tenant{Company: company, Environment: env}

	// The output of a command is where it ran, so the command itself tells whether it was given the value.
	given := func(want string, engines ...*apptest.Engine) (leases []uuid.UUID) {
		for _, e := range engines {
			lease := e.Acquire(tenant, wire.AcquireLease{}).Lease
			x, err := e.Client.StartExec(t.Context(), lease.ID, lease.Fence, wire.StartExec{Argv: []string{"sh", "-c", `test "$TOKEN" = "$1"`, "sh", want}})
			require.NoError(t, err)
			x = e.Ended(x.ID)
			require.Equal(t, wire.EndExited, x.Result.End)
			require.Zero(t, *x.Result.ExitCode)
			leases = append(leases, lease.ID)
		}
		return leases
	}
	used := given("first value", first, second)
	_, err = second.Client.AddSecretVersion(t.Context(), secret.ID, wire.AddSecretVersion{Value: "second value"})
	require.NoError(t, err)
	used = append(used, given("second value", first, second)...)

	reads, err := first.Client.SecretReads(t.Context(), secret.ID)
	require.NoError(t, err)
	versions := map[uuid.UUID]int{}
	for _, r := range reads.Items {
		require.Equal(t, "exec", r.Purpose)
		require.NotNil(t, r.WorkerID)
		versions[*r.LeaseID] = r.Version
	}
	require.Len(t, reads.Items, 4)
	require.Equal(t, map[uuid.UUID]int{used[0]: 1, used[1]: 1, used[2]: 2, used[3]: 2}, versions)
	for _, e := range []*apptest.Engine{first, second} {
		require.NotContains(t, e.Log(), "first value")
		require.NotContains(t, e.Log(), "second value")
	}
}
