package docker_test

import (
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/driverstest"
)

// kept makes a runtime, gives it back, and returns the request of its next holder.
func kept(t *testing.T, f *fakeEngine) (older drivers.Handle, next drivers.ResumeRequest) {
	t.Helper()
	d := f.driver(t)
	req := f.request(nil)
	rt, err := d.Acquire(t.Context(), req)
	require.NoError(t, err)
	older = driverstest.HandleOf(req, rt)
	require.NoError(t, d.Keep(t.Context(), drivers.KeepRequest{Handle: older, Attempt: 1, Stop: true}))
	require.Equal(t, container.StateExited, f.container(req.RuntimeID).status)
	req.Fence++
	return older, drivers.ResumeRequest{AcquireRequest: req, ProviderLeaseID: rt.ProviderLeaseID, Metadata: rt.Metadata}
}

// A worker that is stopped between its look at a container and what it does to it finds that another one has it by then.
func TestAWorkerThatWasPausedBeforeItsTeardownHitsNoNewerHolder(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		at  func(r *http.Request) bool
		ask func(t *testing.T, d drivers.Driver, older drivers.Handle, next drivers.ResumeRequest) error
	}{
		"a release": {
			func(r *http.Request) bool {
				return r.Method == http.MethodDelete && strings.Contains(r.URL.Path, "/containers/")
			},
			func(t *testing.T, d drivers.Driver, older drivers.Handle, _ drivers.ResumeRequest) error {
				return d.Release(t.Context(), drivers.ReleaseRequest{Handle: older, Attempt: 1})
			},
		},
		"a keep, before it takes the name": {
			func(r *http.Request) bool {
				return strings.HasSuffix(r.URL.Path, "/json") && strings.Contains(r.URL.Path, "k_rt-")
			},
			func(t *testing.T, d drivers.Driver, older drivers.Handle, _ drivers.ResumeRequest) error {
				return drivers.Keep(t.Context(), d, drivers.KeepRequest{Handle: older, Attempt: 2, Stop: true})
			},
		},
		"a keep, before it ends what runs": {
			func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/kill") },
			func(t *testing.T, d drivers.Driver, older drivers.Handle, _ drivers.ResumeRequest) error {
				return drivers.Keep(t.Context(), d, drivers.KeepRequest{Handle: older, Attempt: 2, Stop: true})
			},
		},
		"a resume, before it ends what runs": {
			func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/kill") },
			func(t *testing.T, d drivers.Driver, _ drivers.Handle, next drivers.ResumeRequest) error {
				next.Fence--
				_, err := drivers.Resume(t.Context(), d, next)
				return err
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFakeEngine(t)
			older, next := kept(t, f)
			newer := f.driver(t)
			var rt drivers.Runtime
			var resumed error
			var paused atomic.Bool
			f.rule = func(_ http.ResponseWriter, r *http.Request) bool {
				if tc.at(r) && !paused.Swap(true) {
					rt, resumed = newer.Resume(t.Context(), next)
				}
				return false
			}
			err := tc.ask(t, f.driver(t), older, next)
			require.True(t, paused.Load())
			require.NoError(t, resumed)
			failure := &drivers.Failure{}
			require.ErrorAs(t, err, &failure)
			require.Equal(t, drivers.CodeStaleFence, failure.Code)
			require.Equal(t, drivers.OutcomeDefinite, failure.Outcome)
			require.Equal(t, container.StateRunning, f.container(next.RuntimeID).status)
			require.NoError(t, newer.Release(t.Context(), drivers.ReleaseRequest{Handle: driverstest.HandleOf(next.AcquireRequest, rt), Attempt: 1}))
			require.Zero(t, f.things())
		})
	}
}

