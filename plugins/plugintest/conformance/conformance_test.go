package conformance_test

import (
	"cmp"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/driverstest"
	"github.com/tenure-dev/tenure/drivers/execparent"
	"github.com/tenure-dev/tenure/drivers/local"
	"github.com/tenure-dev/tenure/plugins/fake"
	"github.com/tenure-dev/tenure/plugins/plugintest"
	"github.com/tenure-dev/tenure/plugins/plugintest/conformance"
	"github.com/tenure-dev/tenure/plugins/sdk"
)

// TestMain makes a worker, or the parent of a command, of the test's binary when it is asked to.
func TestMain(m *testing.M) {
	var err error
	switch {
	case len(os.Args) > 2 && os.Args[1] == "__fake":
		err = fake.Serve(context.Background(), os.Args[2])
	case len(os.Args) > 3 && os.Args[1] == "__bad":
		err = serveBad(os.Args[2], os.Args[3])
	case len(os.Args) > 2 && os.Args[1] == "__local":
		err = serveLocal(os.Args[2])
	case len(os.Args) > 1 && os.Args[1] == driverstest.ParentArg:
		syscall.Exit(execparent.Main())
	default:
		os.Exit(m.Run())
	}
	if err != nil {
		_, _ = os.Stderr.WriteString(err.Error() + "\n")
		os.Exit(1)
	}
	os.Exit(0)
}

func serveLocal(root string) error {
	d, err := local.New(local.Options{
		Root: root, ParentCommand: []string{"/proc/self/exe", driverstest.ParentArg}, AllowRoot: true, Grace: time.Second, Drain: 3 * time.Second,
	})
	if err != nil {
		return err
	}
	return sdk.Serve(context.Background(), sdk.Plugin{Drivers: map[string]drivers.Driver{"local": d}})
}

func run(t *testing.T, target conformance.Target, o conformance.Options) conformance.Report {
	t.Helper()
	o.CallTimeout = cmp.Or(o.CallTimeout, 3*time.Minute) // for a busy machine
	report, err := conformance.Run(t.Context(), target, o)
	require.NoError(t, err)
	var table strings.Builder
	require.NoError(t, report.WriteTable(&table))
	t.Log("\n" + table.String())
	return report
}

func TestTheFakeConforms(t *testing.T) {
	t.Parallel()
	manifest, err := fake.ManifestJSON()
	require.NoError(t, err)
	dir := t.TempDir()
	report := run(t, conformance.Target{Command: []string{"/proc/self/exe", "__fake", dir}, Manifest: manifest}, conformance.Options{})
	require.Zero(t, report.Failed())
	led, err := fake.ReadLedger(fake.LedgerPath(dir))
	require.NoError(t, err)
	require.Empty(t, led.Live())
	require.Positive(t, led.Created())
}

func TestTheFakeConformsWithoutTheExtension(t *testing.T) {
	t.Parallel()
	report := run(t, conformance.Target{Command: []string{"/proc/self/exe", "__fake", t.TempDir()}}, conformance.Options{
		Drivers: []string{"fake", "fake-blind"}, NoExtension: true, Config: json.RawMessage(`{"image": "x"}`),
	})
	require.Zero(t, report.Failed())
}

func TestTheLocalDriverConforms(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]conformance.Options{
		"with the extension": {}, "without": {NoExtension: true, Drivers: []string{"local"}, OutputBytes: 1 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			report := run(t, conformance.Target{Command: []string{"/proc/self/exe", "__local", t.TempDir()}}, o)
			for _, r := range report.Results {
				// A runtime of the driver local has no name at its provider, so a host that knows no ids cannot take it down.
				if r.Check == "acquire" && o.NoExtension {
					require.Equal(t, conformance.Fail, r.Status)
					continue
				}
				require.NotEqual(t, conformance.Fail, r.Status, "%s: %s", r.Check, r.Detail)
			}
		})
	}
}

func TestAProviderOnTheNPMSDKConforms(t *testing.T) {
	t.Parallel()
	npm := plugintest.NPMProvider(t)
	root := t.TempDir()
	config, err := json.Marshal(map[string]string{"root": root})
	require.NoError(t, err)
	report := run(t, conformance.Target{Dir: npm.Dir, Node: npm.Node}, conformance.Options{Config: config})
	require.False(t, report.Extension)
	require.Equal(t, "tenure-test.tmpdir", report.Plugin)
	require.Zero(t, report.Failed())
	passed := 0
	for _, r := range report.Results {
		if r.Status == conformance.Pass {
			passed++
		}
	}
	require.GreaterOrEqual(t, passed, 20)
	left, err := os.ReadDir(root)
	require.NoError(t, err)
	require.Empty(t, left)
}

// A plugin in Go is a directory like any other: package.json, the manifest that its own drivers write, and a program.
func TestAPluginDirectoryMayHoldAProgram(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	manifest, err := fake.ManifestJSON()
	require.NoError(t, err)
	self, err := os.Executable()
	require.NoError(t, err)
	for name, text := range map[string]string{
		"package.json":  `{"name": "tenure-plugin-fake", "version": "1.0.0", "paperclipPlugin": {"manifest": "manifest.json", "worker": "worker"}}`,
		"manifest.json": string(manifest),
		"worker":        "#!/bin/sh\nexec '" + self + "' __fake '" + t.TempDir() + "'\n",
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755))
	}
	report := run(t, conformance.Target{Dir: dir}, conformance.Options{Only: []string{"handshake", "manifest", "shutdown", "repeat", "output"}})
	require.Equal(t, "tenure.fake", report.Plugin)
	require.True(t, report.Extension)
	require.Zero(t, report.Failed())
	require.Len(t, report.Results, 3+2*3)
}
