package apptest_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/cmd/internal/apptest"
	"github.com/tenure-dev/tenure/drivers/ssh/sshtest"
	"github.com/tenure-dev/tenure/plugins/fake"
	"github.com/tenure-dev/tenure/plugins/plugintest"
)

// isID looks at an id of a plugin.
func isID(v any) bool {
	s, ok := v.(string)
	return ok && uuid.Validate(s) == nil
}

func listed(t *testing.T, pattern string) func() []string {
	return func() []string {
		t.Helper()
		found, err := filepath.Glob(pattern)
		require.NoError(t, err)
		return found
	}
}

// isIdentity: it tells a runtime from every other one.
func isIdentity(v any) bool { s, ok := v.(string); return ok && len(s) > 20 }

func localKind(t *testing.T, e *apptest.Engine) apptest.Kind {
	return apptest.Kind{
		Driver: "local", Provider: "local", Config: map[string]any{},
		Metadata: map[string]any{"workspace": func(v any) bool {
			return filepath.Dir(filepath.Dir(v.(string))) == filepath.Join(e.DataDir, "runtimes")
		}, "runtimeIdentity": isIdentity},
		Left: listed(t, filepath.Join(e.DataDir, "runtimes", "*")),
	}
}

// sshKind is a real sshd on loopback.
func sshKind(t *testing.T, e *apptest.Engine) apptest.Kind {
	t.Helper()
	return sshKindOf(t, e, sshtest.Start(t, sshtest.Options{}))
}

func sshKindOf(t *testing.T, e *apptest.Engine, server *sshtest.Server) apptest.Kind {
	t.Helper()
	root := filepath.Join(t.TempDir(), "work")
	config := server.Fields(root)
	// As a person gives it, and not as a reference.
	delete(config, "privateKeySecretRef")
	config["privateKey"] = server.PrivateKey
	return apptest.Kind{
		Driver: "ssh", Provider: "ssh", Config: config,
		ProviderLeaseID: regexp.QuoteMeta("ssh://" + server.User + "@127.0.0.1:" + itoa(server.Port) + root),
		Metadata: map[string]any{
			"host": "127.0.0.1", "port": float64(server.Port), "username": server.User, "remoteWorkspacePath": root, "remoteCwd": root,
			"paperclipApiUrl": e.Client.BaseURL(), "runtimeIdentity": isIdentity,
			"machine": func(v any) bool { _, ok := v.(string); return ok },
		},
		Left: listed(t, filepath.Join(root, ".tenure", "*", "*")),
	}
}

// stateOf is where the worker of a plugin that comes with the engine keeps what it has.
func stateOf(e *apptest.Engine, plugin string) string {
	return filepath.Join(e.DataDir, "plugins", "state", plugin)
}

func fakeKind(t *testing.T, e *apptest.Engine) apptest.Kind {
	return apptest.Kind{
		Driver: "sandbox", Provider: "fake", Config: map[string]any{"provider": "fake", "image": "debian:13"},
		ProviderLeaseID: `sandbox://fake/RUN/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`,
		Metadata:        map[string]any{"provider": "fake", "image": "debian:13", "reuseLease": false, "resumedLease": false},
		NoShell:         true,
		Left: func() []string {
			t.Helper()
			ledger, err := fake.ReadLedger(fake.LedgerPath(stateOf(e, "fake")))
			require.NoError(t, err)
			var ids []string
			for _, entry := range ledger.Live() {
				ids = append(ids, entry.ID)
			}
			return ids
		},
	}
}

func bubblewrapKind(t *testing.T, e *apptest.Engine) apptest.Kind {
	return apptest.Kind{
		Driver: "sandbox", Provider: "bubblewrap", Config: map[string]any{"provider": "bubblewrap", "timeoutMs": 120_000},
		ProviderLeaseID: `bubblewrap://.+`,
		Metadata: map[string]any{
			"provider": "bubblewrap", "pluginId": isID, "pluginKey": "tenure.bubblewrap", "paperclipApiUrl": nil,
			"timeoutMs": 120_000.0, "workspace": func(v any) bool { return v != "" }, "network": "none", "cgroups": func(v any) bool { return v != "" },
			"limits": map[string]any{"timeoutMs": 120_000.0}, "runtimeIdentity": isIdentity,
		},
		Left: func() []string {
			t.Helper()
			// What is half made or half gone has a dot; so have the files that all runtimes share.
			runtimes := filepath.Join(stateOf(e, "bubblewrap"), "runtimes")
			return slices.DeleteFunc(listed(t, filepath.Join(runtimes, "*"))(), func(path string) bool { return filepath.Base(path) == ".etc" })
		},
	}
}

// withNode lets an engine find the Node that the test provider on the npm SDK asks for.
func withNode(npm plugintest.NPM) apptest.Option {
	return apptest.WithEnv("PATH=" + filepath.Dir(npm.Node) + ":" + os.Getenv("PATH"))
}

// npmKind installs the test provider on the npm SDK.
func npmKind(t *testing.T, e *apptest.Engine, npm plugintest.NPM) apptest.Kind {
	t.Helper()
	install, err := e.Client.InstallPlugin(t.Context(), wire.InstallPlugin{Source: npm.Dir}, client.Wait(waitLong))
	require.NoError(t, err)
	require.Equal(t, wire.InstallDone, install.Status, "%+v", install)
	root := apptest.Dir(t)
	require.NoError(t, os.Chmod(root, 0o777)) // the worker is another user where the engine is root
	return apptest.Kind{
		Driver: "sandbox", Provider: "tmpdir", Config: map[string]any{"provider": "tmpdir", "root": root, "token": npmToken},
		ProviderLeaseID: `npm-provider-\w+`,
		Metadata: map[string]any{
			"provider": "tmpdir", "pluginId": install.PluginID.String(), "pluginKey": "tenure-test.tmpdir", "paperclipApiUrl": nil,
			"root": root, "shell": "/bin/sh", "remoteCwd": func(v any) bool { return filepath.Dir(v.(string)) == root },
			"token": func(v any) bool {
				ref, ok := v.(map[string]any)
				return ok && ref["type"] == "secret_ref" && isID(ref["secretId"]) && ref["version"] == "latest"
			},
		},
		Left: listed(t, filepath.Join(root, "*")),
		Text: true,
	}
}

// npmToken is a secret in the configuration of the provider on the npm SDK.
const npmToken = "HIDDEN-of-the-npm-provider"