func TestACommandOfAnOlderHolderIsRefusedByTheContainersName(t *testing.T) {
	t.Parallel()
	f := newFakeEngine(t)
	older, next := kept(t, f)
	next.Fence--
	d := f.driver(t)
	_, err := d.Resume(t.Context(), next) // the same holder again, who is paused before the making of its exec
	require.NoError(t, err)
	next.Fence++
	var paused atomic.Bool
	var resumed error
	f.rule = func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/exec") && !paused.Swap(true) {
			_, resumed = f.driver(t).Resume(t.Context(), next)
		}
		return false
	}
	_, err = d.StartExec(t.Context(), drivers.ExecRequest{
		Handle: older, ExecID: "x", Argv: []string{"true"}, JournalDir: filepath.Join(t.TempDir(), "j"),
	})
	require.True(t, paused.Load())
	require.NoError(t, resumed)
	start := &drivers.StartError{}
	require.ErrorAs(t, err, &start)
	require.Equal(t, []string{drivers.StageFence, drivers.CodeStaleFence}, []string{start.Stage, start.Code})
}

// An acquire that comes after all finds the first name free, since a later holder has renamed the container.
func TestALateAcquireMakesNoSecondContainer(t *testing.T) {
	t.Parallel()
	f := newFakeEngine(t)
	d := f.driver(t)
	req := f.request(nil)
	made := make(chan error, 1)
	var paused atomic.Bool
	f.rule = func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/containers/create") && !paused.Swap(true) {
			other := f.driver(t) // the attempt that took over from this one
			rt, err := other.Acquire(t.Context(), req)
			if err == nil {
				next := req
				next.Fence++
				_, err = other.Resume(t.Context(), drivers.ResumeRequest{AcquireRequest: next, ProviderLeaseID: rt.ProviderLeaseID, Metadata: rt.Metadata})
			}
			made <- err
		}
		return false
	}
	_, err := d.Acquire(t.Context(), req)
	require.NoError(t, <-made)
	failure := &drivers.Failure{}
	require.ErrorAs(t, err, &failure)
	require.Equal(t, drivers.CodeStaleFence, failure.Code)
	f.mu.Lock()
	require.Len(t, f.containers, 1)
	f.mu.Unlock()
	require.Equal(t, container.StateRunning, f.container(req.RuntimeID).status)
}

func TestAnotherEngineAtTheAddressIsNoProofThatAContainerIsGone(t *testing.T) {
	t.Parallel()
	f := newFakeEngine(t)
	older, next := kept(t, f)
	d := f.driver(t)
	f.rule = func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case strings.HasSuffix(r.URL.Path, "/info"):
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write([]byte(`{"ID": "engine-2"}`))
		case strings.HasSuffix(r.URL.Path, "/containers/json"):
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write([]byte(`[]`))
		case strings.Contains(r.URL.Path, "/containers/"):
			refuse(w, 404, "No such container")
		default:
			return false
		}
		return true
	}
	_, err := d.Resume(t.Context(), next)
	require.ErrorIs(t, err, drivers.ErrMismatch)
	require.NotErrorIs(t, err, drivers.ErrGone)
	err = d.Keep(t.Context(), drivers.KeepRequest{Handle: older, Attempt: 2})
	require.NotErrorIs(t, err, drivers.ErrGone)
	require.Equal(t, drivers.OutcomeDefinite, drivers.OutcomeOf(err))
	f.rule = nil
	rt, err := d.Resume(t.Context(), next)
	require.NoError(t, err)
	require.True(t, rt.Resumed)
}

// A removal that was asked for before the newer holder gave the container its name goes on under any name, and its end comes with
// that holder's last step.
func TestAResumeThatLostToATeardownLeavesNothing(t *testing.T) {
	t.Parallel()
	f := newFakeEngine(t)
	_, next := kept(t, f)
	var removed atomic.Bool
	f.rule = func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/volumes/create") && !removed.Swap(true) {
			f.mu.Lock()
			defer f.mu.Unlock()
			clear(f.containers)
			clear(f.volumes)
		}
		return false
	}
	_, err := f.driver(t).Resume(t.Context(), next)
	require.True(t, removed.Load())
	require.ErrorIs(t, err, drivers.ErrGone)
	require.Zero(t, f.things())
}
