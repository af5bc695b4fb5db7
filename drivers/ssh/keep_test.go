package ssh

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/driverstest"
	"github.com/tenure-dev/tenure/drivers/ssh/sshtest"
)

// Each way in which a host may have locks, and none.
func TestOlderHoldersAreKeptOutWithWhateverTheHostHas(t *testing.T) {
	t.Parallel()
	s := sshtest.Start(t, sshtest.Options{})
	for name, hide := range map[string][]string{
		"python3 and flock": {"perl"}, "a shell and flock": {"perl", "python3"}, "perl": {"flock"}, "python3": {"perl", "flock"},
		"a shell alone": {"perl", "python3", "flock"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := featuresOn(t, s, filepath.Join(t.TempDir(), "w"), map[string]any{"workspaceMode": "per_lease"}, Options{hide: hide})
			f.NoLock = slices.Contains(hide, "flock") && slices.Contains(hide, "perl") && slices.Contains(hide, "python3")
			driverstest.RunFence(t, f)
		})
	}
}

// acquireKept makes a runtime and gives it back.
func acquireKept(t *testing.T, d *Driver, config []byte) (resume drivers.ResumeRequest, keep drivers.KeepRequest) {
	t.Helper()
	req, rt, err := acquire(t, d, config)
	require.NoError(t, err)
	keep = drivers.KeepRequest{Handle: driverstest.HandleOf(req, rt), Attempt: 1}
	require.NoError(t, d.Keep(t.Context(), keep))
	t.Cleanup(func() {
		require.NoError(t, d.Release(context.WithoutCancel(t.Context()), drivers.ReleaseRequest{Handle: drivers.Handle{RuntimeID: req.RuntimeID, Config: config}}))
	})
	req.Fence++
	return drivers.ResumeRequest{AcquireRequest: req, ProviderLeaseID: rt.ProviderLeaseID, Metadata: rt.Metadata}, keep
}

func TestAnotherMachineAtTheAddressIsLeftAlone(t *testing.T) {
	t.Parallel()
	s := sshtest.Start(t, sshtest.Options{})
	id := filepath.Join(t.TempDir(), "machine-id")
	require.NoError(t, os.WriteFile(id, []byte("one\n"), 0o600))
	d := newDriver(t, Options{machineFile: id})
	resume, keep := acquireKept(t, d, encode(t, s.Fields(filepath.Join(t.TempDir(), "w")), nil))
	require.NotContains(t, string(resume.Metadata), `"one"`)
	require.NoError(t, os.WriteFile(id, []byte("two\n"), 0o600))
	_, err := d.Resume(t.Context(), resume)
	require.ErrorIs(t, err, drivers.ErrMismatch)
	require.NotErrorIs(t, err, drivers.ErrGone)
	err = d.Keep(t.Context(), keep)
	requireFailure(t, err, drivers.OutcomeDefinite, "check_identity", "another_machine")
	require.NotErrorIs(t, err, drivers.ErrGone, "nothing is known of the runtime")
	require.NoError(t, os.WriteFile(id, []byte("one\n"), 0o600))
	_, err = d.Resume(t.Context(), resume)
	require.NoError(t, err)
}

func TestAHostWithAnotherKeyIsNotTheOneThatHasTheRuntime(t *testing.T) {
	t.Parallel()
	s := sshtest.StartFake(t, sshtest.FakeOptions{})
	config := encode(t, s.Fields(filepath.Join(t.TempDir(), "w")), map[string]any{"strictHostKeyChecking": false, "knownHosts": nil})
	first := newDriver(t, Options{})
	resume, _ := acquireKept(t, first, config)
	s.NewHostKeys()
	_, err := newDriver(t, Options{}).Resume(t.Context(), resume)
	require.ErrorIs(t, err, drivers.ErrMismatch)
	requireFailure(t, err, drivers.OutcomeDefinite, "host_key", "host_key_mismatch")
}

// A place that is not there, such as a disk that is not mounted, says nothing of the runtimes in it.
func TestAWorkspaceThatIsNotThereIsNoProofThatARuntimeIsGone(t *testing.T) {
	t.Parallel()
	s := sshtest.Start(t, sshtest.Options{})
	root := filepath.Join(t.TempDir(), "w")
	d := newDriver(t, Options{})
	resume, keep := acquireKept(t, d, encode(t, s.Fields(root), nil))
	require.NoError(t, os.Rename(root, root+".away"))
	_, err := d.Resume(t.Context(), resume)
	requireFailure(t, err, drivers.OutcomeRetryable, "find_workspace", "workspace_missing")
	requireFailure(t, d.Keep(t.Context(), keep), drivers.OutcomeRetryable, "find_workspace", "workspace_missing")
	require.NoError(t, os.Rename(root+".away", root))
	_, err = d.Resume(t.Context(), resume)
	require.NoError(t, err)
}

// A crash of the engine in the middle of a resume leaves a runtime that nobody can use, and that can be resumed.
func TestAResumeThatWasCutShortIsFinishedByTheNext(t *testing.T) {
	t.Parallel()
	s := sshtest.Start(t, sshtest.Options{})
	root := filepath.Join(t.TempDir(), "w")
	d := newDriver(t, Options{})
	resume, _ := acquireKept(t, d, encode(t, s.Fields(root), nil))
	_, err := d.Resume(t.Context(), resume)
	require.NoError(t, err)
	path := filepath.Join(root, ".tenure", "leases", resume.RuntimeID)
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	m, err := wanted{resume.RuntimeID, resume.Installation, resume.Metadata}.read(string(b))
	require.NoError(t, err)
	m.Kept = true
	require.NoError(t, os.WriteFile(path, []byte(m.String()+"\n"), 0o600))
	start := func() error {
		h := driverstest.HandleOf(resume.AcquireRequest, drivers.Runtime{Metadata: resume.Metadata})
		e, err := d.StartExec(t.Context(), drivers.ExecRequest{Handle: h, ExecID: "x", Argv: []string{"true"}, JournalDir: filepath.Join(t.TempDir(), "j")})
		if err == nil {
			_, err = e.Wait(t.Context())
		}
		return err
	}
	stale := &drivers.StartError{}
	require.ErrorAs(t, start(), &stale)
	require.Equal(t, drivers.CodeStaleFence, stale.Code)
	_, err = d.Resume(t.Context(), resume)
	require.NoError(t, err)
	require.NoError(t, start())
}
