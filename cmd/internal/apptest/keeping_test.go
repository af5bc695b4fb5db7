package apptest_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/cmd/internal/apptest"
	"github.com/tenure-dev/tenure/migrations/pgtest"
)

// An API server has no drivers of its own. What those of others can keep it knows as long as anybody lives that has them, and
// of a plugin by its manifest, whose worker is not asked. What nobody can say is decided by whoever comes.
func TestAnAPIServerKnowsWhichPoliciesCanBeKept(t *testing.T) {
	t.Parallel()
	f := apptest.StartFleet(t, pgtest.URL(t), []string{"api", "worker"})
	api, worker := f[0], f[1]
	local := api.Tenant(wire.AddEnvironment{})
	ask := func(tenant apptest.Tenant) wire.AcquireLease {
		return wire.AcquireLease{EnvironmentID: tenant.Environment.ID, HeartbeatRunID: uuid.NewString(), LeasePolicy: "reuse_by_environment"}
	}

	dir := apptest.Dir(t)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "manifest.json"), []byte(`{
		"id": "acme.forgetful", "apiVersion": 1, "version": "1.0.0", "displayName": "Forgetful", "description": "Keeps nothing.", "author": "A",
		"categories": ["connector"], "capabilities": ["environment.drivers.register"], "entrypoints": {"worker": "worker"},
		"environmentDrivers": [{"driverKey": "forgetful", "kind": "sandbox_provider", "displayName": "Forgetful", "configSchema": {"type": "object"}}]
	}`), 0o644))
	ran := filepath.Join(dir, "ran")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "worker"), []byte("#!/bin/sh\necho ran >> "+ran+"\n"), 0o755))
	require.NoError(t, os.Chmod(dir, 0o777), "the worker is another user where the engine is root")
	install, err := api.Client.InstallPlugin(t.Context(), wire.InstallPlugin{Source: dir}, client.Wait(waitLong))
	require.NoError(t, err)
	require.Equal(t, wire.InstallDone, install.Status, "%+v", install)
	forgetful := api.Tenant(wire.AddEnvironment{Name: "forgetful", Driver: "sandbox", Config: json.RawMessage(`{"provider": "forgetful"}`)})
	_, _, err = api.Client.AcquireLease(t.Context(), forgetful.Company.ID, ask(forgetful))
	p, ok := errors.AsType[*client.Problem](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, []string{"unsatisfiable", "leasePolicy"}, []string{p.Code, p.Field})
	require.Equal(t, "policy_supported", p.Constraints[0].Constraint)
	require.NoFileExists(t, ran)

	require.Zero(t, worker.Stop())
	waits, _, err := api.Client.AcquireLease(t.Context(), local.Company.ID, ask(local))
	require.NoError(t, err)
	x, err := api.Client.ExplainLease(t.Context(), waits.Lease.ID)
	require.NoError(t, err)
	require.Contains(t, x.Summary, "no process that has it lives now")
	worker.Start()
	got, err := api.Client.Lease(t.Context(), waits.Lease.ID, client.Wait(waitLong))
	require.NoError(t, err)
	require.Equal(t, wire.LeaseActive, got.Status)
}
