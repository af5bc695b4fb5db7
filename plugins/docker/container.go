package docker

import (
	"errors"
	"fmt"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/client"

	"github.com/tenure-dev/tenure/plugins/docker/inner"
)

// how says in which of two ways a container gets the program.
type how int

const (
	mounted how = iota
	copied
)

// createOptions describe the container of a runtime.
func (e *engine) createOptions(m mark, inside how) client.ContainerCreateOptions {
	n := namesOf(m.runtime)
	labels := m.labels()
	volume := func(name, target string) mount.Mount {
		return mount.Mount{
			Type: mount.TypeVolume, Source: name, Target: target,
			// What the image has there stays out: a workspace begins empty.
			VolumeOptions: &mount.VolumeOptions{NoCopy: true, Labels: labels},
		}
	}
	opts := e.baseOptions(inner.Pause)
	opts.Name = n.container
	opts.Config.Labels = labels
	opts.HostConfig.Mounts = []mount.Mount{volume(n.workspace, workspace), volume(n.tmp, tmp)}
	if inside == copied {
		opts.HostConfig.Mounts = append(opts.HostConfig.Mounts, volume(n.inner, inner.Dir))
	} else {
		opts.HostConfig.Mounts = append(opts.HostConfig.Mounts, e.bindInner())
	}
	if e.cfg.ReadOnlyRoot {
		opts.HostConfig.Mounts = append(opts.HostConfig.Mounts,
			volume(n.own, ownDir), volume(n.workspace, ownDir+workspace), volume(n.tmp, ownDir+tmp))
	}
	return opts
}

// bindInner mounts the program where a copy of it would be. The source must exist: the engine makes none of this kind.
func (e *engine) bindInner() mount.Mount {
	return mount.Mount{Type: mount.TypeBind, Source: e.opts.Inner, Target: inner.Path, ReadOnly: true}
}

// baseOptions are what the container of a runtime and that of a probe have in common: all that confines them.
func (e *engine) baseOptions(role string) client.ContainerCreateOptions {
	off := false
	host := &container.HostConfig{
		LogConfig:      container.LogConfig{Type: "none"}, // process 1 says nothing
		NetworkMode:    container.NetworkMode(e.cfg.Network),
		RestartPolicy:  container.RestartPolicy{Name: container.RestartPolicyDisabled},
		CapDrop:        []string{"ALL"},
		SecurityOpt:    []string{"no-new-privileges"},
		IpcMode:        container.IPCModePrivate,
		ReadonlyRootfs: e.cfg.ReadOnlyRoot,
		Init:           &off, // process 1 reaps by itself
	}
	host.Memory = e.cfg.MemoryMB << 20
	host.MemorySwap = host.Memory // the same: no swap
	host.NanoCPUs = int64(e.cfg.CPUs * 1e9)
	if e.cfg.PIDs > 0 {
		host.PidsLimit = &e.cfg.PIDs
	}
	return client.ContainerCreateOptions{
		Config: &container.Config{
			Image: e.cfg.Image, User: e.cfg.User, WorkingDir: "/", Hostname: "tenure",
			Entrypoint: []string{inner.Path}, Cmd: []string{inner.Command, role},
			Healthcheck: &container.HealthConfig{Test: []string{"NONE"}},
		},
		HostConfig: host,
	}
}

// checkLimits refuses a limit that the engine would leave out with a warning.
func (e *engine) checkLimits(info client.SystemInfoResult) error {
	var problems []error
	refuse := func(asked, able bool, field string) {
		if asked && !able {
			problems = append(problems, fmt.Errorf("config.%s: the engine cannot limit this", field))
		}
	}
	refuse(e.cfg.MemoryMB > 0, info.Info.MemoryLimit, "memoryMb")
	refuse(e.cfg.CPUs > 0, info.Info.CPUCfsQuota, "cpus")
	refuse(e.cfg.PIDs > 0, info.Info.PidsLimit, "pids")
	return errors.Join(problems...)
}

const limitsRemedy = "leave the limit out, or let the engine's kernel have the cgroup controllers memory, cpu and pids (docker info)"
