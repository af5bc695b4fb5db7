package plugintest_test

import (
	"encoding/json"
	"os"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/driverstest"
	"github.com/tenure-dev/tenure/drivers/provider"
	"github.com/tenure-dev/tenure/plugins/host"
	"github.com/tenure-dev/tenure/plugins/manifest"
	"github.com/tenure-dev/tenure/plugins/plugintest"
)

// npmDriver is the test provider on the published SDK, unmodified, as an engine sees it.
func npmDriver(t *testing.T) (d drivers.Driver, workers *host.Host) {
	t.Helper()
	npm := plugintest.NPMProvider(t)
	p, err := manifest.ReadPackage(t.Context(), npm.Dir, manifest.ReadOptions{Node: npm.Node})
	require.NoError(t, err)
	workers = plugintest.Host(t, host.Installed{
		Plugin:   drivers.Plugin{ID: uuid.NewString(), Key: p.Manifest.ID, Version: p.Manifest.Version},
		Manifest: p.Manifest, Command: []string{npm.Node, p.Worker}, Enabled: true, AsRoot: true,
	})
	offer, err := workers.Offer(provider.Query{Kind: provider.KindSandbox, Key: "tmpdir"})
	require.NoError(t, err)
	_, err = offer.Worker(t.Context())
	require.NoError(t, err)
	offer, err = workers.Offer(provider.Query{Kind: provider.KindSandbox, Key: "tmpdir"})
	require.NoError(t, err)
	return provider.NewDriver(offer, provider.Shape{
		Driver: "sandbox", Provider: "tmpdir", NoRuntimeURL: true,
		Metadata: func(_ provider.Description, _, said json.RawMessage, _ *string) json.RawMessage { return said },
		Said:     func(metadata json.RawMessage) json.RawMessage { return metadata },
	}, provider.NewLate(), nil), workers
}

func TestAProviderOnTheNPMSDKRunsUnmodified(t *testing.T) {
	t.Parallel()
	d, workers := npmDriver(t)
	root := t.TempDir()
	config, err := json.Marshal(map[string]string{"root": root})
	require.NoError(t, err)
	f := driverstest.Features{New: func(*testing.T) drivers.Driver { return d }, Config: config}

	said := d.Describe()
	require.Equal(t, drivers.ClassBlind, said.Class)
	require.True(t, said.Capabilities.Exec && said.Capabilities.Probe && said.Capabilities.CheckConfig)
	require.False(t, said.Capabilities.List)
	require.NoError(t, drivers.CheckConfig(d, config))
	require.Error(t, drivers.CheckConfig(d, json.RawMessage(`{"root": "relative"}`)))
	probed, err := drivers.Probe(t.Context(), d, drivers.ProbeRequest{CompanyID: uuid.NewString(), Config: config})
	require.NoError(t, err)
	require.True(t, probed.OK, "%+v", probed)

	r := driverstest.Acquire(t, f)
	require.DirExists(t, r.Field("remoteCwd"))
	// Paperclip's own host never gets this reply: its reader takes U+2028 for the end of a line.
	text := "one\u2028two\u2029three \u20ac\n"
	done := r.Run(drivers.ExecRequest{
		Argv: []string{"sh", "-c", `cat; printf '%s|%s|%s' "$1" "$GREETING" "$PWD" >&2; exit 7`, "sh", text}, Stdin: []byte(text),
		Env: []drivers.EnvVar{{Name: "GREETING", Value: "hello \u2028"}},
	})
	require.Equal(t, drivers.ExecExited, done.End)
	require.Equal(t, 7, done.ExitCode)
	require.Equal(t, text, string(done.Stdout))
	require.Equal(t, text+"|hello \u2028|"+r.Field("remoteCwd"), string(done.Stderr))
	require.Equal(t, 127, r.Run(drivers.ExecRequest{Argv: []string{"no-such-command-at-all"}}).ExitCode)
	require.Equal(t, drivers.ExecTimedOut, r.Run(drivers.ExecRequest{Argv: []string{"sleep", "600"}, Timeout: 300 * time.Millisecond}).End)
	big := r.Sh(`head -c 5000000 /dev/zero | tr '\0' x`)
	require.Len(t, big.Stdout, 5_000_000)
	require.NotContains(t, string(r.Sh("env").Stdout), driverstest.Marker)

	require.ErrorIs(t, r.Keep(true), drivers.ErrGone, "its configuration does not let it keep anything")
	require.NoDirExists(t, r.Field("remoteCwd"))
	require.NoError(t, r.Release())
	require.NoError(t, r.Release(), "a second release is harmless")
	left, err := os.ReadDir(root)
	require.NoError(t, err)
	require.Empty(t, left)
	status := workers.Status()
	require.Len(t, status, 1)
	require.Equal(t, host.StateRunning, status[0].State)
	require.Zero(t, status[0].Restarts)
}

// What is promised of a provider on the published SDK that declares reusable leases. It knows no fences.
func TestAProviderOnTheNPMSDKKeepsRuntimes(t *testing.T) {
	t.Parallel()
	d, _ := npmDriver(t)
	require.True(t, d.Describe().Capabilities.Keep)
	root := t.TempDir()
	config, err := json.Marshal(map[string]any{"root": root, "reuseLease": true})
	require.NoError(t, err)
	r := driverstest.Acquire(t, driverstest.Features{New: func(*testing.T) drivers.Driver { return d }, Config: config})
	require.Zero(t, r.Sh("echo mine > file").ExitCode)
	where := r.Field("remoteCwd")
	for range 2 {
		require.NoError(t, r.Keep(true))
		require.NoError(t, r.Keep(true))
		r.Resume()
		require.Equal(t, where, r.Field("remoteCwd"))
		require.Equal(t, "mine\n", string(r.Sh("cat file").Stdout))
	}
	require.NoError(t, r.Keep(true))
	require.NoError(t, os.Rename(where, where+"-elsewhere"))
	_, err = drivers.Resume(t.Context(), d, drivers.ResumeRequest{
		AcquireRequest: drivers.AcquireRequest{RuntimeID: r.Handle.RuntimeID, Config: config}, ProviderLeaseID: r.Handle.ProviderLeaseID, Metadata: r.Handle.Metadata,
	})
	require.ErrorIs(t, err, drivers.ErrGone)
	require.NoError(t, os.Rename(where+"-elsewhere", where))
	require.NoError(t, r.Release(), "a kept runtime is destroyed for good")
	left, err := os.ReadDir(root)
	require.NoError(t, err)
	require.Empty(t, left)
}
