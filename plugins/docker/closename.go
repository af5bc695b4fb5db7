package docker

import (
	"context"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
)

// A container that is being made is in no list and cannot be looked at, and the engine finishes it though whoever asked for
// it is dead. Only its name is taken, from the first moment on. So where a release finds no container it takes the name
// itself: either it cannot, and waits for the one that is being made, or it can, and whoever comes later cannot.

// closeName takes the name of a runtime's container and gives it back. It reports false if there is a container of this
// runtime by now, or may be in a moment.
func (e *engine) closeName(ctx context.Context, runtimeID, installation string) (closed bool, err error) {
	name := namesOf(runtimeID).container
	opts := client.ContainerCreateOptions{
		Name: name,
		Config: &container.Config{
			Image: e.cfg.Image, Cmd: []string{"none"},
			Labels: map[string]string{labelRuntime: runtimeID, labelInstallation: installation, labelClosed: time.Now().UTC().Format(time.RFC3339)},
		},
		HostConfig: &container.HostConfig{NetworkMode: "none"},
	}
	made, err := e.ContainerCreate(ctx, opts)
	if errdefs.IsNotFound(err) || e.cfg.Image == "" {
		// The image has gone, maybe only since. Any other does as well; without any, nothing is being made.
		images, listErr := e.ImageList(ctx, client.ImageListOptions{})
		if listErr != nil {
			return false, listErr
		}
		if len(images.Items) == 0 {
			return true, nil
		}
		opts.Config.Image = images.Items[0].ID
		made, err = e.ContainerCreate(ctx, opts)
	}
	switch {
	case errdefs.IsConflict(err):
		return e.isForeign(ctx, runtimeID, installation)
	case isAnswer(err):
		// It makes no container now, whatever the name: a full disk must not keep a lease from its end.
		return true, nil
	case err != nil:
		return false, err
	}
	_, err = e.ContainerRemove(ctx, made.ID, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
	if err != nil && !errdefs.IsNotFound(err) {
		return false, err
	}
	return true, nil
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

// isClosed reports whether a container only keeps the name of a runtime's: who took it died over giving it back.
func isClosed(c container.InspectResponse, runtimeID string) bool {
	return c.Config.Labels[labelClosed] != "" && c.Config.Labels[labelRuntime] == runtimeID
}
