package roottest

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/driverstest"
	"github.com/tenure-dev/tenure/drivers/provider"
	"github.com/tenure-dev/tenure/plugins/host"
	"github.com/tenure-dev/tenure/plugins/manifest"
)

// uid is a user that the machine need not know.
const uid = 64718

const workerArg = "__worker"

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == workerArg {
		syscall.Exit(runWorker())
	}
	driverstest.Main(m, func() int { return 2 })
}

// runWorker answers every acquire with what it sees of the world.
func runWorker() int {
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		var m struct {
			ID     int
			Method string
			Params struct{ Config struct{ Read []string } }
		}
		_ = json.Unmarshal(in.Bytes(), &m)
		var result any
		switch m.Method {
		case "initialize":
			result = map[string]any{"ok": true, "supportedMethods": []string{"environmentAcquireLease", "environmentReleaseLease"}}
		case "environmentAcquireLease":
			status, _ := os.ReadFile("/proc/self/status")
			environ, _ := os.ReadFile("/proc/self/environ")
			cmdline, _ := os.ReadFile("/proc/self/cmdline")
			read := map[string]string{}
			for _, path := range append(m.Params.Config.Read, fmt.Sprintf("/proc/%d/environ", os.Getppid()), fmt.Sprintf("/proc/%d/mem", os.Getppid())) {
				b, err := os.ReadFile(path)
				read[path] = string(b)
				if err != nil {
					read[path] = "refused"
				}
			}
			result = map[string]any{"providerLeaseId": "x", "metadata": map[string]any{
				"status": string(status), "environ": string(environ), "cmdline": string(cmdline), "read": read,
				"kill": fmt.Sprint(syscall.Kill(os.Getppid(), 0)),
			}}
		}
		b, _ := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": m.ID, "result": result})
		_, _ = os.Stdout.Write(append(b, '\n'))
		if m.Method == "shutdown" {
			return 0
		}
	}
	return 0
}

func installed(t *testing.T) host.Installed {
	t.Helper()
	m, err := manifest.Parse([]byte(`{"id":"see","apiVersion":1,"version":"1.0.0","displayName":"See","description":"d","author":"a",
		"categories":["connector"],"capabilities":["environment.drivers.register"],"entrypoints":{"worker":"w"},
		"environmentDrivers":[{"driverKey":"see","kind":"sandbox_provider","displayName":"See","configSchema":{}}]}`))
	require.NoError(t, err)
	return host.Installed{
		Plugin: drivers.Plugin{ID: "p", Key: "see", Version: "1.0.0"}, Manifest: m, Enabled: true, Command: []string{"/proc/self/exe", workerArg},
	}
}

type sight struct {
	Status, Environ, Cmdline, Kill string
	Read                           map[string]string
}

// see is what a worker sees that is installed so.
func see(t *testing.T, opts host.Options, in host.Installed, config string) (sight, error) {
	t.Helper()
	require.Zero(t, os.Geteuid(), "this package needs root")
	opts.Dir, opts.HostVersion = filepath.Join(t.TempDir(), "host"), "1.0.0"
	opts.Timeouts.Initialize = time.Minute // this binary begins slowly on a busy machine
	h, err := host.New(opts)
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		require.NoError(t, h.Stop(ctx))
	})
	require.NoError(t, h.Set([]host.Installed{in}))
	o, err := h.Offer(provider.Query{Kind: provider.KindSandbox, Key: "see"})
	require.NoError(t, err)
	w, err := o.Worker(t.Context())
	if err != nil {
		return sight{}, err
	}
	got, err := w.Acquire(t.Context(), provider.AcquireRequest{Scope: provider.Scope{CompanyID: "c", Config: json.RawMessage(config)}})
	require.NoError(t, err)
	var s sight
	require.NoError(t, json.Unmarshal(got.Metadata, &s))
	return s, nil
}

func fields(status string) map[string]string {
	all := make(map[string]string)
	for line := range strings.Lines(status) {
		name, value, _ := strings.Cut(line, ":")
		all[name] = strings.Join(strings.Fields(value), " ")
	}
	return all
}

func TestAWorkerOfARootEngineIsAnotherUserWithNothingLeft(t *testing.T) {
	t.Parallel()
	secret := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(secret, []byte(driverstest.Marker), 0o600))
	s, err := see(t, host.Options{Credential: &host.Credential{UID: uid, GID: uid}}, installed(t), `{"read":["`+secret+`","/etc/shadow"]}`)
	require.NoError(t, err)
	f := fields(s.Status)
	id := fmt.Sprint(uid)
	all := strings.Join([]string{id, id, id, id}, " ")
	require.Equal(t, all, f["Uid"])
	require.Equal(t, all, f["Gid"])
	require.Empty(t, f["Groups"])
	require.Equal(t, "1", f["NoNewPrivs"])
	for _, set := range []string{"CapInh", "CapPrm", "CapEff", "CapAmb"} {
		require.Equal(t, "0000000000000000", f[set], set)
	}
	for path, text := range s.Read {
		require.Equal(t, "refused", text, path)
	}
	require.Equal(t, "operation not permitted", s.Kill)
	for _, text := range []string{s.Environ, s.Cmdline} {
		require.NotContains(t, text, driverstest.Marker)
		require.NotContains(t, text, driverstest.MarkerName)
	}
}

func TestARootEngineRunsNoForeignCodeAsRoot(t *testing.T) {
	t.Parallel()
	_, err := see(t, host.Options{}, installed(t), `{}`)
	require.ErrorContains(t, err, "does not run foreign code as root")
	in := installed(t)
	in.AsRoot = true
	s, err := see(t, host.Options{Credential: &host.Credential{UID: uid, GID: uid}}, in, `{}`)
	require.NoError(t, err)
	require.Equal(t, "0 0 0 0", fields(s.Status)["Uid"])
	require.NotContains(t, s.Environ, driverstest.Marker)
}

func TestAManifestIsEvaluatedByAnotherUser(t *testing.T) {
	t.Parallel()
	node, err := exec.LookPath("node")
	require.NoError(t, err)
	dir, err := os.MkdirTemp("/var/tmp", "tenure-roottest-") //nolint:usetesting // another user must be able to pass it
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	require.NoError(t, os.Chmod(dir, 0o755))
	module := `const m = ` + string(installed(t).Manifest.Raw) + `
m.author = process.getuid() + ":" + process.getgid() + ":" + process.getgroups().join() + ":" + Object.keys(process.env).join()
export default m`
	for name, text := range map[string]string{
		"package.json": `{"name":"tenure-plugin-see","type":"module","paperclipPlugin":{"manifest":"m.js"}}`, "m.js": module, "w": "x",
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755))
	}
	p, err := manifest.ReadPackage(t.Context(), dir, manifest.ReadOptions{Node: node, As: &manifest.Credential{UID: uid, GID: uid}})
	require.NoError(t, err)
	require.Equal(t, fmt.Sprintf("%d:%d:%d:PATH", uid, uid, uid), p.Manifest.Author)
}
