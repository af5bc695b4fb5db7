package roottest

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moby/moby/client"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/driverstest"
	"github.com/tenure-dev/tenure/plugins/docker"
	"github.com/tenure-dev/tenure/plugins/docker/dockertest"
)

// logged collects a log.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func forget(t *testing.T, image string) {
	t.Helper()
	t.Cleanup(func() {
		_, err := engine.Client.ImageRemove(t.Context(), image, client.ImageRemoveOptions{Force: true})
		require.True(t, err == nil || t.Context().Err() != nil || strings.Contains(err.Error(), "No such image"), "%v", err)
	})
}

func TestAMissingImageIsPulledWithTheCredentials(t *testing.T) {
	t.Parallel()
	registry := dockertest.NewRegistry(t, "robot", "s3cret-of-the-registry")
	forget(t, registry.Image)
	log := &logged{}
	d := newDriver(t, func(o *docker.Options) { o.Logger = slog.New(slog.NewTextHandler(log, nil)) })
	f := features(t, map[string]any{"image": registry.Image, "registryUsername": "robot", "registryPassword": "s3cret-of-the-registry"})
	probed, err := d.Probe(t.Context(), drivers.ProbeRequest{Config: f.Config})
	require.NoError(t, err)
	require.True(t, probed.OK, "%+v", probed)
	_, err = engine.Client.ImageInspect(t.Context(), registry.Image)
	require.Error(t, err, "a probe pulls nothing")

	req := driverstest.AcquireRequest(f)
	_, err = d.Acquire(t.Context(), req)
	require.NoError(t, err)
	release(t, d, req)
	said := log.String()
	for _, line := range []string{"image pull begins", "image pull goes on", "image pulled", registry.Image} {
		require.Contains(t, said, line)
	}
	require.NotContains(t, said, "s3cret")

	wrong := driverstest.AcquireRequest(features(t, map[string]any{
		"image": registry.Image, "registryUsername": "robot", "registryPassword": "wr0ng-password", "pullPolicy": "always",
	}))
	_, err = d.Acquire(t.Context(), wrong)
	failure := requireFailure(t, err, drivers.OutcomeDefinite, "image_unavailable")
	require.Equal(t, "pull_image", failure.Step)
	require.Contains(t, failure.Remediation, "registryPassword")
	require.NotContains(t, err.Error(), "wr0ng")
	requireNothingLeft(t, wrong.RuntimeID)
	probed, err = d.Probe(t.Context(), drivers.ProbeRequest{Config: wrong.Config})
	require.NoError(t, err)
	require.Equal(t, "auth", probed.Phase, "%+v", probed)
	require.Equal(t, "image_unavailable", probed.Diagnostics[len(probed.Diagnostics)-1].Code)
}

// A09.
func TestAnImageThatCannotBePulledIsAClearFailureInTime(t *testing.T) {
	t.Parallel()
	registry := dockertest.NewRegistry(t, "", "")
	nobody, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, nobody.Close())
	d := newDriver(t)
	for name, row := range map[string]struct {
		fields  map[string]any
		outcome drivers.Outcome
		reason  string
	}{
		"no such tag":  {map[string]any{"image": registry.Address + "/tools:2"}, drivers.OutcomeDefinite, "manifest unknown"},
		"no such name": {map[string]any{"image": registry.Address + "/absent:1"}, drivers.OutcomeDefinite, "absent"},
		"no registry":  {map[string]any{"image": nobody.Addr().String() + "/tools:1"}, drivers.OutcomeRetryable, "connection refused"},
		"never pulled": {map[string]any{"image": "tenure-test/absent:1", "pullPolicy": "never"}, drivers.OutcomeDefinite, "pullPolicy is never"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fields := map[string]any{"pullTimeoutMs": 20_000}
			for k, v := range row.fields {
				fields[k] = v
			}
			req := driverstest.AcquireRequest(features(t, fields))
			_, err := d.Acquire(t.Context(), req)
			f, ok := errors.AsType[*drivers.Failure](err)
			require.True(t, ok, "%v", err)
			require.Equal(t, "image_unavailable", f.Code)
			require.NotEmpty(t, f.Remediation)
			require.ErrorContains(t, err, row.reason)
			require.Equal(t, row.outcome, f.Outcome, "%v", err)
			requireNothingLeft(t, req.RuntimeID)
			probed, err := d.Probe(t.Context(), drivers.ProbeRequest{Config: req.Config})
			require.NoError(t, err)
			require.False(t, probed.OK)
			require.Contains(t, []string{"image", "auth"}, probed.Phase)
			require.Equal(t, "image_unavailable", probed.Diagnostics[len(probed.Diagnostics)-1].Code)
		})
	}
}

