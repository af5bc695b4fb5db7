package roottest

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/cmd/internal/apptest"
	"github.com/tenure-dev/tenure/plugins/docker/dockertest"
)

// hurt is a Docker engine to which all sorts of things are done while leases live in it.
type hurt struct {
	*dockertest.Engine
	t      *testing.T
	faulty *dockertest.Faulty
	// others are containers that are none of this installation's.
	others []string
	later  sync.WaitGroup
}

// After kills of the engine, of the worker and of containers, lost requests and replies, cut connections, a Docker engine
// that stands still and images and users that are missing, the containers with this installation's label are those of the leases that
// are held, and nobody else's was touched.
func TestWhatLivesInADockerEngineIsWhatTheLogSays(t *testing.T) {
	t.Parallel()
	docker, err := dockertest.Start(t.Context(), dockertest.NoBridge)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, docker.Stop()) })
	h := &hurt{Engine: docker, t: t, faulty: docker.Faulty(t)}
	// An image that loses its last name is gone.
	_, err = docker.Client.ImageTag(t.Context(), client.ImageTagOptions{Source: dockertest.Image, Target: keptImage})
	require.NoError(t, err)
	h.others = []string{h.foreign("plain", nil), h.foreign("another", map[string]string{
		"tenure.runtime": "another", "tenure.installation": "another", "tenure.lease": "another", "tenure.epoch": "1", "tenure.fence": "1",
		"tenure.created": time.Now().UTC().Format(time.RFC3339Nano),
	})}
	environment := func(name, image, user string) wire.AddEnvironment {
		fields := map[string]any{"provider": "docker", "image": image, "pullPolicy": "never", "timeoutMs": 20_000}
		if user != "" {
			fields["user"] = user
		}
		config, err := json.Marshal(fields)
		require.NoError(t, err)
		return wire.AddEnvironment{Name: name, Driver: "sandbox", Config: config}
	}
	t.Cleanup(h.describe)
	lost := 0
	apptest.Mixture{
		Environments: []wire.AddEnvironment{
			environment("root", dockertest.Image, ""), environment("worker", dockertest.Image, "worker"),
			environment("no image", "tenure-test/no-such-image:1", ""),
			// It is found out when the container is there already.
			environment("no user", dockertest.Image, "nobody-has-this-name"),
		},
		Leases: 24, Acts: 70, Pause: 300 * time.Millisecond, Kills: 3,
		Faults: []apptest.Fault{
			{Name: "replies are lost", Do: func(l *apptest.Life) { h.faulty.LoseReplies(1 + l.Rand.IntN(3)) }},
			{Name: "requests are lost", Do: func(l *apptest.Life) { h.faulty.LoseRequests(1 + l.Rand.IntN(3)) }},
			{Name: "connections are cut", Do: func(l *apptest.Life) { l.Done["connections were cut"] += h.faulty.Cut() }},
			{Name: "the Docker engine stands still", Do: h.standStill},
			{Name: "the worker is killed", Do: killWorker},
			{Name: "a container is killed", Do: h.killContainer},
			{Name: "a container is removed", Do: h.removeContainer},
			{Name: "the image is missing", Do: h.missImage},
		},
		Over: func() {
			lost += h.faulty.Heal()
			h.later.Wait()
		},
		Things: map[string]func() []string{
			"container": h.containers,
			"workspace volume": func() []string {
				return h.volumes(func(name string) bool { return strings.HasSuffix(name, "-workspace") })
			},
			"tmp volume": func() []string { return h.volumes(func(name string) bool { return strings.HasSuffix(name, "-tmp") }) },
		},
		Traces: func() []string { return h.volumes(func(string) bool { return true }) },
	}.Live(apptest.Start(t, apptest.WithArgs("--provision-timeout", "60s", "--release-timeout", "60s",
		"--plugin-env", "tenure.docker=DOCKER_HOST="+h.faulty.Host, "--plugin-env", "tenure.docker=TENURE_PLUGIN_INNER="+docker.Inner)))
	t.Logf("%d requests or replies were lost", lost)

	for _, id := range h.others {
		_, err := docker.Client.ContainerRemove(t.Context(), id, client.ContainerRemoveOptions{})
		require.NoError(t, err, "it is still there")
	}
	left, err := docker.Left(t.Context(), "")
	require.NoError(t, err)
	require.Empty(t, left)
}

// keptImage is another name of the usual image.
const keptImage = "tenure-test/kept:1"

