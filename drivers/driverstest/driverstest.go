// Package driverstest is the conformance suite of drivers: what a driver declares is what it does. Every driver passes
// it, in process and across the plugin wire.
//
// A driver states its promises in a [Features]; nothing here asks for a driver's name.
package driverstest

import (
	"encoding/json"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/drivers"
)

// Features are the promises of one driver and the sizes at which they are tested.
type Features struct {
	// New returns a driver for one test. What it needs is cleaned up by t.
	New func(t *testing.T) drivers.Driver
	// Config is a configuration that works.
	Config json.RawMessage
	// BadConfigs are configurations that do not, by the field that the error must name.
	BadConfigs map[string]json.RawMessage
	// Posix says that commands are real programs of a POSIX system with a shell. Without it only echo, cat, false and
	// sleep need to work.
	Posix bool
	// WholeTree says that no descendant outlives a command, whatever session it moved to.
	WholeTree bool
	// HostProcesses says that commands run in the process table of this machine, so that survivors can be looked for.
	HostProcesses bool
	// OutputBytes is how much one command writes in the test of large outputs; 0 is 20 MB.
	OutputBytes int64
	// Repeats is how often a short command runs in the test of lost outputs; 0 is 50.
	Repeats int
	// The following are for drivers with Keep. Lose removes a runtime behind the driver's back, Usurp puts something else in its
	// place in one of several ways. Peer is another driver of the same runtimes, as another worker has it; nil for none.
	// Unreachable is nil where there is no way that could be cut. NoLock says that nothing there can be locked, so that a resume
	// and a late teardown in one moment may both succeed, which the driver's documentation says.
	Lose        func(t *testing.T, d drivers.Driver, h drivers.Handle)
	Usurp       map[string]Usurper
	Peer        func(t *testing.T, d drivers.Driver) drivers.Driver
	Unreachable func(t *testing.T) Unreachable
	NoLock      bool
}

// Run tests a driver. The test process must itself have the variable [MarkerName] in its environment, with [Marker] as
// its value, before the driver is made: see [Main].
func Run(t *testing.T, f Features) {
	if f.OutputBytes == 0 {
		f.OutputBytes = 20_000_000
	}
	if f.Repeats == 0 {
		f.Repeats = 50
	}
	if f.Config == nil {
		f.Config = json.RawMessage(`{}`)
	}
	t.Run("Description", func(t *testing.T) { t.Parallel(); testDescription(t, f) })
	t.Run("Runtime", func(t *testing.T) { t.Parallel(); testRuntime(t, f) })
	probe := f.New(t).Describe()
	if probe.Capabilities.Keep {
		t.Run("Keep", func(t *testing.T) { t.Parallel(); testKeep(t, f) })
	}
	if !probe.Capabilities.Exec {
		return
	}
	t.Run("Exec", func(t *testing.T) { t.Parallel(); testExec(t, f) })
	if f.Posix {
		t.Run("Posix", func(t *testing.T) { t.Parallel(); testPosix(t, f) })
		t.Run("Output", func(t *testing.T) { t.Parallel(); testOutput(t, f) })
		t.Run("End", func(t *testing.T) { t.Parallel(); testEnd(t, f) })
		t.Run("Environment", func(t *testing.T) { t.Parallel(); testEnvironment(t, f) })
	}
}

// Installation is the installation id of every runtime that the suite makes.
const Installation = "driverstest"

// AcquireRequest is a request for a new runtime.
func AcquireRequest(f Features) drivers.AcquireRequest {
	return drivers.AcquireRequest{
		RuntimeID: "rt-" + uuid.NewString(), Installation: Installation, Epoch: 1, Attempt: 1, Fence: 1<<40 + 7,
		LeaseID: uuid.NewString(), CompanyID: uuid.NewString(), EnvironmentID: uuid.NewString(), RunID: "run-1",
		Config: f.Config,
	}
}

