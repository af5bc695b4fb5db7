package main

import (
	"context"
	"debug/elf"
	"errors"
	"os"
	"path/filepath"

	"github.com/tenure-dev/tenure/cmd/internal/app"
	"github.com/tenure-dev/tenure/drivers/ssh/sshtest/sshd"
	dockerengine "github.com/tenure-dev/tenure/plugins/docker/dockertest/engine"
)

func localBench(context.Context, *bench) (driverBench, error) {
	return driverBench{name: "local", driver: "local"}, nil
}

func fakeBench(context.Context, *bench) (driverBench, error) {
	return driverBench{name: "fake", driver: "sandbox", config: map[string]any{"provider": "fake"}}, nil
}

func bubblewrapBench(context.Context, *bench) (driverBench, error) {
	return driverBench{name: "bubblewrap", driver: "sandbox", config: map[string]any{"provider": "bubblewrap"}}, nil
}

// sshBench starts an sshd on the loopback. The shell finds an empty home: what is in that of whoever measures is no part of it.
func sshBench(ctx context.Context, b *bench) (driverBench, error) {
	dir, err := os.MkdirTemp(b.dir, "ssh-")
	if err != nil {
		return driverBench{}, err
	}
	keys, workspace, home := filepath.Join(dir, "keys"), filepath.Join(dir, "workspace"), filepath.Join(dir, "home")
	if err := errors.Join(os.Mkdir(keys, 0o700), os.Mkdir(workspace, 0o700), os.Mkdir(home, 0o700)); err != nil {
		return driverBench{}, err
	}
	server, err := sshd.Start(ctx, sshd.Options{Dir: keys, Home: home})
	if err != nil {
		return driverBench{}, err
	}
	return driverBench{
		name: "ssh", driver: "ssh",
		config: map[string]any{
			"host": server.Host, "port": server.Port, "username": server.User, "remoteWorkspacePath": workspace,
			"privateKey": server.PrivateKey, "knownHosts": server.KnownHosts(),
		},
		stop: func() error { server.Stop(); return nil },
	}, nil
}

// dockerBench starts a Docker engine. The directory of the run may be too deep for its sockets.
func dockerBench(ctx context.Context, b *bench) (driverBench, error) {
	docker, err := dockerengine.Start(ctx, dockerengine.Options{Parent: "/var/tmp", Network: dockerengine.NoBridge})
	if err != nil {
		return driverBench{}, err
	}
	stop := func() error { return errors.Join(docker.Client.Close(), docker.Stop()) }
	env := map[string]string{"DOCKER_HOST": docker.Host}
	if err := docker.ImportTools(ctx); err != nil {
		return driverBench{}, errors.Join(err, stop())
	}
	if !static() {
		env[app.InnerVar] = filepath.Join(b.dir, "inner")
		if err := dockerengine.BuildInner(ctx, env[app.InnerVar]); err != nil {
			return driverBench{}, errors.Join(err, stop())
		}
	}
	const fewer = 5
	return driverBench{
		name: "docker", driver: "sandbox", visits: max(1, b.sizes.visits/fewer), stop: stop,
		config: map[string]any{"provider": "docker", "image": dockerengine.Tools, "pullPolicy": "never", "network": "none"},
		change: func(o *app.Options) { o.PluginEnv = map[string]map[string]string{app.DockerPlugin: env} },
	}, nil
}

// static reports whether this program can run in a container that has no libraries.
func static() bool {
	self, err := elf.Open("/proc/self/exe")
	if err != nil {
		return false
	}
	defer self.Close() //nolint:errcheck // it was only read
	for _, p := range self.Progs {
		if p.Type == elf.PT_INTERP {
			return false
		}
	}
	return true
}
