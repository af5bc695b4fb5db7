package bubblewrap

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/driverstest"
)

// with is a driver with changed options.
func with(t *testing.T, change func(*Options)) *Driver {
	t.Helper()
	opts := options(filepath.Join(passable(t), "runtimes"))
	change(&opts)
	d, err := New(opts)
	require.NoError(t, err)
	return d
}

// fakeBwrap is a program that stands for a bwrap which fails.
func fakeBwrap(t *testing.T, script string) string {
	t.Helper()
	path := filepath.Join(passable(t), "bwrap")
	require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\n"+script+"\n"), 0o755))
	return path
}

func start(t *testing.T, d *Driver) error {
	t.Helper()
	req := driverstest.AcquireRequest(features())
	rt, err := d.Acquire(t.Context(), req)
	require.NoError(t, err)
	handle := driverstest.HandleOf(req, rt)
	_, failure := d.StartExec(t.Context(), drivers.ExecRequest{
		Handle: handle, ExecID: "1", Argv: []string{"true"}, JournalDir: filepath.Join(t.TempDir(), "j"),
	})
	require.NoError(t, d.Release(t.Context(), drivers.ReleaseRequest{Handle: handle, Attempt: 1}))
	return failure
}

func TestBwrapsOwnFailureIsNoExitCode(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ script, code, says string }{
		{`echo "bwrap: No permissions to create new namespace, likely because the kernel does not allow it" >&2; exit 1`, "no_user_namespaces", "No permissions"},
		{`echo "bwrap: Can't find source path /opt/x: No such file or directory" >&2; exit 1`, "missing_mount", "/opt/x"},
		{`echo "bwrap: Can't mount proc on /newroot/proc: Operation not permitted" >&2; exit 1`, "no_proc_mount", "mount proc"},
		{`exit 127`, "sandbox_failed", "without a word"},
	} {
		d := with(t, func(o *Options) { o.Bwrap = fakeBwrap(t, row.script) })
		err := start(t, d)
		f, ok := errors.AsType[*drivers.StartError](err)
		require.True(t, ok, "%v", err)
		require.Equal(t, "sandbox", f.Stage)
		require.Equal(t, row.code, f.Code)
		require.Contains(t, f.Error(), row.says)
		require.NotEmpty(t, f.Remediation)
		probed, err := d.Probe(t.Context(), drivers.ProbeRequest{})
		require.NoError(t, err)
		require.False(t, probed.OK)
		requireOnlyEtc(t, d.runtimes.Root())
	}
}

func TestAProbeNamesThePhaseThatFailed(t *testing.T) {
	t.Parallel()
	works := `case "$1" in --version) echo bubblewrap 0.8.0; exit 0;; esac; `
	d := with(t, func(o *Options) {
		o.Bwrap = fakeBwrap(t, works+`echo "bwrap: setting up uid map: Permission denied" >&2; exit 1`)
	})
	probed, err := d.Probe(t.Context(), drivers.ProbeRequest{})
	require.NoError(t, err)
	require.Equal(t, "sandbox", probed.Phase)
	require.Equal(t, "no_user_namespaces", last(probed).Code)
	require.NotEmpty(t, last(probed).Remediation)
	requireOnlyEtc(t, d.runtimes.Root())

	probed, err = d.Probe(t.Context(), drivers.ProbeRequest{Config: json.RawMessage(`{"memoryMb": 64}`)})
	require.NoError(t, err)
	require.Equal(t, "acquire", probed.Phase)
	require.Equal(t, "limits_unavailable", last(probed).Code)
	probed, err = d.Probe(t.Context(), drivers.ProbeRequest{Config: json.RawMessage(`{"network": 1}`)})
	require.NoError(t, err)
	require.Equal(t, "config", probed.Phase)
	require.Contains(t, last(probed).Message, "config.network")
	d = with(t, func(o *Options) { o.Bwrap = "/no/such/bwrap" })
	probed, err = d.Probe(t.Context(), drivers.ProbeRequest{})
	require.NoError(t, err)
	require.Equal(t, "bwrap", probed.Phase)
}

func last(p drivers.ProbeResult) drivers.Diagnostic { return p.Diagnostics[len(p.Diagnostics)-1] }