// HandleOf names the runtime that rt is.
func HandleOf(req drivers.AcquireRequest, rt drivers.Runtime) drivers.Handle {
	return drivers.Handle{
		RuntimeID: req.RuntimeID, ProviderLeaseID: rt.ProviderLeaseID, Metadata: rt.Metadata, Config: req.Config,
		Installation: req.Installation, Fence: req.Fence, LeaseID: req.LeaseID, CompanyID: req.CompanyID,
		EnvironmentID: req.EnvironmentID, IssueID: req.IssueID,
	}
}

func testDescription(t *testing.T, f Features) {
	d := f.New(t)
	said := d.Describe()
	require.Equal(t, said, d.Describe(), "the description never changes")
	require.NotEmpty(t, said.Name)
	require.NotEmpty(t, said.Provider)
	require.NotEmpty(t, said.Isolation)
	require.Contains(t, []drivers.Class{drivers.ClassIdempotent, drivers.ClassListable, drivers.ClassBlind}, said.Class)
	require.False(t, said.Class == drivers.ClassListable && !said.Capabilities.List, "a listable driver lists")

	_, err := drivers.ListRuntimes(t.Context(), d, listRequest(f, Installation))
	require.Equal(t, said.Capabilities.List, err == nil, "list: declared against real: %v", err)
	err = drivers.CheckConfig(d, f.Config)
	require.Equal(t, said.Capabilities.CheckConfig, err == nil, "check config: declared against real: %v", err)
	probed, err := drivers.Probe(t.Context(), d, drivers.ProbeRequest{CompanyID: uuid.NewString(), Config: f.Config})
	require.Equal(t, said.Capabilities.Probe, err == nil, "probe: declared against real: %v", err)
	if said.Capabilities.Probe {
		require.True(t, probed.OK, "%+v", probed)
		require.NotEmpty(t, probed.Summary)
	} else {
		require.ErrorIs(t, err, drivers.ErrUnsupported)
	}
	testKeepDeclared(t, f, d)
	if !said.Capabilities.List {
		_, err := drivers.ListRuntimes(t.Context(), d, listRequest(f, Installation))
		require.ErrorIs(t, err, drivers.ErrUnsupported)
	}
	if !said.Capabilities.Exec {
		_, err := drivers.StartExec(t.Context(), d, drivers.ExecRequest{})
		require.ErrorIs(t, err, drivers.ErrUnsupported)
	}
	if !said.Capabilities.CheckConfig {
		require.ErrorIs(t, drivers.CheckConfig(d, f.Config), drivers.ErrUnsupported)
		return
	}
	for field, config := range f.BadConfigs {
		problem := &drivers.ConfigError{}
		require.ErrorAs(t, drivers.CheckConfig(d, config), &problem)
		require.Equal(t, field, problem.Problems[0].Field)
		require.NotEmpty(t, problem.Problems[0].Remediation)
	}
}

// testKeepDeclared asks for what never was: a driver that keeps says that it is gone.
func testKeepDeclared(t *testing.T, f Features, d drivers.Driver) {
	t.Helper()
	want := drivers.ErrUnsupported
	if d.Describe().Capabilities.Keep {
		want = drivers.ErrGone
	}
	there := AcquireRequest(f) // so that the place of runtimes is there
	rt, err := d.Acquire(t.Context(), there)
	require.NoError(t, err)
	defer func() {
		require.NoError(t, d.Release(t.Context(), drivers.ReleaseRequest{Handle: HandleOf(there, rt), Attempt: 1}))
	}()
	req := AcquireRequest(f)
	handle := HandleOf(req, drivers.Runtime{})
	require.ErrorIs(t, drivers.Keep(t.Context(), d, drivers.KeepRequest{Handle: handle, Attempt: 1}), want)
	_, err = drivers.Resume(t.Context(), d, drivers.ResumeRequest{AcquireRequest: req})
	require.ErrorIs(t, err, want)
	requireListed(t, f, d, req, 0)
}

