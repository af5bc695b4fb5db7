package docker

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/tenure-dev/tenure/drivers"
)

// workspace and tmp are where a container has its volumes.
const (
	workspace = "/workspace"
	tmp       = "/tmp"
)

// find returns the container of a runtime; ok is false if there is none. One that is not this runtime's is an error.
func (e *engine) find(ctx context.Context, runtimeID string) (c container.InspectResponse, m mark, ok bool, err error) {
	c, m, ok, err = e.byID(ctx, namesOf(runtimeID).container, runtimeID)
	if ok || err != nil {
		return c, m, ok, err
	}
	listed, err := e.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: filterBy(runtimeID, "")})
	if err != nil {
		return c, m, false, err
	}
	id := ""
	for _, one := range listed.Items { // those that later holders have renamed
		if later, ok := nameOf(one); ok && later.fence >= m.fence {
			m, id = later, one.ID
		}
	}
	if id == "" {
		return c, m, false, nil
	}
	return e.byID(ctx, id, runtimeID) // by now it may have another name, and is not gone for that
}

// nameOf reads who has a container of a list; false for one that is not ours.
func nameOf(c container.Summary) (mark, bool) {
	m, ours := readMark(c.Labels)
	if !ours || len(c.Names) == 0 {
		return m, false
	}
	return m.named(c.Names[0])
}

// byID is find for a container's id, or one of its names.
func (e *engine) byID(ctx context.Context, id, runtimeID string) (c container.InspectResponse, m mark, ok bool, err error) {
	found, err := e.ContainerInspect(ctx, id, client.ContainerInspectOptions{})
	if errdefs.IsNotFound(err) {
		return c, m, false, nil
	}
	if err != nil {
		return c, m, false, err
	}
	c = found.Container
	if c.Config == nil || c.State == nil {
		return c, m, false, fmt.Errorf("the engine told nothing of container %s", c.ID)
	}
	m, ours := readMark(c.Config.Labels)
	if ours && m.runtime == runtimeID {
		if m, ours = m.named(c.Name); ours {
			return c, m, true, nil
		}
	}
	return c, m, false, fmt.Errorf("%w: %s", errNotOur, c.ID)
}

// holder is the newest mark of a runtime: that of its container, or of a fence volume.
func (e *engine) holder(ctx context.Context, m mark) (mark, error) {
	volumes, err := e.VolumeList(ctx, client.VolumeListOptions{Filters: filterBy(m.runtime, m.installation)})
	if err != nil {
		return m, err
	}
	for _, v := range volumes.Items {
		if later, ok := readMark(v.Labels); ok && later.fence > m.fence {
			later.created = m.created
			m = later
		}
	}
	return m, nil
}

// takeOver records a newer holder. The volume's name makes it harmless to repeat.
func (e *engine) takeOver(ctx context.Context, m mark) error {
	_, err := e.VolumeCreate(ctx, client.VolumeCreateOptions{Name: fenceVolume(m.runtime, m.fence), Labels: m.labels()})
	return err
}

// takeOff removes what takeOver recorded of a container that was removed meanwhile, by somebody who did not see the record yet.
func (e *engine) takeOff(ctx context.Context, runtimeID string, fence int64) error {
	_, err := e.VolumeRemove(ctx, fenceVolume(runtimeID, fence), client.VolumeRemoveOptions{})
	if errdefs.IsNotFound(err) {
		return nil
	}
	return err
}

func fenceVolume(runtimeID string, fence int64) string {
	return namesOf(runtimeID).fence + strconv.FormatInt(fence, 10)
}

// told is what Acquire says of a container; the same container gives the same, until another holder renames it.
func (e *engine) told(ctx context.Context, c container.InspectResponse) (drivers.Runtime, error) {
	info, err := e.Info(ctx, client.InfoOptions{})
	if err != nil {
		return drivers.Runtime{}, failed(ctx, "ask_identity", err)
	}
	id, cfg := c.ID, e.cfg
	return drivers.Runtime{
		ProviderLeaseID: &id,
		Metadata: drivers.Metadata(map[string]any{
			"containerId": c.ID, "containerName": strings.TrimPrefix(c.Name, "/"), "image": c.Config.Image, "imageId": c.Image,
			"host": cfg.Host, "workspace": workspace, "network": string(c.HostConfig.NetworkMode),
			drivers.IdentityKey: c.ID, "engineId": info.Info.ID,
		}),
	}, nil
}

// pathOf is the PATH that the image declares, or the usual one.
func pathOf(c container.InspectResponse) string {
	for _, v := range c.Config.Env {
		if path, ok := strings.CutPrefix(v, "PATH="); ok && path != "" {
			return path
		}
	}
	return "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
}

// ListRuntimes implements [drivers.Lister]. It includes what is half made or half removed.
func (d *Driver) ListRuntimes(ctx context.Context, req drivers.ListRequest) ([]drivers.ListedRuntime, error) {
	cfg := lenientConfig(req.Config, d.opts)
	e, err := d.engineOf(cfg)
	if err != nil {
		return nil, drivers.BadConfig(err)
	}
	ctx, cancel := within(ctx, cfg.Timeout, "the engine's answer")
	defer cancel()
	if err := e.connect(ctx); err != nil {
		return nil, err
	}
	containers, err := e.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: filterBy("", req.Installation)})
	if err != nil {
		return nil, failed(ctx, "list_containers", err)
	}
	volumes, err := e.VolumeList(ctx, client.VolumeListOptions{Filters: filterBy("", req.Installation)})
	if err != nil {
		return nil, failed(ctx, "list_volumes", err)
	}
	l := listing{installation: req.Installation, at: make(map[string]int)}
	for _, c := range containers.Items {
		there, err := e.isThere(ctx, c)
		if err != nil {
			return nil, failed(ctx, "inspect_container", err)
		}
		if there {
			id := c.ID
			l.add(c.Labels, &id)
		}
	}
	for _, v := range volumes.Items {
		l.add(v.Labels, nil)
	}
	return l.all, nil
}

// isThere tells a container from what an engine lists of one that it does not have any more, which has no name: 20.10 does so until
// its restart after a rename that met a removal, whoever asked for either.
func (e *engine) isThere(ctx context.Context, c container.Summary) (bool, error) {
	if len(c.Names) > 0 {
		return true, nil
	}
	_, err := e.ContainerInspect(ctx, c.ID, client.ContainerInspectOptions{})
	if errdefs.IsNotFound(err) {
		return false, nil
	}
	return true, err
}

// listing merges the things of each runtime; the newest holder's lease counts, and the oldest thing's time.
type listing struct {
	installation string
	all          []drivers.ListedRuntime
	fences       []int64
	at           map[string]int
}

func (l *listing) add(labels map[string]string, id *string) {
	m, ok := readMark(labels)
	if !ok || m.installation != l.installation {
		return
	}
	i, known := l.at[m.runtime]
	if !known {
		i = len(l.all)
		l.at[m.runtime] = i
		l.all = append(l.all, drivers.ListedRuntime{
			RuntimeID: m.runtime, LeaseID: m.lease, Epoch: m.epoch, CreatedAt: m.created.Truncate(time.Microsecond),
		})
		l.fences = append(l.fences, m.fence)
	}
	r := &l.all[i]
	if id != nil {
		r.ProviderLeaseID = id
	}
	if m.fence > l.fences[i] {
		l.fences[i], r.LeaseID, r.Epoch = m.fence, m.lease, m.epoch
	}
	if m.created.Before(r.CreatedAt) {
		r.CreatedAt = m.created
	}
}
