package plugintest

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/provider"
	"github.com/tenure-dev/tenure/plugins/host"
	"github.com/tenure-dev/tenure/plugins/manifest"
	"github.com/tenure-dev/tenure/plugins/sdk"
)

// Wire returns d as an engine sees it across the wire: d is served by package sdk in this process, a child process passes
// the bytes on, and package host runs that child as any worker. The test's TestMain is [Main].
func Wire(t *testing.T, d drivers.Driver) drivers.Driver {
	t.Helper()
	key := d.Describe().Provider
	p := sdk.Plugin{Manifest: pluginManifest(), Drivers: map[string]drivers.Driver{key: d}, Drain: 2 * time.Second}
	return reach(t, p, key, d.Describe(), []string{"/proc/self/exe", bridgeArg, serve(t, p)})
}

// Process returns a driver of a worker in a process of its own: the one that [Main] knows as worker, with these arguments.
// The driver's key is its provider's name.
func Process(t *testing.T, workers map[string]Worker, worker string, args ...string) drivers.Driver {
	t.Helper()
	p, err := workers[worker](args) // for the manifest; the one that is served is made there
	require.NoError(t, err)
	if p.Closed != nil {
		t.Cleanup(func() { require.NoError(t, p.Closed()) })
	}
	require.Len(t, p.Drivers, 1)
	p.Manifest = pluginManifest()
	for key, d := range p.Drivers {
		return reach(t, p, key, d.Describe(), Command(worker, args...))
	}
	return nil
}

// Command starts a worker that [Main] knows.
func Command(worker string, args ...string) []string {
	return append([]string{"/proc/self/exe", workerArg, worker}, args...)
}

func pluginManifest() sdk.Manifest {
	return sdk.Manifest{ID: "tenure-test.wire", Version: "1.0.0", DisplayName: "Across the wire", Author: "Tenure"}
}

// serve serves p to whoever connects, one after the other, and returns where.
func serve(t *testing.T, p sdk.Plugin) (socket string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "wire-") //nolint:usetesting // a socket's name must be short, and t.TempDir's is not
	require.NoError(t, err)
	socket = filepath.Join(dir, "s")
	var c net.ListenConfig
	l, err := c.Listen(t.Context(), "unix", socket)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var served sync.WaitGroup
	served.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			served.Go(func() {
				if err := sdk.ServeOn(ctx, p, conn, conn); err != nil {
					t.Errorf("serve a plugin: %v", err)
				}
				_ = conn.Close()
			})
		}
	})
	t.Cleanup(func() {
		cancel()
		_ = l.Close()
		served.Wait()
		_ = os.RemoveAll(dir)
	})
	return socket
}

// reach installs a plugin in a host of its own and returns its driver.
func reach(t *testing.T, p sdk.Plugin, key string, said drivers.Description, command []string) drivers.Driver {
	t.Helper()
	raw, err := p.ManifestJSON()
	require.NoError(t, err)
	m, err := manifest.Parse(raw)
	require.NoError(t, err)
	about := drivers.Plugin{ID: uuid.NewString(), Key: m.ID, Version: m.Version}
	workers := Host(t, host.Installed{Plugin: about, Manifest: m, Command: command, Enabled: true, AsRoot: true})
	query := provider.Query{Kind: provider.KindSandbox, Key: key}
	offer, err := workers.Offer(query)
	require.NoError(t, err)
	_, err = offer.Worker(t.Context()) // what it can do is known once it ran
	require.NoError(t, err)
	offer, err = workers.Offer(query)
	require.NoError(t, err)
	shape := provider.Shape{
		Driver: said.Name, Provider: said.Provider, NoRuntimeURL: true,
		Metadata: func(_ provider.Description, _, said json.RawMessage, _ *string) json.RawMessage { return said },
		Said:     func(metadata json.RawMessage) json.RawMessage { return metadata },
	}
	return &wired{Driver: provider.NewDriver(offer, shape, provider.NewLate(), nil), offer: offer, checks: said.Capabilities.CheckConfig}
}

// Host runs plugins in a directory of its own until t ends.
func Host(t *testing.T, plugins ...host.Installed) *host.Host {
	t.Helper()
	h, err := host.New(host.Options{
		Dir: t.TempDir(), HostVersion: "0.0.0", InstanceID: uuid.NewString(),
		// A test's own binary, on a busy machine.
		Timeouts: host.Timeouts{Initialize: time.Minute, HealthReply: 5 * time.Minute},
	})
	require.NoError(t, err)
	require.NoError(t, h.Set(plugins))
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 2*time.Minute)
		defer cancel()
		require.NoError(t, h.Stop(ctx))
	})
	return h
}

// wired is the driver of the seam, but that it lets the worker judge configurations: an engine goes by the schema of the
// manifest alone, since it must not start a process for that.
type wired struct {
	*provider.Driver
	offer  provider.Offer
	checks bool
}

// Describe implements [drivers.Driver].
func (w *wired) Describe() drivers.Description {
	said := w.Driver.Describe()
	said.Capabilities.CheckConfig = w.checks
	return said
}

// CheckConfig implements [drivers.ConfigChecker].
func (w *wired) CheckConfig(config json.RawMessage) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	worker, err := w.offer.Worker(ctx)
	if err != nil {
		return err
	}
	_, err = worker.ValidateConfig(ctx, config)
	return err
}

var (
	_ drivers.Driver        = (*wired)(nil)
	_ drivers.Executor      = (*wired)(nil)
	_ drivers.ConfigChecker = (*wired)(nil)
)
