package docker_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/driverstest"
	"github.com/tenure-dev/tenure/plugins/docker"
)

func requireFailure(t *testing.T, err error, outcome drivers.Outcome, code string) *drivers.Failure {
	t.Helper()
	f, ok := errors.AsType[*drivers.Failure](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, code, f.Code, "%v", err)
	require.Equal(t, outcome, f.Outcome, "%v", err)
	require.NotEmpty(t, f.Step)
	require.NotEmpty(t, f.Remediation)
	return f
}

func isCreate(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/containers/create") }

func TestTheEngineIsAskedForAConfinedContainer(t *testing.T) {
	t.Parallel()
	f := newFakeEngine(t)
	d := f.driver(t)
	req := f.request(map[string]any{"memoryMb": 100, "cpus": 1.5, "pids": 99, "readOnlyRoot": true, "user": "7:8"})
	rt, err := d.Acquire(t.Context(), req)
	require.NoError(t, err)
	require.False(t, rt.Resumed)
	made := f.container(req.RuntimeID)
	host := made.request.HostConfig
	require.Equal(t, []string{"ALL"}, host.CapDrop)
	require.Empty(t, host.CapAdd)
	require.Equal(t, []string{"no-new-privileges"}, host.SecurityOpt)
	require.EqualValues(t, "none", host.NetworkMode)
	require.False(t, host.Privileged)
	require.True(t, host.ReadonlyRootfs)
	require.EqualValues(t, 100<<20, host.Memory)
	require.EqualValues(t, 100<<20, host.MemorySwap)
	require.EqualValues(t, 1_500_000_000, host.NanoCPUs)
	require.EqualValues(t, 99, *host.PidsLimit)
	require.Empty(t, host.Binds)
	for _, m := range host.Mounts {
		require.Equal(t, mount.TypeVolume, m.Type, "an engine reached by TCP has none of this machine's files")
		require.Equal(t, req.RuntimeID, m.VolumeOptions.Labels["tenure.runtime"])
	}
	labels := made.request.Labels
	require.Equal(t, req.RuntimeID, labels["tenure.runtime"])
	require.Equal(t, driverstest.Installation, labels["tenure.installation"])
	require.Equal(t, req.LeaseID, labels["tenure.lease"])
	require.Equal(t, "1", labels["tenure.epoch"])
	require.Equal(t, "1099511627783", labels["tenure.fence"])
	created, err := time.Parse(time.RFC3339Nano, labels["tenure.created"])
	require.NoError(t, err)
	require.WithinDuration(t, time.Now(), created, time.Hour)
	require.Equal(t, container.StateRunning, made.status)
	require.False(t, d.Describe().NodeBound)
	require.NoError(t, d.Release(t.Context(), drivers.ReleaseRequest{Handle: driverstest.HandleOf(req, rt)}))
	require.Zero(t, f.things())
}

func TestALostReplyOfTheCreateLeavesNothingAndMayBeTriedAgain(t *testing.T) {
	t.Parallel()
	f := newFakeEngine(t)
	var lost atomic.Bool
	f.rule = func(_ http.ResponseWriter, r *http.Request) bool {
		if isCreate(r) && lost.CompareAndSwap(false, true) {
			f.answer(httptest.NewRecorder(), r)
			lose()
		}
		return false
	}
	d := f.driver(t)
	req := f.request(nil)
	_, err := d.Acquire(t.Context(), req)
	_ = requireFailure(t, err, drivers.OutcomeRetryable, "engine_unreachable")
	require.Zero(t, f.things())
	_, err = d.Acquire(t.Context(), req)
	require.NoError(t, err)
}

func TestAContainerThatAnotherProcessMadeMeanwhileIsAdopted(t *testing.T) {
	t.Parallel()
	f := newFakeEngine(t)
	req := f.request(nil)
	other := f.driver(t)
	var raced atomic.Bool
	f.rule = func(_ http.ResponseWriter, r *http.Request) bool {
		if isCreate(r) && raced.CompareAndSwap(false, true) {
			if _, err := other.Acquire(t.Context(), req); err != nil {
				t.Error(err)
			}
		}
		return false
	}
	rt, err := f.driver(t).Acquire(t.Context(), req)
	require.NoError(t, err)
	require.True(t, rt.Resumed)
	require.Equal(t, 1, f.made)
}

func TestWhatTheEngineSaysDecidesTheOutcome(t *testing.T) {
	t.Parallel()
	answer := func(status int, message string) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, _ *http.Request) { refuse(w, status, message) }
	}
	for name, row := range map[string]struct {
		at      string // the end of the path
		fault   func(http.ResponseWriter, *http.Request)
		outcome drivers.Outcome
		code    string
		step    string
	}{
		"an internal error":       {"/containers/create", answer(500, "broken"), drivers.OutcomeRetryable, "engine_error", "create_container"},
		"a refusal":               {"/containers/create", answer(400, "bad parameter"), drivers.OutcomeDefinite, "engine_refused", "create_container"},
		"no permission":           {"/containers/create", answer(403, "authz says no"), drivers.OutcomeDefinite, "engine_forbidden", "create_container"},
		"the image is gone again": {"/containers/create", answer(404, "No such image"), drivers.OutcomeRetryable, "image_unavailable", "create_container"},
		"a full disk":             {"/start", answer(500, "write /x: no space left on device"), drivers.OutcomeRetryable, "disk_full", "start_container"},
		"a copy that fails":       {"/archive", answer(500, "broken"), drivers.OutcomeRetryable, "engine_error", "copy_program"},
		"a start that fails":      {"/start", answer(500, "exec format error"), drivers.OutcomeRetryable, "start_failed", "start_container"},
		"a connection that ends":  {"/start", func(http.ResponseWriter, *http.Request) { lose() }, drivers.OutcomeRetryable, "engine_unreachable", "start_container"},
		"nonsense":                {"/containers/create", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) }, drivers.OutcomeRetryable, "engine_error", "create_container"},
		"a stuck engine":          {"/start", stuck, drivers.OutcomeRetryable, "engine_timeout", "start_container"},
		"a search that fails":     {"/json", answer(500, "broken"), drivers.OutcomeRetryable, "engine_error", "find_container"},
		"a stuck ping":            {"/_ping", stuck, drivers.OutcomeRetryable, "engine_timeout", "connect"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFakeEngine(t)
			f.rule = func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.HasSuffix(r.URL.Path, row.at) {
					return false
				}
				row.fault(w, r)
				return true
			}
			began := time.Now()
			limit := answeredMs
			if row.code == "engine_timeout" {
				limit = stuckMs
			}
			_, err := f.driver(t).Acquire(t.Context(), f.request(map[string]any{"timeoutMs": limit}))
			failure := requireFailure(t, err, row.outcome, row.code)
			require.Equal(t, row.step, failure.Step)
			require.Equal(t, row.step == "connect" || row.step == "find_container", failure.NothingMade, "whether the engine was asked for a container")
			require.Zero(t, f.things())
			require.Less(t, time.Since(began), time.Minute)
		})
	}
}

