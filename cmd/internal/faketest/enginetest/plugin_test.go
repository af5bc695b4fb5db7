package enginetest

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/cmd/internal/apptest"
	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/plugins/fake"
	"github.com/tenure-dev/tenure/plugins/sdk"
)

// A11: what is no message on the wire costs at most the calls in flight.
func TestAWorkerThatPrintsOnTheWire(t *testing.T) {
	t.Parallel()
	s := start(t)
	first := s.acquire(s.environment("fake"))
	require.Equal(t, wire.LeaseActive, first.Status)
	// From now on its starts begin with a banner; kill it to see one.
	s.script(
		fake.Step{Verb: fake.VerbStart, Action: fake.ActionJunk, Message: "started v1.2"},
		fake.Step{Verb: fake.VerbAcquire, Action: fake.ActionJunk, Message: `{"level":"info","msg":"between two replies"}`},
	)
	worker := s.plugin("tenure.fake").Process.PID
	require.NoError(t, syscall.Kill(worker, syscall.SIGKILL))
	s.eventually("its death is noticed", func() bool { return s.plugin("tenure.fake").Process.PID != worker }, nil)
	l := s.acquire(s.environment("fake"))
	require.Equal(t, wire.LeaseActive, l.Status, reason(l))
	s.eventually("the junk is in the log", func() bool {
		return len(s.Log()) > 0 && containsAll(s.Log(), "started v1.2", "between two replies")
	}, nil)

	// Half a line, then the end: the call in flight fails, the next works.
	torn := s.acquire(s.environment("fake",
		fake.Step{Verb: fake.VerbAcquire, Attempt: 1, Action: fake.ActionJunk, Message: `{"jsonrpc":"2.0","id":"`, Raw: true},
		fake.Step{Verb: fake.VerbAcquire, Attempt: 1, Action: fake.ActionCrash},
	))
	require.Equal(t, wire.LeaseFailed, torn.Status)
	require.Equal(t, "worker_died", s.facts(torn.ID, "LeaseProvisioningFailed")[0].Code)
	s.until(torn.ID, "is cleaned up", cleaned)

	// A reply of 5 MB on one line is read; a lease cannot hold what is in it, and says so.
	big := s.acquire(s.environment("fake", fake.Step{Verb: fake.VerbAcquire, Action: fake.ActionSwell, Bytes: 5 << 20}))
	require.Equal(t, wire.LeaseFailed, big.Status)
	s.until(big.ID, "is cleaned up", cleaned)
	require.Empty(t, s.lives(big.ID))
	require.Equal(t, []string{*first.ProviderLeaseID}, s.lives(first.ID), "the others go on")
	require.Equal(t, []string{*l.ProviderLeaseID}, s.lives(l.ID))
}

func containsAll(text string, parts ...string) bool {
	for _, p := range parts {
		if !strings.Contains(text, p) {
			return false
		}
	}
	return true
}

// A13: the plugin does not start while a lease is to be destroyed; once it does, nobody has to do anything.
func TestALeaseWhosePluginIsDownWaitsInSightForItsCleanup(t *testing.T) {
	t.Parallel()
	s := start(t)
	l := s.acquire(s.environment("fake", fake.Step{Verb: fake.VerbRelease, Attempt: 1, Action: fake.ActionFail, Code: "no_route"}))
	require.Equal(t, wire.LeaseActive, l.Status)
	s.script(fake.Step{Verb: fake.VerbStart, Action: fake.ActionCrash})
	require.NoError(t, syscall.Kill(s.plugin("tenure.fake").Process.PID, syscall.SIGKILL))
	s.eventually("the worker does not run", func() bool { return s.plugin("tenure.fake").Process.State != "running" }, nil)
	s.release(l.ID)
	l = s.until(l.ID, "waits for its cleanup", func(l wire.Lease) bool {
		return l.Status == wire.LeasePendingCleanup && len(s.facts(l.ID, "LeaseReleaseFailed")) >= 2
	})
	require.True(t, pending(l))
	contains(t, left(l), "plugin", "does not run")
	require.Nil(t, l.ReleasedAt)
	require.Len(t, s.lives(l.ID), 1)
	require.NotNil(t, s.plugin("tenure.fake").Process.Error)

	s.script()
	l = s.until(l.ID, "is released", cleaned)
	require.Equal(t, wire.LeaseReleased, l.Status)
	require.Empty(t, s.lives(l.ID))
	failures := s.facts(l.ID, "LeaseReleaseFailed")
	require.Equal(t, "no_route", failures[len(failures)-1].Code, "a network error once is the variant")
}

// A plugin that is disabled makes nothing new. What it made waits for it in sight, and is taken down once it is enabled.
func TestADisabledPlugin(t *testing.T) {
	t.Parallel()
	s := start(t)
	env := s.environment("fake")
	l := s.acquire(env)
	require.Equal(t, wire.LeaseActive, l.Status)
	p := s.plugin("tenure.fake")
	_, err := s.Client.DisablePlugin(t.Context(), p.ID, wire.DisablePlugin{Reason: "it costs too much"})
	require.NoError(t, err)
	s.eventually("the worker ends", func() bool { return s.plugin("tenure.fake").Process.PID == 0 }, nil)
	refused := s.refused(env)
	contains(t, refused.Detail+refused.Cause+refused.Remediation, "disabled", "tenure plugin enable tenure.fake")
	s.release(l.ID)
	l = s.until(l.ID, "waits for its cleanup", pending)
	require.Len(t, s.lives(l.ID), 1)
	_, err = s.Client.EnablePlugin(t.Context(), p.ID)
	require.NoError(t, err)
	s.until(l.ID, "is released", cleaned)
	require.Empty(t, s.lives(l.ID))
}

