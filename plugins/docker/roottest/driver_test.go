package roottest

import (
	"context"
	"encoding/json"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/driverstest"
	"github.com/tenure-dev/tenure/plugins/docker"
	"github.com/tenure-dev/tenure/plugins/docker/dockertest"
)

// engine is the one of this test binary.
var engine *dockertest.Engine

func TestMain(m *testing.M) { dockertest.Main(m, &engine) }

func options() docker.Options {
	return docker.Options{Host: engine.Host, Inner: engine.Inner, Drain: 3 * time.Second}
}

func newDriver(t *testing.T, change ...func(*docker.Options)) *docker.Driver {
	t.Helper()
	opts := options()
	for _, c := range change {
		c(&opts)
	}
	d, err := docker.New(opts)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.Close()) })
	return d
}

// environment is a configuration with these fields.
func environment(t *testing.T, fields map[string]any) json.RawMessage {
	t.Helper()
	all := map[string]any{"image": dockertest.Image}
	for name, value := range fields {
		all[name] = value
	}
	raw, err := json.Marshal(all)
	require.NoError(t, err)
	return raw
}

func features(t *testing.T, fields map[string]any) driverstest.Features {
	t.Helper()
	return driverstest.Features{
		New:    func(t *testing.T) drivers.Driver { t.Helper(); return newDriver(t) },
		Config: environment(t, fields),
		BadConfigs: map[string]json.RawMessage{
			"config":       json.RawMessage(`[]`),
			"config.image": json.RawMessage(`{}`),
		},
		Posix: true, WholeTree: true, HostProcesses: true,
		Peer: func(t *testing.T, _ drivers.Driver) drivers.Driver { t.Helper(); return newDriver(t) },
		Lose: func(t *testing.T, _ drivers.Driver, h drivers.Handle) {
			t.Helper()
			for _, c := range containersOf(t, h.RuntimeID) {
				_, err := engine.Client.ContainerRemove(t.Context(), c.ID, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
				require.NoError(t, err)
			}
			volumes, err := engine.Client.VolumeList(t.Context(), client.VolumeListOptions{Filters: make(client.Filters).Add("label", "tenure.runtime="+h.RuntimeID)})
			require.NoError(t, err)
			for _, v := range volumes.Items {
				_, err := engine.Client.VolumeRemove(t.Context(), v.Name, client.VolumeRemoveOptions{})
				require.NoError(t, err)
			}
		},
		Usurp: map[string]driverstest.Usurper{
			"a container of somebody else": func(t *testing.T, _ drivers.Driver, h drivers.Handle) func() {
				t.Helper()
				return usurp(t, h, map[string]string{})
			},
			"another container with the same labels": func(t *testing.T, _ drivers.Driver, h drivers.Handle) func() {
				t.Helper()
				return usurp(t, h, nil)
			},
		},
		Unreachable: func(t *testing.T) driverstest.Unreachable {
			t.Helper()
			var away atomic.Bool
			host := engine.Proxy(t, func(http.ResponseWriter, *http.Request) bool {
				if away.Load() {
					panic(http.ErrAbortHandler) // which closes the connection
				}
				return false
			})
			return driverstest.Unreachable{
				Driver: newDriver(t, func(o *docker.Options) { o.Host = host }), Cut: func() { away.Store(true) }, Mend: func() { away.Store(false) },
			}
		},
	}
}

func containersOf(t *testing.T, runtimeID string) []container.Summary {
	t.Helper()
	listed, err := engine.Client.ContainerList(t.Context(), client.ContainerListOptions{
		All: true, Filters: make(client.Filters).Add("label", "tenure.runtime="+runtimeID),
	})
	require.NoError(t, err)
	return listed.Items
}

// usurp removes a runtime's container and makes another of its name, with these labels; nil are those that it had.
func usurp(t *testing.T, h drivers.Handle, labels map[string]string) (untouched func()) {
	t.Helper()
	old := containersOf(t, h.RuntimeID)
	require.Len(t, old, 1)
	if labels == nil {
		labels = old[0].Labels
	}
	_, err := engine.Client.ContainerRemove(t.Context(), old[0].ID, client.ContainerRemoveOptions{Force: true})
	require.NoError(t, err)
	made, err := engine.Client.ContainerCreate(t.Context(), client.ContainerCreateOptions{
		Name: "tenure-" + h.RuntimeID, Config: &container.Config{Image: dockertest.Image, Cmd: []string{"true"}, Labels: labels},
	})
	require.NoError(t, err)
	t.Cleanup(func() {
		_, _ = engine.Client.ContainerRemove(context.Background(), made.ID, client.ContainerRemoveOptions{Force: true}) // a release may have removed it
	})
	return func() {
		t.Helper()
		found, err := engine.Client.ContainerInspect(t.Context(), made.ID, client.ContainerInspectOptions{})
		require.NoError(t, err)
		require.Equal(t, "/tenure-"+h.RuntimeID, found.Container.Name)
		require.Equal(t, container.StateCreated, found.Container.State.Status)
	}
}
