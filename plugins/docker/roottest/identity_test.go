package roottest

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/driverstest"
	"github.com/tenure-dev/tenure/plugins/docker/dockertest"
)

func release(t *testing.T, d drivers.Driver, req drivers.AcquireRequest) {
	t.Helper()
	require.NoError(t, d.Release(t.Context(), drivers.ReleaseRequest{Handle: driverstest.HandleOf(req, drivers.Runtime{}), Attempt: 1}))
	requireNothingLeft(t, req.RuntimeID)
}

func listed(t *testing.T, d drivers.Driver, req drivers.AcquireRequest) []drivers.ListedRuntime {
	t.Helper()
	all, err := drivers.ListRuntimes(t.Context(), d, drivers.ListRequest{Installation: req.Installation, Config: req.Config})
	require.NoError(t, err)
	var found []drivers.ListedRuntime
	for _, r := range all {
		if r.RuntimeID == req.RuntimeID {
			found = append(found, r)
		}
	}
	return found
}

func TestLabelsKeepOutOlderHoldersAndOtherInstallations(t *testing.T) {
	t.Parallel()
	d := newDriver(t)
	req := driverstest.AcquireRequest(features(t, nil))
	first, err := d.Acquire(t.Context(), req)
	require.NoError(t, err)
	newer := req
	newer.Fence, newer.LeaseID, newer.Epoch = req.Fence+1, uuid.NewString(), 2
	second, err := newDriver(t).Acquire(t.Context(), newer) // another process
	require.NoError(t, err)
	require.True(t, second.Resumed)
	require.Equal(t, first.ProviderLeaseID, second.ProviderLeaseID)
	require.Equal(t, drivers.IdentityOf(first.Metadata), drivers.IdentityOf(second.Metadata))
	found := listed(t, d, req)
	require.Len(t, found, 1)
	require.Equal(t, newer.LeaseID, found[0].LeaseID)
	require.EqualValues(t, 2, found[0].Epoch)
	require.Equal(t, first.ProviderLeaseID, found[0].ProviderLeaseID)

	_, err = d.Acquire(t.Context(), req)
	_ = requireFailure(t, err, drivers.OutcomeAmbiguous, "stale_fence")
	other := newer
	other.Installation = "another"
	_, err = d.Acquire(t.Context(), other)
	_ = requireFailure(t, err, drivers.OutcomeAmbiguous, "foreign_runtime")
	require.NoError(t, d.Release(t.Context(), drivers.ReleaseRequest{Handle: driverstest.HandleOf(other, drivers.Runtime{})}))
	require.Len(t, listed(t, d, req), 1, "a release of another installation takes nothing down")
	release(t, d, newer)
}

func TestAContainerOfOursNameThatIsNotOursIsLeftAlone(t *testing.T) {
	t.Parallel()
	d := newDriver(t)
	req := driverstest.AcquireRequest(features(t, nil))
	made, err := engine.Client.ContainerCreate(t.Context(), client.ContainerCreateOptions{
		Name: "tenure-" + req.RuntimeID, Config: &container.Config{Image: dockertest.Image, Cmd: []string{"true"}},
	})
	require.NoError(t, err)
	_, err = d.Acquire(t.Context(), req)
	f := requireFailure(t, err, drivers.OutcomeAmbiguous, "foreign_runtime")
	require.ErrorContains(t, f, made.ID)
	require.NoError(t, d.Release(t.Context(), drivers.ReleaseRequest{Handle: driverstest.HandleOf(req, drivers.Runtime{})}))
	_, err = engine.Client.ContainerRemove(t.Context(), made.ID, client.ContainerRemoveOptions{})
	require.NoError(t, err, "it was still there")
}

func TestWhatIsHalfMadeIsCompletedAndWhatStoppedIsStarted(t *testing.T) {
	t.Parallel()
	var refuse atomic.Bool
	host := engine.Proxy(t, func(w http.ResponseWriter, r *http.Request) bool {
		if refuse.Load() && r.Method == http.MethodPut { // the archive with the workspace
			panic(http.ErrAbortHandler) // as if the process died over it
		}
		return refuse.Load() && (r.Method == http.MethodDelete || strings.HasSuffix(r.URL.Path, "/rename")) && abort()
	})
	f := features(t, map[string]any{"host": host, "user": "worker"})
	req := driverstest.AcquireRequest(f)
	refuse.Store(true)
	_, err := newDriver(t).Acquire(t.Context(), req)
	_ = requireFailure(t, err, drivers.OutcomeAmbiguous, "engine_unreachable")
	require.Equal(t, container.StateCreated, state(t, req))
	require.Len(t, listed(t, newDriver(t), req), 1)

	refuse.Store(false)
	d := newDriver(t)
	f.New = func(*testing.T) drivers.Driver { return d }
	rt, err := d.Acquire(t.Context(), req)
	require.NoError(t, err)
	require.True(t, rt.Resumed)
	run := func(script string) string { return inRuntime(t, d, req, script) }
	require.Equal(t, "1234", run(`stat -c %u "$HOME" && echo kept > file`))

	_, err = engine.Client.ContainerKill(t.Context(), *rt.ProviderLeaseID, client.ContainerKillOptions{})
	require.NoError(t, err)
	_, err = drivers.StartExec(t.Context(), d, drivers.ExecRequest{
		Handle: driverstest.HandleOf(req, rt), Argv: []string{"true"}, JournalDir: t.TempDir() + "/j",
	})
	start, ok := errors.AsType[*drivers.StartError](err)
	require.True(t, ok)
	require.Equal(t, "runtime_stopped", start.Code)
	again, err := d.Acquire(t.Context(), req)
	require.NoError(t, err)
	require.Equal(t, rt, again)
	require.Equal(t, "kept", run("cat file"))
	release(t, d, req)
}