const (
	versionVar = "ENGINETEST_SERVE_VERSION"
	stateVar   = "ENGINETEST_SERVE_STATE"
	boxKey     = "acme-box"
)

func boxManifest(version string) sdk.Manifest {
	return sdk.Manifest{
		ID: "acme.box", Version: version, DisplayName: "Box", Author: "Acme", Description: "boxes",
		Drivers: map[string]sdk.DriverManifest{boxKey: {DisplayName: "Box", Description: "boxes", ConfigSchema: json.RawMessage(fake.ConfigSchema)}},
	}
}

// TestMain is also the worker of the plugin acme.box.
func TestMain(m *testing.M) {
	version := os.Getenv(versionVar)
	if version == "" {
		apptest.Main(m)
		return
	}
	world, err := fake.Open(fake.Options{Dir: os.Getenv(stateVar)})
	if err == nil {
		err = sdk.Serve(context.Background(), sdk.Plugin{
			Manifest: boxManifest(version), Drivers: map[string]drivers.Driver{boxKey: world.Driver(drivers.ClassIdempotent)}, Closed: world.Close,
		})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// box makes the directory of a version of acme.box, whose worker is this program, and returns it with the worker's state.
func box(t *testing.T, version string) (dir, state string) {
	t.Helper()
	root := apptest.Dir(t)
	dir, state = filepath.Join(root, "plugin"), filepath.Join(root, "state")
	for _, d := range []string{dir, state} {
		require.NoError(t, os.Mkdir(d, 0o755))
		require.NoError(t, os.Chmod(d, 0o777))
	}
	program, err := os.ReadFile("/proc/self/exe")
	require.NoError(t, err)
	binary := filepath.Join(root, "worker")
	require.NoError(t, os.WriteFile(binary, program, 0o755))
	script := fmt.Sprintf("#!/bin/sh\n%s=%s %s=%s exec %s\n", versionVar, version, stateVar, state, binary)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "worker"), []byte(script), 0o755))
	raw, err := sdk.Plugin{Manifest: boxManifest(version), Drivers: map[string]drivers.Driver{boxKey: (&fake.World{}).Driver(drivers.ClassIdempotent)}}.ManifestJSON()
	require.NoError(t, err)
	var fields map[string]any
	require.NoError(t, json.Unmarshal(raw, &fields))
	fields["entrypoints"] = map[string]any{"worker": "worker"}
	raw, err = json.Marshal(fields)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "manifest.json"), raw, 0o644))
	return dir, state
}

// A lease stays with the version of the plugin that made its runtime.
func TestALeaseStaysWithTheVersionThatMadeIt(t *testing.T) {
	t.Parallel()
	s := start(t)
	install := func(dir string) {
		t.Helper()
		asked, err := s.Client.InstallPlugin(t.Context(), wire.InstallPlugin{Source: dir})
		require.NoError(t, err)
		s.eventually("it is installed", func() bool {
			asked, err = s.Client.PluginInstall(t.Context(), asked.ID)
			return err == nil && asked.Status != wire.InstallRequested
		}, &asked)
		require.Equal(t, wire.InstallDone, asked.Status, "%+v", asked)
	}
	live := func(state string) int {
		led, err := fake.ReadLedger(fake.LedgerPath(state))
		require.NoError(t, err)
		return len(led.Live())
	}
	version := func(id uuid.UUID) string {
		made := s.facts(id, "LeaseProvisioningStarted")
		return made[len(made)-1].Plugin.Version
	}
	one, stateOne := box(t, "1.0.0")
	two, stateTwo := box(t, "2.0.0")
	install(one)
	env := s.environment(boxKey)
	older := s.acquire(env)
	require.Equal(t, wire.LeaseActive, older.Status, reason(older))
	install(two)
	var newer wire.Lease
	s.eventually("new leases are of the new version", func() bool {
		newer = s.acquire(env)
		if version(newer.ID) == "2.0.0" {
			return true
		}
		s.release(newer.ID) // the host hears of it a moment later
		s.until(newer.ID, "is released", cleaned)
		return false
	}, &newer)
	require.Equal(t, wire.LeaseActive, newer.Status, reason(newer))
	require.Equal(t, "1.0.0", version(older.ID))
	require.Equal(t, 1, live(stateOne))
	require.Equal(t, 1, live(stateTwo))
	x, out, _ := s.Run(older.ID, wire.StartExec{Argv: []string{"echo", "still here"}})
	require.Equal(t, 0, *x.Result.ExitCode)
	require.Equal(t, "still here\n", string(out))
	s.release(older.ID)
	s.until(older.ID, "is released", cleaned)
	require.Zero(t, live(stateOne))
	require.Equal(t, 1, live(stateTwo))
	s.release(newer.ID)
	s.until(newer.ID, "is released", cleaned)
	require.Zero(t, live(stateTwo))
}
