package roottest

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/driverstest"
	"github.com/tenure-dev/tenure/plugins/docker/dockertest"
)

// Who asked for a container is dead, and the engine is still at it, so that it is in no list yet.
func TestAReleaseFindsAContainerThatIsStillBeingMade(t *testing.T) {
	t.Parallel()
	for name, imageGoes := range map[string]bool{"the image stays": false, "the image goes": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			image := "tenure-test/" + strings.ReplaceAll(name, " ", "-") + ":1"
			_, err := engine.Client.ImageTag(t.Context(), client.ImageTagOptions{Source: dockertest.Image, Target: image})
			require.NoError(t, err)
			req := driverstest.AcquireRequest(features(t, map[string]any{"image": image}))
			made := dieOverCreate(t, req)
			if imageGoes {
				_, err := engine.Client.ImageRemove(t.Context(), image, client.ImageRemoveOptions{Force: true})
				require.NoError(t, err)
			}
			require.NoError(t, newDriver(t).Release(t.Context(), drivers.ReleaseRequest{Handle: driverstest.HandleOf(req, drivers.Runtime{})}))
			<-made
			requireNothingLeft(t, req.RuntimeID)
		})
	}
}

// The next attempt of a lease whose worker died over the create takes the container that the engine is still making.
func TestAnAcquireTakesTheContainerThatIsStillBeingMade(t *testing.T) {
	t.Parallel()
	req := driverstest.AcquireRequest(features(t, nil))
	made := dieOverCreate(t, req)
	d := newDriver(t)
	rt, err := d.Acquire(t.Context(), req)
	require.NoError(t, err)
	require.True(t, rt.Resumed)
	<-made
	require.Equal(t, "hi", inRuntime(t, d, req, "echo hi"))
	release(t, d, req)
}

// dieOverCreate is an Acquire whose process dies when the engine has begun to make the container. The channel is closed when
// the engine has made it.
func dieOverCreate(t *testing.T, req drivers.AcquireRequest) <-chan struct{} {
	t.Helper()
	made := make(chan struct{})
	var dead atomic.Bool
	host := engine.Proxy(t, func(_ http.ResponseWriter, r *http.Request) bool {
		if dead.Load() {
			return abort()
		}
		if !strings.HasSuffix(r.URL.Path, "/containers/create") {
			return false
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return abort()
		}
		again := r.Clone(context.WithoutCancel(r.Context()))
		go func() {
			defer close(made)
			// awaitName has the name for a moment each time that it asks.
			for answer := httptest.NewRecorder(); ; answer = httptest.NewRecorder() {
				again.Body = io.NopCloser(bytes.NewReader(body))
				if engineAnswer(answer, again); answer.Code != http.StatusConflict {
					return
				}
			}
		}()
		awaitName(t, "tenure-"+req.RuntimeID)
		dead.Store(true)
		return abort()
	})
	var fields map[string]any
	require.NoError(t, json.Unmarshal(req.Config, &fields))
	fields["host"] = host
	req.Config = environment(t, fields)
	_, err := newDriver(t).Acquire(t.Context(), req)
	require.Error(t, err)
	return made
}

// awaitName waits until a container of this name is being made: then another one is refused for its name, before anybody
// sees that its options are no options.
func awaitName(t *testing.T, name string) {
	ctx, cancel := withDeadline(t, time.Minute)
	defer cancel()
	for ctx.Err() == nil {
		_, err := engine.Client.ContainerCreate(ctx, client.ContainerCreateOptions{
			Name: name, Config: &container.Config{Image: dockertest.Image, Cmd: []string{"true"}},
			HostConfig: &container.HostConfig{SecurityOpt: []string{"no-new-privileges:maybe"}},
		})
		if errdefs.IsConflict(err) {
			return
		}
	}
	t.Errorf("nobody makes %s", name)
}
