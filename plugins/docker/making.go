package docker

import (
	"context"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
)

// A container that is being made is in no list and cannot be looked at, and the engine finishes it though whoever asked for
// it is dead. Only its name is taken, from the first moment on. So where a release finds no container it asks for one of that
// name that cannot be made: the engine looks at the name first, and at the options after. Nothing is ever left of that, so
// that a release may die over it. An engine that looks at the options first says nothing, and the release is as good as it
// can be there.

// noOption is a security option that every engine refuses.
const noOption = "no-new-privileges:tenure-asks-for-the-name-only"

// isMaking reports whether the engine is making the container of a runtime, or has just made it. Then it takes a moment.
func (e *engine) isMaking(ctx context.Context, runtimeID, installation string) (bool, error) {
	opts := client.ContainerCreateOptions{
		Name: namesOf(runtimeID).container, Config: &container.Config{
			Image: e.cfg.Image, Cmd: []string{"none"}, Labels: map[string]string{labelRuntime: runtimeID, labelInstallation: installation},
		},
		HostConfig: &container.HostConfig{NetworkMode: "none", SecurityOpt: []string{noOption}},
	}
	made, err := e.ContainerCreate(ctx, opts)
	if errdefs.IsNotFound(err) || e.cfg.Image == "" {
		// The image has gone, maybe only since. Any other does as well; without any, nothing is being made.
		images, listErr := e.ImageList(ctx, client.ImageListOptions{})
		if listErr != nil || len(images.Items) == 0 {
			return false, listErr
		}
		opts.Config.Image = images.Items[0].ID
		made, err = e.ContainerCreate(ctx, opts)
	}
	switch {
	case err == nil: // an engine that takes any option
		_, err := e.ContainerRemove(ctx, made.ID, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
		return false, err
	case errdefs.IsConflict(err):
		foreign, err := e.isForeign(ctx, runtimeID, installation)
		return !foreign, err
	case isAnswer(err):
		return false, nil // the name is free
	}
	return false, err
}

// isForeign reports whether the container that has the name is none of this runtime's, so that none of its can be made. One
// that cannot be looked at is being made; it is given a moment.
func (e *engine) isForeign(ctx context.Context, runtimeID, installation string) (bool, error) {
	found, err := e.ContainerInspect(ctx, namesOf(runtimeID).container, client.ContainerInspectOptions{})
	if err == nil && found.Container.Config != nil {
		labels := found.Container.Config.Labels
		return labels[labelRuntime] != runtimeID || installation != "" && labels[labelInstallation] != installation, nil
	}
	if err != nil && !errdefs.IsNotFound(err) {
		return false, err
	}
	select {
	case <-time.After(settlePause):
		return false, nil
	case <-ctx.Done():
		return false, context.Cause(ctx)
	}
}
