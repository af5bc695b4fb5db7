package docker_test

import (
	"maps"
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
			func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/rename") },
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

// A rename that meets a removal does harm in an engine. So a resume that comes after the release has begun renames nothing.
func TestAResumeLeavesAContainerAloneThatIsBeingRemoved(t *testing.T) {
	t.Parallel()
	f := newFakeEngine(t)
	older, next := kept(t, f)
	newer := f.driver(t)
	var removing atomic.Bool
	var resumed error
	f.rule = func(_ http.ResponseWriter, r *http.Request) bool {
		removal := r.Method == http.MethodDelete && strings.Contains(r.URL.Path, "/containers/")
		if removal && !removing.Swap(true) {
			_, resumed = newer.Resume(t.Context(), next)
		} else if removing.Load() && strings.HasSuffix(r.URL.Path, "/rename") {
			t.Errorf("%s while the container is removed", r.URL)
		}
		return false
	}
	require.NoError(t, f.driver(t).Release(t.Context(), drivers.ReleaseRequest{Handle: older, Attempt: 1}))
	require.True(t, removing.Load())
	require.ErrorIs(t, resumed, drivers.ErrGone)
	require.Zero(t, f.things())
}

// A worker dies between the two steps of a removal. Whoever comes next completes it: another try of the release, or the one who needs
// the runtime's name; nobody has the container any more.
func TestARemovalThatItsWorkerDidNotSurviveIsCompleted(t *testing.T) {
	t.Parallel()
	for name, next := range map[string]func(t *testing.T, d drivers.Driver, older drivers.Handle, next drivers.ResumeRequest){
		"by another try": func(t *testing.T, d drivers.Driver, older drivers.Handle, _ drivers.ResumeRequest) {
			require.NoError(t, d.Release(t.Context(), drivers.ReleaseRequest{Handle: older, Attempt: 2}))
		},
		"by the reaper": func(t *testing.T, d drivers.Driver, older drivers.Handle, _ drivers.ResumeRequest) {
			older.Fence = 0
			require.NoError(t, d.Release(t.Context(), drivers.ReleaseRequest{Handle: older, Attempt: 2}))
		},
		"by an acquire": func(t *testing.T, d drivers.Driver, _ drivers.Handle, next drivers.ResumeRequest) {
			rt, err := d.Acquire(t.Context(), next.AcquireRequest)
			require.NoError(t, err)
			require.False(t, rt.Resumed)
			require.NotEqual(t, *next.ProviderLeaseID, *rt.ProviderLeaseID)
			require.NoError(t, d.Release(t.Context(), drivers.ReleaseRequest{Handle: driverstest.HandleOf(next.AcquireRequest, rt), Attempt: 1}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFakeEngine(t)
			older, resume := kept(t, f)
			var lives atomic.Bool
			f.rule = func(_ http.ResponseWriter, r *http.Request) bool {
				if r.Method == http.MethodDelete && !lives.Load() {
					lose()
				}
				return false
			}
			d := f.driver(t)
			require.Error(t, d.Release(t.Context(), drivers.ReleaseRequest{Handle: older, Attempt: 1}))
			lives.Store(true)
			_, err := d.Resume(t.Context(), resume)
			require.ErrorIs(t, err, drivers.ErrGone)
			require.ErrorIs(t, d.Keep(t.Context(), drivers.KeepRequest{Handle: older, Attempt: 2}), drivers.ErrGone)
			next(t, d, older, resume)
			require.Zero(t, f.things())
		})
	}
}

// A failed acquire takes back what it made. Where that fails too the next one does both anew.
func TestAnAcquireWhoseUndoFailedIsMadeAnew(t *testing.T) {
	t.Parallel()
	f := newFakeEngine(t)
	var broken atomic.Bool
	broken.Store(true)
	f.rule = func(w http.ResponseWriter, r *http.Request) bool {
		if broken.Load() && (strings.HasSuffix(r.URL.Path, "/start") || r.Method == http.MethodDelete) {
			refuse(w, 500, "the disk is on fire")
			return true
		}
		return false
	}
	d := f.driver(t)
	req := f.request(nil)
	_, err := d.Acquire(t.Context(), req)
	_ = requireFailure(t, err, drivers.OutcomeAmbiguous, "start_failed")
	broken.Store(false)
	rt, err := d.Acquire(t.Context(), req)
	require.NoError(t, err)
	require.False(t, rt.Resumed)
	require.Equal(t, container.StateRunning, f.container(req.RuntimeID).status)
	require.NoError(t, d.Release(t.Context(), drivers.ReleaseRequest{Handle: driverstest.HandleOf(req, rt), Attempt: 1}))
	require.Zero(t, f.things())
}

// One that cannot be renamed is removed all the same, by the name that it has.
func TestAContainerThatCannotBeRenamedIsRemoved(t *testing.T) {
	t.Parallel()
	for status, message := range map[int]string{409: "Conflict. The container name is already in use", 500: "no such file or directory"} {
		f := newFakeEngine(t)
		older, _ := kept(t, f)
		f.rule = func(w http.ResponseWriter, r *http.Request) bool {
			if strings.HasSuffix(r.URL.Path, "/rename") {
				refuse(w, status, message)
				return true
			}
			return false
		}
		require.NoError(t, f.driver(t).Release(t.Context(), drivers.ReleaseRequest{Handle: older, Attempt: 1}))
		require.Zero(t, f.things())
	}
}

// An engine may list a container that it does not have any more, without a name.
func TestAContainerThatTheEngineOnlyListsIsNoRuntime(t *testing.T) {
	t.Parallel()
	f := newFakeEngine(t)
	d := f.driver(t)
	req := f.request(nil)
	_, err := d.Acquire(t.Context(), req)
	require.NoError(t, err)
	labels := maps.Clone(f.container(req.RuntimeID).request.Labels)
	labels["tenure.runtime"] = "rt-gone"
	f.mu.Lock()
	f.ghosts = []container.Summary{{ID: "gone", Labels: labels}}
	f.mu.Unlock()
	all, err := d.ListRuntimes(t.Context(), drivers.ListRequest{Installation: driverstest.Installation, Config: req.Config})
	require.NoError(t, err)
	require.Len(t, all, 1)
	require.Equal(t, req.RuntimeID, all[0].RuntimeID)
}

// A removal that the engine could not complete is for whoever tries again, also where a newer holder's rename met it.
func TestADeadContainerIsNobodys(t *testing.T) {
	t.Parallel()
	f := newFakeEngine(t)
	older, next := kept(t, f)
	d := f.driver(t)
	_, err := d.Resume(t.Context(), next)
	require.NoError(t, err)
	require.Error(t, d.Release(t.Context(), drivers.ReleaseRequest{Handle: older, Attempt: 1}))
	f.mu.Lock()
	for _, c := range f.containers {
		c.status = container.StateDead
	}
	f.mu.Unlock()
	_, err = d.Resume(t.Context(), next)
	require.ErrorIs(t, err, drivers.ErrGone)
	require.NoError(t, d.Release(t.Context(), drivers.ReleaseRequest{Handle: older, Attempt: 2}))
	require.Zero(t, f.things())
}