// A09: the inner limit fires before the outer one.
func TestAPullThatStallsEndsByItsOwnLimitOrJustBeforeTheCallers(t *testing.T) {
	t.Parallel()
	registry := dockertest.NewRegistry(t, "", "")
	registry.Stall = make(chan struct{})
	defer close(registry.Stall)
	d := newDriver(t)
	req := driverstest.AcquireRequest(features(t, map[string]any{"image": registry.Image, "pullTimeoutMs": 5000}))
	_, err := d.Acquire(t.Context(), req)
	f := requireFailure(t, err, drivers.OutcomeRetryable, "image_unavailable")
	require.ErrorContains(t, f, "did not end within 5s")
	require.ErrorContains(t, f, "the engine's last words")
	require.Contains(t, f.Remediation, "pullTimeoutMs")

	req = driverstest.AcquireRequest(features(t, map[string]any{"image": registry.Image}))
	ctx, cancel := withDeadline(t, 10*time.Second)
	defer cancel()
	_, err = d.Acquire(ctx, req)
	require.NoError(t, ctx.Err(), "there is time left to pass the reason on")
	_ = requireFailure(t, err, drivers.OutcomeRetryable, "image_unavailable")
}

func TestAProbeNamesThePhaseThatFailsAndLeavesNothing(t *testing.T) {
	t.Parallel()
	broken := engine.Proxy(t, func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/containers/create") {
			http.Error(w, `{"message":"the disk is on fire"}`, http.StatusInternalServerError)
			return true
		}
		return false
	})
	for name, row := range map[string]struct {
		fields      map[string]any
		phase, code string
	}{
		"all is well":        {nil, "", ""},
		"a bad field":        {map[string]any{"network": "host"}, "config", "bad_config"},
		"no engine":          {map[string]any{"host": "unix:///var/tmp/no-such-socket"}, "ping", "engine_unreachable"},
		"no image":           {map[string]any{"image": "tenure-test/absent:1", "pullPolicy": "never"}, "image", "image_unavailable"},
		"no such user":       {map[string]any{"user": "nobody-at-all"}, "create", "user_not_found"},
		"a broken engine":    {map[string]any{"host": broken}, "create", "engine_error"},
		"with all the rest":  {map[string]any{"image": dockertest.Rich, "memoryMb": 128, "pids": 100, "cpus": 0.5, "readOnlyRoot": true}, "", ""},
		"a program is there": {map[string]any{"image": dockertest.Bare}, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			probed, err := newDriver(t).Probe(t.Context(), drivers.ProbeRequest{Config: environment(t, row.fields)})
			require.NoError(t, err)
			require.Equal(t, row.phase == "", probed.OK, "%+v", probed)
			require.Equal(t, row.phase, probed.Phase, "%+v", probed)
			require.NotEmpty(t, probed.Summary)
			if row.phase != "" {
				last := probed.Diagnostics[len(probed.Diagnostics)-1]
				require.Equal(t, row.code, last.Code, "%+v", probed)
				require.Equal(t, drivers.SeverityError, last.Severity)
				require.NotEmpty(t, last.Remediation)
			}
		})
	}
	t.Run("what a probe left is removed by the next", func(t *testing.T) {
		t.Parallel()
		made, err := engine.Client.ContainerCreate(t.Context(), probeOf("1000000000"))
		require.NoError(t, err)
		_, err = newDriver(t).Probe(t.Context(), drivers.ProbeRequest{Config: environment(t, nil)})
		require.NoError(t, err)
		_, err = engine.Client.ContainerInspect(t.Context(), made.ID, client.ContainerInspectOptions{})
		require.ErrorContains(t, err, "No such container")
	})
}
