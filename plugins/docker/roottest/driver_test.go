package roottest

import (
	"encoding/json"
	"testing"
	"time"

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
	}
}
