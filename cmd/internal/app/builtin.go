package app

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/tenure-dev/tenure/domain/plugin"
	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/plugins/bubblewrap"
	"github.com/tenure-dev/tenure/plugins/cgroup"
	"github.com/tenure-dev/tenure/plugins/docker"
	"github.com/tenure-dev/tenure/plugins/fake"
	"github.com/tenure-dev/tenure/plugins/sdk"
)

// PluginCommand is the hidden subcommand that is the worker of a plugin that comes with the engine; its argument is which.
const PluginCommand = "__plugin"

const (
	// stateVar is the variable by which the engine tells such a worker where it may write.
	stateVar = "TENURE_PLUGIN_STATE"
	// InnerVar is for tests, whose engine is no static program: another one that is, for the inside of containers.
	InnerVar = "TENURE_PLUGIN_INNER"
	// dockerHostVar names the Docker engine, as it does for other programs.
	dockerHostVar = "DOCKER_HOST"
)

// builtIn is where a plugin that comes with the engine is installed from.
const builtIn = "built-in"

// builtin is a plugin that comes with the engine.
type builtin struct {
	name string
	// asRoot runs its worker as root where the engine is root.
	asRoot bool
	// cgroups gives its worker a part of the engine's cgroups.
	cgroups  bool
	manifest sdk.Manifest
	// described are its drivers as far as it takes to say what they are; they touch nothing.
	described map[string]drivers.Driver
	// serve is the worker.
	serve func(ctx context.Context, m sdk.Manifest, state string) error
}

// DockerPlugin is the key of the plugin docker.
const DockerPlugin = "tenure.docker"

// builtins are the plugins that come with the engine. dockerHost is the Docker engine that the worker is given; "" is the usual
// one. What the plugin promises depends on it: containers of a socket's engine are bound to this machine.
func builtins(dockerHost string) []builtin {
	return []builtin{
		{
			name: "fake", manifest: fake.Manifest(), described: (&fake.World{}).Drivers(),
			serve: func(ctx context.Context, _ sdk.Manifest, state string) error { return fake.Serve(ctx, state) },
		},
		{
			name: "bubblewrap", cgroups: true, described: map[string]drivers.Driver{bubblewrap.Key: &bubblewrap.Driver{}},
			manifest: sdk.Manifest{
				ID: "tenure.bubblewrap", Version: "1.0.0", DisplayName: "Bubblewrap", Author: "Tenure",
				Description: "Sandboxes on the engine's own machine, of the kernel's namespaces and cgroups.",
				Drivers: map[string]sdk.DriverManifest{bubblewrap.Key: {
					DisplayName: "Bubblewrap", Description: "namespaces of this machine", ConfigSchema: json.RawMessage(bubblewrap.ConfigSchema),
				}},
			},
			serve: serveBubblewrap,
		},
		{
			// Whoever may speak to a Docker engine owns its machine, so an unprivileged user would be a pretence.
			name: "docker", asRoot: true, described: map[string]drivers.Driver{docker.Key: docker.Describing(dockerHost)},
			manifest: sdk.Manifest{
				ID: DockerPlugin, Version: "1.0.0", DisplayName: "Docker", Author: "Tenure",
				Description: "Containers of a Docker engine. Its worker may do whatever the engine may, which is as good as root on that machine.",
				Drivers: map[string]sdk.DriverManifest{docker.Key: {
					DisplayName: "Docker", Description: "containers of a Docker engine", ConfigSchema: docker.Schema,
				}},
			},
			serve: serveDocker,
		},
	}
}

// installed is the plugin as this binary brings it. Its version names the content, so that another build of the same
// version is another one.
func (b builtin) installed() (plugin.Installed, error) {
	raw, err := sdk.Plugin{Manifest: b.manifest, Drivers: b.described}.ManifestJSON()
	if err != nil {
		return plugin.Installed{}, fmt.Errorf("plugin %s: %w", b.manifest.ID, err)
	}
	sum := sha256.Sum256(raw)
	digest := hex.EncodeToString(sum[:])
	return plugin.Installed{
		Key: b.manifest.ID, Version: b.manifest.Version + "+" + digest[:8], Digest: digest, Manifest: raw, Source: builtIn,
	}, nil
}

// ServePlugin is the worker of a plugin that comes with the engine. It returns the exit code of the process.
func ServePlugin(args []string) int {
	state := os.Getenv(stateVar)
	for _, b := range builtins(os.Getenv(dockerHostVar)) {
		if len(args) != 1 || args[0] != b.name || !filepath.IsAbs(state) {
			continue
		}
		if err := b.serve(context.Background(), b.manifest, state); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return 0
	}
	fmt.Fprintln(os.Stderr, "this is an internal command of tenure; it is started by the engine only")
	return 2
}

func serveBubblewrap(ctx context.Context, m sdk.Manifest, state string) error {
	opts := bubblewrap.Options{Root: filepath.Join(state, "runtimes"), ParentCommand: []string{"/proc/self/exe", ExecParentCommand}}
	groups, err := cgroup.Find(os.Getenv(cgroup.Variable))
	if err != nil {
		return err
	}
	opts.Cgroups = groups
	d, err := bubblewrap.New(opts)
	if err != nil {
		return err
	}
	return sdk.Serve(ctx, sdk.Plugin{Manifest: m, Drivers: map[string]drivers.Driver{bubblewrap.Key: d}})
}

func serveDocker(ctx context.Context, m sdk.Manifest, _ string) error {
	inner := os.Getenv(InnerVar)
	if inner == "" {
		var err error
		if inner, err = os.Executable(); err != nil {
			return fmt.Errorf("find this program: %w", err)
		}
	}
	d, err := docker.New(docker.Options{
		Host: os.Getenv(dockerHostVar), CertDir: os.Getenv("DOCKER_CERT_PATH"), Inner: inner,
		Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
	if err != nil {
		return err
	}
	err = sdk.Serve(ctx, sdk.Plugin{Manifest: m, Drivers: map[string]drivers.Driver{docker.Key: d}})
	return errors.Join(err, d.Close())
}