// abort ends a request without an answer.
func abort() bool { panic(http.ErrAbortHandler) }

func state(t *testing.T, req drivers.AcquireRequest) container.ContainerState {
	t.Helper()
	found, err := engine.Client.ContainerInspect(t.Context(), "tenure-"+req.RuntimeID, client.ContainerInspectOptions{})
	require.NoError(t, err)
	return found.Container.State.Status
}

// inRuntime runs a script and returns its words.
func inRuntime(t *testing.T, d drivers.Driver, req drivers.AcquireRequest, script string) string {
	t.Helper()
	dir := t.TempDir() + "/journal"
	e, err := drivers.StartExec(t.Context(), d, drivers.ExecRequest{
		Handle: driverstest.HandleOf(req, drivers.Runtime{}), Argv: []string{"sh", "-c", script}, JournalDir: dir,
	})
	require.NoError(t, err)
	result, err := e.Wait(t.Context())
	require.NoError(t, err)
	stdout, stderr := driverstest.ReadOutput(t, dir)
	require.Zero(t, result.ExitCode, "%s", stderr)
	return strings.Join(strings.Fields(string(stdout)), " ")
}

// A10.
func TestAFailureAfterTheCreateLeavesNothing(t *testing.T) {
	t.Parallel()
	host := engine.Proxy(t, func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/start") {
			http.Error(w, `{"message":"the disk is on fire"}`, http.StatusInternalServerError)
			return true
		}
		return false
	})
	req := driverstest.AcquireRequest(features(t, map[string]any{"host": host}))
	_, err := newDriver(t).Acquire(t.Context(), req)
	f := requireFailure(t, err, drivers.OutcomeRetryable, "start_failed")
	require.Equal(t, "start_container", f.Step)
	require.ErrorContains(t, err, "the disk is on fire")
	requireNothingLeft(t, req.RuntimeID)
}

func TestAFailureAfterTheCreateThatCannotBeUndoneSaysWhatIsLeft(t *testing.T) {
	t.Parallel()
	var broken atomic.Bool
	broken.Store(true)
	host := engine.Proxy(t, func(w http.ResponseWriter, r *http.Request) bool {
		if broken.Load() && (strings.HasSuffix(r.URL.Path, "/start") || r.Method == http.MethodDelete) {
			http.Error(w, `{"message":"the disk is on fire"}`, http.StatusInternalServerError)
			return true
		}
		return false
	})
	d := newDriver(t)
	req := driverstest.AcquireRequest(features(t, map[string]any{"host": host}))
	_, err := d.Acquire(t.Context(), req)
	f := requireFailure(t, err, drivers.OutcomeAmbiguous, "start_failed")
	found := listed(t, d, req)
	require.Len(t, found, 1)
	require.ErrorContains(t, f, *found[0].ProviderLeaseID)
	require.Contains(t, f.Remediation, *found[0].ProviderLeaseID)
	broken.Store(false)
	release(t, d, req)
}

func TestAContainerThatIsMadeTooLateIsFoundByItsLabel(t *testing.T) {
	t.Parallel()
	var held atomic.Int32
	letGo, made := make(chan struct{}), make(chan struct{})
	host := engine.Proxy(t, func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, "/containers/create") || held.Add(1) != 1 {
			return false
		}
		// The engine goes on with a request whose client has gone.
		defer close(made)
		<-letGo
		engineAnswer(w, r.WithContext(context.WithoutCancel(r.Context())))
		return true
	})
	d := newDriver(t)
	req := driverstest.AcquireRequest(features(t, map[string]any{"host": host, "timeoutMs": 10000}))
	began := time.Now()
	_, err := d.Acquire(t.Context(), req)
	f := requireFailure(t, err, drivers.OutcomeRetryable, "engine_timeout")
	require.Less(t, time.Since(began), time.Minute)
	require.ErrorContains(t, f, "making the container did not end within 10s")
	require.Empty(t, listed(t, d, req))

	close(letGo)
	<-made
	require.Len(t, listed(t, d, req), 1)
	rt, err := d.Acquire(t.Context(), req) // the next attempt, with the same token
	require.NoError(t, err)
	require.True(t, rt.Resumed)
	require.Equal(t, "hi", inRuntime(t, d, req, "echo hi"))
	release(t, d, req)
}

func TestWhatIsHalfRemovedIsListedAndRemoved(t *testing.T) {
	t.Parallel()
	d := newDriver(t)
	req := driverstest.AcquireRequest(features(t, nil))
	rt, err := d.Acquire(t.Context(), req)
	require.NoError(t, err)
	_, err = engine.Client.ContainerRemove(t.Context(), *rt.ProviderLeaseID, client.ContainerRemoveOptions{Force: true})
	require.NoError(t, err)
	found := listed(t, d, req)
	require.Len(t, found, 1)
	require.Equal(t, req.LeaseID, found[0].LeaseID)
	require.Nil(t, found[0].ProviderLeaseID)
	release(t, d, req)
	require.Empty(t, listed(t, d, req))
}

func TestAReleaseFinishesThoughItsConfigurationIsNotAcceptedAnyMore(t *testing.T) {
	t.Parallel()
	d := newDriver(t)
	req := driverstest.AcquireRequest(features(t, nil))
	_, err := d.Acquire(t.Context(), req)
	require.NoError(t, err)
	req.Config = []byte(`{"image": 7, "gone": true}`)
	release(t, d, req)
}