// foreign makes a container.
func (h *hurt) foreign(name string, labels map[string]string) (id string) {
	h.t.Helper()
	made, err := h.Client.ContainerCreate(h.t.Context(), client.ContainerCreateOptions{
		Name: name, Config: &container.Config{Image: dockertest.Image, Cmd: []string{"true"}, Labels: labels},
	})
	require.NoError(h.t, err)
	return made.ID
}

// containers are the runtimes of all containers with our label, those that do not run included.
func (h *hurt) containers() (runtimes []string) {
	h.t.Helper()
	list, err := h.Client.ContainerList(h.t.Context(), client.ContainerListOptions{All: true})
	require.NoError(h.t, err)
	installation := ""
	for _, c := range list.Items {
		if slices.Contains(h.others, c.ID) {
			continue
		}
		if installation == "" {
			installation = c.Labels["tenure.installation"]
		}
		require.NotEmpty(h.t, installation, "%+v", c)
		require.Equal(h.t, installation, c.Labels["tenure.installation"])
		runtimes = append(runtimes, c.Labels["tenure.runtime"])
	}
	return runtimes
}

// describe says of a life that failed what is there.
func (h *hurt) describe() {
	if !h.t.Failed() {
		return
	}
	list, err := h.Client.ContainerList(context.Background(), client.ContainerListOptions{All: true})
	h.t.Logf("error %v; %d containers", err, len(list.Items))
	for _, c := range list.Items {
		h.t.Logf("%v is %s (%s), made at %s, labels %v", c.Names, c.State, c.Status, time.Unix(c.Created, 0).UTC().Format(time.TimeOnly), c.Labels)
	}
}

// volumes are the runtimes of the volumes of these names.
func (h *hurt) volumes(of func(name string) bool) (runtimes []string) {
	h.t.Helper()
	list, err := h.Client.VolumeList(h.t.Context(), client.VolumeListOptions{})
	require.NoError(h.t, err)
	for _, v := range list.Items {
		if of(v.Name) {
			runtimes = append(runtimes, v.Labels["tenure.runtime"])
		}
	}
	return runtimes
}

// after does something a while later, and not after the test.
func (h *hurt) after(d time.Duration, do func()) {
	h.later.Go(func() {
		select {
		case <-time.After(d):
		case <-h.t.Context().Done():
		}
		do()
	})
	h.t.Cleanup(h.later.Wait)
}

// standStill keeps the Docker engine from doing anything, which makes calls slow or lets them run into their limit.
func (h *hurt) standStill(l *apptest.Life) {
	d := time.Duration(l.Rand.IntN(3_000)) * time.Millisecond
	require.NoError(h.t, syscall.Kill(h.PID(), syscall.SIGSTOP))
	l.Done["the Docker engine stood still"]++
	h.after(d, func() { _ = syscall.Kill(h.PID(), syscall.SIGCONT) })
}

func killWorker(l *apptest.Life) {
	if pid := l.Workers()["tenure.docker"]; pid != 0 && syscall.Kill(pid, syscall.SIGKILL) == nil {
		l.Done["the worker was killed"]++
	}
}

// killContainer ends a container behind the engine's back.
func (h *hurt) killContainer(l *apptest.Life) {
	for _, runtime := range l.RuntimesFromOne() {
		if _, err := h.Client.ContainerKill(context.Background(), "tenure-"+runtime, client.ContainerKillOptions{}); err == nil {
			l.Done["a container was killed"]++
			return
		}
	}
}

// removeContainer takes a container away behind the engine's back. Volumes with a name stay.
func (h *hurt) removeContainer(l *apptest.Life) {
	for _, runtime := range l.RuntimesFromOne() {
		if _, err := h.Client.ContainerInspect(context.Background(), "tenure-"+runtime, client.ContainerInspectOptions{}); errdefs.IsNotFound(err) {
			continue
		}
		l.Taken(runtime)
		if _, err := h.Client.ContainerRemove(context.Background(), "tenure-"+runtime, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true}); err == nil {
			l.Done["a container was removed"]++
			return
		}
	}
}

// missImage takes the name of the image away for a while.
func (h *hurt) missImage(l *apptest.Life) {
	d := time.Duration(l.Rand.IntN(1_000)) * time.Millisecond
	if _, err := h.Client.ImageRemove(context.Background(), dockertest.Image, client.ImageRemoveOptions{Force: true}); err != nil {
		require.True(h.t, errdefs.IsNotFound(err), "%v", err)
		return // it is missing already
	}
	l.Done["the image was missing"]++
	h.after(d, func() {
		_, err := h.Client.ImageTag(context.Background(), client.ImageTagOptions{Source: keptImage, Target: dockertest.Image})
		if err != nil {
			h.t.Errorf("the image cannot be given its name again: %v", err)
		}
	})
}
