package ssh

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/driverstest"
	"github.com/tenure-dev/tenure/drivers/runtimeurl"
	"github.com/tenure-dev/tenure/drivers/ssh/sshtest"
)

func TestARuntimeIsTheRemoteWorkspaceItself(t *testing.T) {
	t.Parallel()
	s := sshtest.Start(t, sshtest.Options{})
	root := filepath.Join(t.TempDir(), "deep", "it's a work space")
	d := newDriver(t, Options{})
	req, rt, err := acquire(t, d, encode(t, s.Fields(root), nil))
	require.NoError(t, err)
	require.Equal(t, fmt.Sprintf("ssh://%s@127.0.0.1:%d%s", s.User, s.Port, root), *rt.ProviderLeaseID)
	require.JSONEq(t, string(drivers.Metadata(map[string]any{
		"host": "127.0.0.1", "port": s.Port, "username": s.User, "remoteWorkspacePath": root, "remoteCwd": root, "paperclipApiUrl": nil,
		"runtimeIdentity": drivers.IdentityOf(rt.Metadata), "machine": machineHere(t),
	})), string(rt.Metadata))
	b, err := os.ReadFile(filepath.Join(root, ".tenure", "leases", req.RuntimeID))
	require.NoError(t, err)
	var m marker
	require.NoError(t, json.Unmarshal(b, &m))
	require.WithinDuration(t, time.Now(), m.CreatedAt, time.Minute)
	m.CreatedAt = time.Time{}
	require.NotEmpty(t, m.Identity)
	require.Equal(t, marker{
		RuntimeID: req.RuntimeID, Installation: req.Installation, Epoch: 1, LeaseID: req.LeaseID, Fence: req.Fence,
		Identity: drivers.IdentityOf(rt.Metadata),
	}, m)

	other, second, err := acquire(t, d, req.Config)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(root, "kept"), nil, 0o600))
	require.NoError(t, d.Release(t.Context(), drivers.ReleaseRequest{Handle: driverstest.HandleOf(req, rt)}))
	require.FileExists(t, filepath.Join(root, ".tenure", "leases", other.RuntimeID), "one lease does not disturb another")
	require.NoError(t, d.Release(t.Context(), drivers.ReleaseRequest{Handle: driverstest.HandleOf(other, second)}))
	left, err := os.ReadDir(root)
	require.NoError(t, err)
	require.Len(t, left, 1, "the workspace and what is in it stay, and nothing of ours")
	require.Equal(t, "kept", left[0].Name())
	require.NoError(t, os.RemoveAll(root))
	require.NoError(t, d.Release(t.Context(), drivers.ReleaseRequest{Handle: driverstest.HandleOf(req, rt)}), "what is gone is released")
	require.NoDirExists(t, root)
}

func TestAMarkerKeepsOutOlderHoldersAndOtherInstallations(t *testing.T) {
	t.Parallel()
	s := sshtest.Start(t, sshtest.Options{})
	d := newDriver(t, Options{})
	req, rt, err := acquire(t, d, encode(t, s.Fields(filepath.Join(t.TempDir(), "w")), nil))
	require.NoError(t, err)
	newer := req
	newer.Fence, newer.LeaseID = req.Fence+1, uuid.NewString()
	_, err = d.Acquire(t.Context(), newer)
	require.NoError(t, err)
	listed, err := d.ListRuntimes(t.Context(), drivers.ListRequest{Installation: driverstest.Installation, Config: req.Config})
	require.NoError(t, err)
	require.Len(t, listed, 1)
	require.Equal(t, newer.LeaseID, listed[0].LeaseID)
	_, err = d.Acquire(t.Context(), req)
	requireFailure(t, err, drivers.OutcomeAmbiguous, "read_marker", "stale_fence")
	other := newer
	other.Installation = "another"
	_, err = d.Acquire(t.Context(), other)
	requireFailure(t, err, drivers.OutcomeAmbiguous, "read_marker", "foreign_runtime")
	require.NoError(t, d.Release(t.Context(), drivers.ReleaseRequest{Handle: driverstest.HandleOf(newer, rt)}))
}

