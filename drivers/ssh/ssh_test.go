package ssh

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/driverstest"
	"github.com/tenure-dev/tenure/drivers/ssh/sshtest"
)

func TestMain(m *testing.M) { driverstest.Main(m, func() int { return 2 }) }

// newDriver returns a driver whose connections end with t. What is to succeed has the time of a busy machine.
func newDriver(t *testing.T, o Options) *Driver {
	t.Helper()
	for _, limit := range []struct {
		of   *time.Duration
		busy time.Duration
	}{{&o.Drain, 3 * time.Second}, {&o.ConnectTimeout, time.Minute}, {&o.SessionWait, 2 * time.Minute}, {&o.ScriptLimit, 3 * time.Minute}} {
		*limit.of = cmp.Or(*limit.of, limit.busy)
	}
	d, err := New(o)
	require.NoError(t, err)
	t.Cleanup(d.Close)
	return d
}

// encode is a configuration with some fields changed; nil removes one.
func encode(t *testing.T, fields map[string]any, change map[string]any) json.RawMessage {
	t.Helper()
	fields = maps.Clone(fields)
	for k, v := range change {
		if v == nil {
			delete(fields, k)
		} else {
			fields[k] = v
		}
	}
	b, err := json.Marshal(fields)
	require.NoError(t, err)
	return b
}

// featuresOn are the promises of the driver on a server.
func featuresOn(t *testing.T, s *sshtest.Server, root string, change map[string]any, o Options) driverstest.Features {
	t.Helper()
	d := newDriver(t, o)
	peer := newDriver(t, o)
	f := driverstest.Features{
		New:    func(*testing.T) drivers.Driver { return d },
		Peer:   func(*testing.T, drivers.Driver) drivers.Driver { return peer },
		Config: encode(t, s.Fields(root), change),
		Posix:  true, WholeTree: true, HostProcesses: true,
		Lose: func(t *testing.T, _ drivers.Driver, h drivers.Handle) {
			require.NoError(t, os.Remove(filepath.Join(root, ".tenure", "leases", h.RuntimeID)))
		},
		Usurp: map[string]driverstest.Usurper{
			"a runtime of another identity": func(t *testing.T, _ drivers.Driver, h drivers.Handle) func() {
				return driverstest.Remark(t, filepath.Join(root, ".tenure", "leases", h.RuntimeID), "identity")
			},
			"a runtime of another installation": func(t *testing.T, _ drivers.Driver, h drivers.Handle) func() {
				return driverstest.Remark(t, filepath.Join(root, ".tenure", "leases", h.RuntimeID), "installation")
			},
			"a damaged marker": func(t *testing.T, _ drivers.Driver, h drivers.Handle) func() {
				return driverstest.Put(t, filepath.Join(root, ".tenure", "leases", h.RuntimeID), "{")
			},
		},
		Unreachable: func(t *testing.T) driverstest.Unreachable {
			p := sshtest.StartProxy(t, fmt.Sprintf("%s:%d", s.Host, s.Port))
			away := map[string]any{
				"port": p.Port, "connectTimeoutMs": 1000,
				"knownHosts": strings.ReplaceAll(s.KnownHosts(), fmt.Sprint(s.Port), fmt.Sprint(p.Port)),
			}
			maps.Copy(away, change)
			u := driverstest.Unreachable{Driver: newDriver(t, o), Config: encode(t, s.Fields(root), away), Mend: p.Thaw}
			u.Cut = func() {
				p.Freeze()
				p.Cut()
			}
			return u
		},
	}
	if change["workspaceMode"] == "per_lease" {
		f.Usurp["a directory that somebody made"] = func(t *testing.T, _ drivers.Driver, h drivers.Handle) func() {
			dir := filepath.Join(root, h.RuntimeID)
			require.NoError(t, os.Rename(dir, dir+".away"))
			t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir+".away")) })
			return driverstest.Put(t, filepath.Join(dir, "theirs"), "theirs")
		}
	}
	return f
}

// machineHere is what metadata says of this machine.
func machineHere(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("/etc/machine-id")
	if errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	require.NoError(t, err)
	return machineOf(strings.TrimSpace(string(b)))
}

func TestTheSSHDriverKeepsItsPromises(t *testing.T) {
	t.Parallel()
	s := sshtest.Start(t, sshtest.Options{})
	root := filepath.Join(t.TempDir(), "work")
	f := featuresOn(t, s, root, map[string]any{"workspaceMode": "per_lease"}, Options{})
	f.BadConfigs = map[string]json.RawMessage{
		"config":                     json.RawMessage(`[]`),
		"config.image":               encode(t, s.Fields(root), map[string]any{"image": "debian"}),
		"config.host":                encode(t, s.Fields(root), map[string]any{"host": nil}),
		"config.port":                encode(t, s.Fields(root), map[string]any{"port": 0}),
		"config.username":            encode(t, s.Fields(root), map[string]any{"username": ""}),
		"config.remoteWorkspacePath": encode(t, s.Fields(root), map[string]any{"remoteWorkspacePath": "work"}),
	}
	t.Cleanup(func() {
		if entries, err := os.ReadDir(root); err == nil && !t.Failed() {
			require.Empty(t, entries, "what the leases made is gone")
		}
	})
	driverstest.Run(t, f)
}

var errGaveUp = errors.New("the client gave up")

// withCause is a context that ends soon, for a reason of its own.
func withCause(t *testing.T, after time.Duration) (context.Context, context.CancelFunc) {
	t.Helper()
	return context.WithTimeoutCause(t.Context(), after, errGaveUp)
}

func requestFor(config json.RawMessage) drivers.AcquireRequest {
	return driverstest.AcquireRequest(driverstest.Features{Config: config})
}