func TestWhatCannotWorkIsRefusedBeforeAnythingIsMade(t *testing.T) {
	t.Parallel()
	offered := passable(t)
	tools := filepath.Join(offered, "tools")
	require.NoError(t, os.Mkdir(tools, 0o755))
	require.NoError(t, os.Symlink("/etc", filepath.Join(offered, "link")))
	var root string
	d := with(t, func(o *Options) {
		o.Root = filepath.Join(offered, "runtimes")
		o.ReadOnlyBases, root = []string{offered}, o.Root
	})
	paths := func(p ...string) json.RawMessage {
		raw, err := json.Marshal(map[string]any{"readOnlyPaths": p})
		require.NoError(t, err)
		return raw
	}
	for _, row := range []struct {
		config     json.RawMessage
		code, says string
	}{
		{json.RawMessage(`{"memoryMb": 64, "cpus": 1}`), "limits_unavailable", "memoryMb, cpus"},
		{json.RawMessage(`{"image": 1}`), "bad_config", "config.image"},
		{paths(tools, filepath.Join(offered, "absent")), "bad_config", `readOnlyPaths[1]: "` + offered + `/absent" does not exist`},
		{paths("/etc"), "bad_config", "is not below one of"},
		{paths("/"), "bad_config", "is not below one of"},
		{paths(tools + "/../../../../etc/shadow"), "bad_config", "is not below one of"},
		{paths(filepath.Join(offered, "link")), "bad_config", "is not below one of"},
		{paths(root), "bad_config", "is not below one of"},
		{paths(offered), "bad_config", "is not below one of"},
	} {
		req := driverstest.AcquireRequest(features())
		req.Config = row.config
		_, err := d.Acquire(t.Context(), req)
		f, ok := errors.AsType[*drivers.Failure](err)
		require.True(t, ok, "%s: %v", row.config, err)
		require.Equal(t, drivers.OutcomeDefinite, f.Outcome)
		require.Equal(t, row.code, f.Code)
		require.Contains(t, f.Error(), row.says)
		require.NotEmpty(t, f.Remediation)
	}
	requireOnlyEtc(t, root)

	require.NoError(t, os.WriteFile(filepath.Join(tools, "tool"), []byte("#!/bin/sh\necho works\n"), 0o755))
	f := features()
	inside := filepath.Join(offered, "inside")
	require.NoError(t, os.Symlink(tools, inside))
	f.Config, f.New = paths(tools, inside), func(*testing.T) drivers.Driver { return d }
	r := driverstest.Acquire(t, f)
	require.Equal(t, "works\n", string(r.Run(drivers.ExecRequest{Argv: []string{filepath.Join(tools, "tool")}}).Stdout))
	require.Equal(t, "works\n", string(r.Sh(inside+"/tool").Stdout), "a link to what may be shown is shown under its own name")
	require.NotZero(t, r.Sh(`echo x >> `+tools+`/tool`).ExitCode)
	require.NoError(t, os.RemoveAll(tools))
	_, err := r.Start(drivers.ExecRequest{Argv: []string{"true"}})
	start, ok := errors.AsType[*drivers.StartError](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, "sandbox", start.Stage)
}

func TestLimitsThatAreNotKeptAreSaid(t *testing.T) {
	t.Parallel()
	f := features()
	f.Config = []byte(`{"memoryMb": 64, "pids": 20, "timeoutMs": 5000, "limits": "best_effort"}`)
	r := driverstest.Acquire(t, f)
	require.JSONEq(t, `{"workspace": "/workspace", "network": "none", "cgroups": "none", "runtimeIdentity": "`+r.Field("runtimeIdentity")+`",
		"limits": {"timeoutMs": 5000}, "limitsNotEnforced": ["memoryMb", "pids"]}`, string(r.Handle.Metadata))
	require.Zero(t, r.Sh(`true`).ExitCode)
}

func TestAMissingBwrapIsNamed(t *testing.T) {
	t.Parallel()
	d := with(t, func(o *Options) { o.Bwrap = "/no/such/bwrap" })
	_, err := d.Acquire(t.Context(), driverstest.AcquireRequest(features()))
	f, ok := errors.AsType[*drivers.Failure](err)
	require.True(t, ok)
	require.Equal(t, "bwrap_missing", f.Code)
	require.Equal(t, drivers.OutcomeDefinite, f.Outcome)
	requireOnlyEtc(t, d.runtimes.Root())
}

func TestOptionsThatCannotWorkAreNamed(t *testing.T) {
	t.Parallel()
	_, err := New(Options{Root: "relative", Bwrap: "bwrap", UID: -1})
	for _, field := range []string{"Root", "ParentCommand", "Bwrap", "UID"} {
		require.ErrorContains(t, err, field)
	}
}