func TestAnEngineThatIsTooOldIsSaidSo(t *testing.T) {
	t.Parallel()
	f := newFakeEngine(t)
	f.version = "1.30"
	_, err := f.driver(t).Acquire(t.Context(), f.request(nil))
	failure := requireFailure(t, err, drivers.OutcomeDefinite, "engine_refused")
	require.ErrorContains(t, err, "1.30")
	require.Contains(t, failure.Remediation, "19.03")
}

func TestACallerThatGivesUpLeavesNothing(t *testing.T) {
	t.Parallel()
	f := newFakeEngine(t)
	cause := errors.New("the client gave up")
	ctx, cancel := context.WithCancelCause(t.Context())
	f.rule = func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/start") {
			cancel(cause)
			<-r.Context().Done()
			return true
		}
		return false
	}
	_, err := f.driver(t).Acquire(ctx, f.request(nil))
	require.ErrorIs(t, err, cause)
	_ = requireFailure(t, err, drivers.OutcomeRetryable, "canceled")
	require.Zero(t, f.things())
}

// The acquire of a process that lost its claim fails when the next holder has taken the runtime over.
func TestWhatANewerHolderHasIsNotTakenBack(t *testing.T) {
	t.Parallel()
	f := newFakeEngine(t)
	req := f.request(nil)
	newer := req
	newer.Fence++
	other := f.driver(t)
	var raced atomic.Bool
	f.rule = func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, "/start") || !raced.CompareAndSwap(false, true) {
			return false
		}
		if _, err := other.Acquire(t.Context(), newer); err != nil {
			t.Error(err)
		}
		refuse(w, http.StatusInternalServerError, "no memory")
		return true
	}
	_, err := f.driver(t).Acquire(t.Context(), req)
	_ = requireFailure(t, err, drivers.OutcomeAmbiguous, "stale_fence")
	require.Equal(t, container.StateRunning, f.container(req.RuntimeID).status)
}