func TestHalfAReleaseIsListedAndFinished(t *testing.T) {
	t.Parallel()
	s := sshtest.Start(t, sshtest.Options{})
	root := filepath.Join(t.TempDir(), "w")
	d := newDriver(t, Options{})
	req, rt, err := acquire(t, d, encode(t, s.Fields(root), map[string]any{"workspaceMode": "per_lease"}))
	require.NoError(t, err)
	leases := filepath.Join(root, ".tenure", "leases")
	require.NoError(t, os.Rename(filepath.Join(leases, req.RuntimeID), filepath.Join(leases, req.RuntimeID+".gone")))
	require.NoError(t, os.WriteFile(filepath.Join(leases, "."+req.RuntimeID+".123"), []byte("half"), 0o600))
	listed, err := d.ListRuntimes(t.Context(), drivers.ListRequest{Installation: driverstest.Installation, Config: req.Config})
	require.NoError(t, err)
	require.Len(t, listed, 1)
	h := driverstest.HandleOf(req, rt)
	_, err = d.StartExec(t.Context(), drivers.ExecRequest{
		Handle: h, ExecID: "late", Argv: []string{"true"}, JournalDir: filepath.Join(t.TempDir(), "j"),
	})
	require.ErrorIs(t, err, drivers.ErrGone)
	require.NoError(t, d.Release(t.Context(), drivers.ReleaseRequest{Handle: h}))
	left, err := os.ReadDir(root)
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestReleaseRemovesWhatItsOwnersForbadeAndFollowsNoLink(t *testing.T) {
	t.Parallel()
	outside := t.TempDir()
	keep := filepath.Join(outside, "keep")
	require.NoError(t, os.WriteFile(keep, []byte("x"), 0o600))
	r := acquireOn(t, sshtest.Start(t, sshtest.Options{}), nil, Options{})
	done := r.Sh(`mkdir -p a/b/c d && echo x > a/b/c/f && ln -s ` + outside + ` link && ln -s ` + outside + ` d/link &&
		chmod 0 a/b/c a/b a && chmod 0 . && chmod 0 "$TMPDIR"`)
	require.Zero(t, done.ExitCode, "%s", done.Stderr)
	require.NoError(t, r.Release())
	left, err := os.ReadDir(r.Field("remoteWorkspacePath"))
	require.NoError(t, err)
	require.Empty(t, left)
	require.FileExists(t, keep)
}

func TestReleaseByAnotherProcessEndsWhatTheLeaseStarted(t *testing.T) {
	t.Parallel()
	s := sshtest.Start(t, sshtest.Options{})
	r := acquireOn(t, s, nil, Options{})
	mark := fmt.Sprintf("603.%d", os.Getpid())
	e, err := r.Start(drivers.ExecRequest{Argv: []string{"sh", "-c", `setsid sleep ` + mark + ` & echo begun; exec sleep ` + mark}})
	require.NoError(t, err)
	driverstest.AwaitOutput(t, e, "begun")
	require.NoError(t, newDriver(t, Options{}).Release(t.Context(), drivers.ReleaseRequest{Handle: r.Handle}))
	driverstest.RequireNoProcess(t, mark)
	done := r.Finish(e, time.Now())
	require.Equal(t, drivers.ExecSignaled, done.End, "its own process only sees that something killed it")
	require.Equal(t, "SIGKILL", done.Signal)
}

func TestAWorkspaceThatCannotBeUsedNamesItsStep(t *testing.T) {
	t.Parallel()
	s := sshtest.Start(t, sshtest.Options{})
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	for name, row := range map[string]struct {
		root, step, code string
		o                Options
	}{
		"a file":            {file, "make_workspace", "not_a_directory", Options{}},
		"below a file":      {file + "/below", "make_workspace", "not_a_directory", Options{}},
		"not enough space":  {filepath.Join(t.TempDir(), "w"), "free_space", "disk_full", Options{MinFree: 1 << 50}},
		"nobody may create": {"/proc/self/task/w", "make_workspace", "io_error", Options{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDriver(t, row.o)
			config := encode(t, s.Fields(row.root), nil)
			_, _, err := acquire(t, d, config)
			requireFailure(t, err, drivers.OutcomeRetryable, row.step, row.code)
			if row.code == "io_error" {
				return // what a probe may not make, it cannot try
			}
			probed, err := d.Probe(t.Context(), drivers.ProbeRequest{Config: config})
			require.NoError(t, err)
			require.Equal(t, row.step, probed.Phase, "%+v", probed)
			require.NotEmpty(t, probed.Diagnostics[0].Remediation)
		})
	}
}

func TestAProbeMakesNothingThatStays(t *testing.T) {
	t.Parallel()
	s := sshtest.Start(t, sshtest.Options{})
	above := t.TempDir()
	d := newDriver(t, Options{hide: []string{"perl"}})
	probed, err := d.Probe(t.Context(), drivers.ProbeRequest{Config: encode(t, s.Fields(filepath.Join(above, "a", "b")), nil)})
	require.NoError(t, err)
	require.True(t, probed.OK, "%+v", probed)
	codes := []string{}
	for _, diagnostic := range probed.Diagnostics {
		codes = append(codes, diagnostic.Code)
	}
	require.Equal(t, []string{"workspace_missing", "no_perl"}, codes)
	probed, err = d.Probe(t.Context(), drivers.ProbeRequest{Config: encode(t, s.Fields(above), nil)})
	require.NoError(t, err)
	require.True(t, probed.OK)
	left, err := os.ReadDir(above)
	require.NoError(t, err)
	require.Empty(t, left)
	probed, err = d.Probe(t.Context(), drivers.ProbeRequest{Config: json.RawMessage(`{"host": "h"}`)})
	require.NoError(t, err)
	require.Equal(t, "config", probed.Phase)
	require.Greater(t, len(probed.Diagnostics), 2)
}

// A30, over SSH
func TestTheURLOfTheAPIIsFoundFromTheHost(t *testing.T) {
	t.Parallel()
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/api/health" {
			fmt.Fprint(w, `{"status": "ok", "version": "1"}`)
		}
	}))
	t.Cleanup(api.Close)
	dead := httptest.NewServer(nil)
	dead.Close()
	found, err := runtimeurl.New(runtimeurl.Options{Listen: strings.TrimPrefix(api.URL, "http://"), Budget: 20 * time.Second})
	require.NoError(t, err)
	elsewhere, err := runtimeurl.New(runtimeurl.Options{Listen: strings.TrimPrefix(dead.URL, "http://"), Budget: 20 * time.Second})
	require.NoError(t, err)
	none, err := runtimeurl.New(runtimeurl.Options{Listen: strings.TrimPrefix(dead.URL, "http://"), Budget: time.Second})
	require.NoError(t, err)
	for name, lines := range map[string][]string{"with direct-tcpip": nil, "without": {"AllowTcpForwarding no"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := sshtest.Start(t, sshtest.Options{Lines: lines})
			configured, from := []string{dead.URL}, found
			if lines != nil {
				configured, from = []string{api.URL}, elsewhere // what nobody would derive
			}
			r := acquireOn(t, s, map[string]any{"workspaceMode": "per_lease", "runtimeApiCandidates": configured}, Options{RuntimeURL: from})
			require.Equal(t, api.URL, r.Field("paperclipApiUrl"))
			require.Equal(t, api.URL+"\n", string(r.Sh(`echo "$PAPERCLIP_API_URL"`).Stdout))
		})
	}
	t.Run("none answers", func(t *testing.T) {
		t.Parallel()
		s := sshtest.Start(t, sshtest.Options{})
		root := filepath.Join(t.TempDir(), "w")
		d := newDriver(t, Options{RuntimeURL: none})
		_, rt, err := acquire(t, d, encode(t, s.Fields(root), nil))
		require.NoError(t, err)
		require.Contains(t, string(rt.Metadata), `"paperclipApiUrl":null`)

		needed := filepath.Join(t.TempDir(), "w")
		config := encode(t, s.Fields(needed), map[string]any{"runtimeUrl": "required"})
		_, _, err = acquire(t, d, config)
		f := requireFailure(t, err, drivers.OutcomeDefinite, "discover_runtime_url", "runtime_url_unreachable")
		require.Contains(t, f.Err.Error(), dead.URL+": ")
		left, err := os.ReadDir(needed)
		require.NoError(t, err)
		require.Empty(t, left, "a definite failure leaves nothing")
		probed, err := d.Probe(t.Context(), drivers.ProbeRequest{Config: config})
		require.NoError(t, err)
		require.Equal(t, "discover_runtime_url", probed.Phase)
		require.Contains(t, probed.Diagnostics[0].Code+probed.Diagnostics[1].Code, "runtime_url_")
	})
}