func testRuntime(t *testing.T, f Features) {
	t.Run("what is acquired is listed until it is released", func(t *testing.T) {
		t.Parallel()
		d := f.New(t)
		req := AcquireRequest(f)
		rt, err := d.Acquire(t.Context(), req)
		require.NoError(t, err)
		require.False(t, rt.Resumed)
		requireListed(t, f, d, req, 1)
		release := drivers.ReleaseRequest{Handle: HandleOf(req, rt), Attempt: 1}
		require.NoError(t, d.Release(t.Context(), release))
		requireListed(t, f, d, req, 0)
		require.NoError(t, d.Release(t.Context(), release), "a second release is harmless")
	})
	t.Run("a repeated acquire keeps what its class promises", func(t *testing.T) {
		t.Parallel()
		d := f.New(t)
		req := AcquireRequest(f)
		first, err := d.Acquire(t.Context(), req)
		require.NoError(t, err)
		req.Attempt = 2
		second, err := d.Acquire(t.Context(), req)
		require.NoError(t, err)
		if d.Describe().Class == drivers.ClassIdempotent {
			require.True(t, second.Resumed)
			second.Resumed = first.Resumed
			require.Equal(t, first, second)
			requireListed(t, f, d, req, 1)
		}
		require.NoError(t, d.Release(t.Context(), drivers.ReleaseRequest{Handle: HandleOf(req, first), Attempt: 1}))
		require.NoError(t, d.Release(t.Context(), drivers.ReleaseRequest{Handle: HandleOf(req, second), Attempt: 1}))
		requireListed(t, f, d, req, 0)
	})
	t.Run("racing acquires of one id make one runtime", func(t *testing.T) {
		t.Parallel()
		d := f.New(t)
		if d.Describe().Class != drivers.ClassIdempotent {
			return
		}
		req := AcquireRequest(f)
		const callers = 8
		var made atomic.Int32
		errs := make(chan error, callers)
		for range callers {
			go func() {
				rt, err := d.Acquire(t.Context(), req)
				if err == nil && !rt.Resumed {
					made.Add(1)
				}
				errs <- err
			}()
		}
		for range callers {
			require.NoError(t, <-errs)
		}
		require.EqualValues(t, 1, made.Load())
		requireListed(t, f, d, req, 1)
		require.NoError(t, d.Release(t.Context(), drivers.ReleaseRequest{Handle: HandleOf(req, drivers.Runtime{}), Attempt: 1}))
	})
	t.Run("a runtime that never was can be released", func(t *testing.T) {
		t.Parallel()
		d := f.New(t)
		if d.Describe().Class == drivers.ClassBlind {
			return // it knows runtimes by the names that it gave them
		}
		handle := HandleOf(AcquireRequest(f), drivers.Runtime{})
		require.NoError(t, d.Release(t.Context(), drivers.ReleaseRequest{Handle: handle, Attempt: 1}))
	})
	t.Run("runtimes of another installation are not listed", func(t *testing.T) {
		t.Parallel()
		d := f.New(t)
		if !d.Describe().Capabilities.List {
			return
		}
		req := AcquireRequest(f)
		rt, err := d.Acquire(t.Context(), req)
		require.NoError(t, err)
		listed, err := drivers.ListRuntimes(t.Context(), d, listRequest(f, "somebody else"))
		require.NoError(t, err)
		require.Empty(t, listed)
		require.NoError(t, d.Release(t.Context(), drivers.ReleaseRequest{Handle: HandleOf(req, rt), Attempt: 1}))
	})
}

func listRequest(f Features, installation string) drivers.ListRequest {
	return drivers.ListRequest{Installation: installation, Config: f.Config}
}

func requireListed(t *testing.T, f Features, d drivers.Driver, req drivers.AcquireRequest, want int) {
	t.Helper()
	if !d.Describe().Capabilities.List {
		return
	}
	all, err := drivers.ListRuntimes(t.Context(), d, listRequest(f, Installation))
	require.NoError(t, err)
	found := 0
	for _, r := range all {
		if r.RuntimeID != req.RuntimeID {
			continue
		}
		found++
		require.Equal(t, req.LeaseID, r.LeaseID)
		require.Equal(t, req.Epoch, r.Epoch)
		require.False(t, r.CreatedAt.IsZero())
	}
	require.Equal(t, want, found)
}

// The marker that stands for a secret of the engine. It must reach no command.
const (
	MarkerName = "TENURE_TEST_MARKER"
	Marker     = "marker-3f1c9a"
)

func containsMarker(b []byte) bool { return strings.Contains(string(b), Marker) }