func TestARemovalThatIsUnderWayIsAwaited(t *testing.T) {
	t.Parallel()
	f := newFakeEngine(t)
	d := f.driver(t)
	req := f.request(nil)
	rt, err := d.Acquire(t.Context(), req)
	require.NoError(t, err)
	var asked atomic.Int32
	f.rule = func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case r.Method == http.MethodDelete && strings.Contains(r.URL.Path, "/containers/") && asked.Load() == 0:
			asked.Add(1)
			refuse(w, 409, "removal of container c1 is already in progress")
			return true
		case strings.HasSuffix(r.URL.Path, "/c1/json") && asked.Load() > 0 && asked.Add(1) == 4:
			f.mu.Lock()
			clear(f.containers)
			f.mu.Unlock()
		}
		return false
	}
	require.NoError(t, d.Release(t.Context(), drivers.ReleaseRequest{Handle: driverstest.HandleOf(req, rt)}))
	require.GreaterOrEqual(t, asked.Load(), int32(4))
	require.Zero(t, f.things())
}

func TestAReleaseThatFailsMayBeTriedAgain(t *testing.T) {
	t.Parallel()
	f := newFakeEngine(t)
	d := f.driver(t)
	req := f.request(nil)
	rt, err := d.Acquire(t.Context(), req)
	require.NoError(t, err)
	var works atomic.Bool
	f.rule = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodDelete || works.Load() {
			return false
		}
		refuse(w, 400, "driver \"overlay2\" failed to remove root filesystem")
		return true
	}
	release := drivers.ReleaseRequest{Handle: driverstest.HandleOf(req, rt)}
	failure := requireFailure(t, d.Release(t.Context(), release), drivers.OutcomeRetryable, "engine_refused")
	require.ErrorContains(t, failure, "c1")
	works.Store(true)
	require.NoError(t, d.Release(t.Context(), release))
	require.Zero(t, f.things())
}

func TestAPullIsReportedWithItsProgressAndItsReason(t *testing.T) {
	t.Parallel()
	f := newFakeEngine(t)
	f.images["tools:1"] = false
	f.pulled = true
	f.pull = []string{
		`{"status":"Pulling from library/tools","id":"1"}`,
		`{"status":"Downloading","progressDetail":{"current":5,"total":10},"id":"aa"}`,
		`{"status":"Extracting","progressDetail":{"current":1,"total":10},"id":"aa"}`,
		`{"status":"Status: Downloaded newer image for tools:1"}`,
	}
	var header atomic.Value
	f.rule = func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/images/create") {
			header.Store(r.Header.Get("X-Registry-Auth"))
		}
		return false
	}
	var log bytes.Buffer
	opts := f.options(t)
	opts.Logger = slog.New(slog.NewTextHandler(&log, nil))
	d, err := docker.New(opts)
	require.NoError(t, err)
	_, err = d.Acquire(t.Context(), f.request(map[string]any{"registryUsername": "u", "registryPassword": "p4ss"}))
	require.NoError(t, err)
	sent, err := base64.URLEncoding.DecodeString(header.Load().(string))
	require.NoError(t, err)
	var auth map[string]string
	require.NoError(t, json.Unmarshal(sent, &auth))
	require.Equal(t, map[string]string{"username": "u", "password": "p4ss"}, auth)
	require.Contains(t, log.String(), "image pulled")
	require.Contains(t, log.String(), "the fake warns")
	require.NotContains(t, log.String(), "p4ss")

	for line, outcome := range map[string]drivers.Outcome{
		`{"errorDetail":{"message":"manifest for tools:1 not found: manifest unknown"},"error":"x"}`:  drivers.OutcomeDefinite,
		`{"errorDetail":{"message":"pull access denied for tools"},"error":"x"}`:                      drivers.OutcomeDefinite,
		`{"errorDetail":{"message":"net/http: TLS handshake timeout"},"error":"x"}`:                   drivers.OutcomeRetryable,
		`{"errorDetail":{"message":"toomanyrequests: You have reached your rate limit"},"error":"x"}`: drivers.OutcomeRetryable,
		`junk`: drivers.OutcomeRetryable,
	} {
		f.mu.Lock()
		f.pull = []string{`{"status":"Pulling from library/tools","id":"1"}`, line}
		f.mu.Unlock()
		_, err := d.Acquire(t.Context(), f.request(map[string]any{"pullPolicy": "always"}))
		failure := requireFailure(t, err, outcome, "image_unavailable")
		require.Equal(t, "pull_image", failure.Step)
		var said struct{ ErrorDetail struct{ Message string } }
		if json.Unmarshal([]byte(line), &said) == nil {
			require.ErrorContains(t, err, said.ErrorDetail.Message, "the engine's own reason")
		}
	}
}
