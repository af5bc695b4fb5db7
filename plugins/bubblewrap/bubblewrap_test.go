package bubblewrap

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/driverstest"
	"github.com/tenure-dev/tenure/drivers/execparent"
	"github.com/tenure-dev/tenure/drivers/rundir/rundirtest"
)

func TestMain(m *testing.M) { driverstest.Main(m, execparent.Main) }

// testUID is a user that the machine need not know; sandboxes run as it if the tests run as root.
const testUID = 64718

// passable is a temporary directory that another user can pass through, and not below /tmp, which a sandbox has of its own.
func passable(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "tenure-bwrap-") //nolint:usetesting // see above
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	require.NoError(t, os.Chmod(dir, 0o711))
	return dir
}

func options(root string) Options {
	return Options{
		Root: root, ParentCommand: []string{"/proc/self/exe", driverstest.ParentArg}, UID: testUID, GID: testUID, Drain: 3 * time.Second,
	}
}

func newDriver(t *testing.T) drivers.Driver {
	t.Helper()
	d, err := New(options(filepath.Join(passable(t), "runtimes")))
	require.NoError(t, err)
	return d
}

func features() driverstest.Features {
	f := driverstest.Features{
		New: newDriver, Peer: func(t *testing.T, d drivers.Driver) drivers.Driver {
			other, err := New(options(d.(*Driver).runtimes.Root()))
			require.NoError(t, err)
			return other
		},
		BadConfigs: map[string]json.RawMessage{
			"config":                  json.RawMessage(`[]`),
			"config.image":            json.RawMessage(`{"image": "debian"}`),
			"config.memoryMb":         json.RawMessage(`{"memoryMb": "512"}`),
			"config.pids":             json.RawMessage(`{"pids": 1.5}`),
			"config.cpus":             json.RawMessage(`{"cpus": 0}`),
			"config.network":          json.RawMessage(`{"network": "bridge"}`),
			"config.readOnlyPaths":    json.RawMessage(`{"readOnlyPaths": "/opt"}`),
			"config.readOnlyPaths[1]": json.RawMessage(`{"readOnlyPaths": ["/opt", "opt"]}`),
			"config.timeoutMs":        json.RawMessage(`{"timeoutMs": -1}`),
			"config.limits":           json.RawMessage(`{"limits": true}`),
		},
		Posix: true, WholeTree: true, HostProcesses: true,
	}
	return rundirtest.Keeps(f, func(d drivers.Driver) string { return d.(*Driver).runtimes.Root() })
}

func TestTheDriverKeepsItsPromises(t *testing.T) {
	t.Parallel()
	driverstest.Run(t, features())
}
