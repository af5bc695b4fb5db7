package driverstest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/drivers"
)

// Usurper puts something else in the place of a runtime, behind the driver's back. The function that it returns fails t if
// that was touched since, and takes it away if nothing else does.
type Usurper func(t *testing.T, d drivers.Driver, h drivers.Handle) (untouched func())

// Unreachable is a driver whose runtimes are out of reach between cut and mend.
type Unreachable struct {
	Driver    drivers.Driver
	Config    json.RawMessage
	Cut, Mend func()
}

// next is the request of the next holder of the runtime.
func (r *Runtime) next() drivers.ResumeRequest {
	req := r.req
	req.Fence, req.LeaseID, req.RunID, req.Attempt = r.Handle.Fence+1, uuid.NewString(), "run-2", 1
	return drivers.ResumeRequest{AcquireRequest: req, ProviderLeaseID: r.Handle.ProviderLeaseID, Metadata: r.Handle.Metadata}
}

// again is a repeated Resume of the present holder.
func (r *Runtime) again() drivers.ResumeRequest {
	return drivers.ResumeRequest{AcquireRequest: r.req, ProviderLeaseID: r.Handle.ProviderLeaseID, Metadata: r.Handle.Metadata}
}

// Resume gives the runtime to its next holder, which r is from then on. It returns the one before.
func (r *Runtime) Resume() (older *Runtime) {
	r.t.Helper()
	req := r.next()
	rt, err := drivers.Resume(r.t.Context(), r.Driver, req)
	require.NoError(r.t, err)
	require.True(r.t, rt.Resumed)
	before := *r
	r.req, r.Handle = req.AcquireRequest, HandleOf(req.AcquireRequest, rt)
	return &before
}

// Keep gives the runtime back.
func (r *Runtime) Keep(stop bool) error {
	return drivers.Keep(r.t.Context(), r.Driver, drivers.KeepRequest{Handle: r.Handle, Attempt: 1, Stop: stop})
}

// testKeep are the laws of a [drivers.Keeper].
func testKeep(t *testing.T, f Features) {
	testKept(t, f)
	testFence(t, f)
	testLost(t, f)
	testKeepRaces(t, f)
}

// RunFence tests on its own that older holders are kept out, for ways to run commands that the whole suite does not take.
func RunFence(t *testing.T, f Features) {
	t.Helper()
	f.Repeats = 1
	testFence(t, f)
	testKeepRaces(t, f)
}

func testKept(t *testing.T, f Features) {
	for _, stop := range []bool{false, true} {
		t.Run(fmt.Sprintf("what is kept is there for the next holder, stopped %v", stop), func(t *testing.T) {
			t.Parallel()
			r := Acquire(t, f)
			r.write("mine")
			require.NoError(t, r.Keep(stop))
			require.NoError(t, r.Keep(stop), "it may be repeated")
			requireListed(t, f, r.Driver, r.req, 1)
			first := r.Resume()
			r.read("mine")
			rt, err := drivers.Resume(t.Context(), r.Driver, r.again())
			require.NoError(t, err)
			require.Equal(t, r.Handle, HandleOf(r.req, rt), "it may be repeated")
			require.Equal(t, drivers.IdentityOf(first.Handle.Metadata), drivers.IdentityOf(rt.Metadata), "it is the same one")
			requireListed(t, f, r.Driver, r.req, 1)
			r.write("both")
			require.NoError(t, r.Keep(stop))
			r.Resume()
			r.read("both")
		})
		t.Run(fmt.Sprintf("a kept runtime is released for good by its last holder, stopped %v", stop), func(t *testing.T) {
			t.Parallel()
			r := Acquire(t, f)
			r.write("mine")
			require.NoError(t, r.Keep(stop))
			require.NoError(t, r.Release())
			requireListed(t, f, r.Driver, r.req, 0)
			require.NoError(t, r.Release())
			require.ErrorIs(t, r.Keep(stop), drivers.ErrGone)
			_, err := drivers.Resume(t.Context(), r.Driver, r.next())
			require.ErrorIs(t, err, drivers.ErrGone)
			requireListed(t, f, r.Driver, r.req, 0)
		})
		t.Run(fmt.Sprintf("keep ends what runs, stopped %v", stop), func(t *testing.T) {
			t.Parallel()
			r := Acquire(t, f)
			if !r.runs() {
				return
			}
			e, mark := r.sleep()
			require.NoError(t, r.Keep(stop))
			require.Equal(t, drivers.ExecKilled, r.Finish(e, time.Now()).End)
			requireNoProcess(t, f, mark)
			r.requireStale(t, "the hold is over")
			r.Resume()
			require.Equal(t, "hi\n", string(r.Run(drivers.ExecRequest{Argv: []string{"echo", "hi"}}).Stdout))
		})
	}
	t.Run("a kept runtime may be resumed with the same fence", func(t *testing.T) {
		t.Parallel()
		r := Acquire(t, f)
		require.NoError(t, r.Keep(false))
		rt, err := drivers.Resume(t.Context(), r.Driver, r.again())
		require.NoError(t, err)
		require.Equal(t, r.Handle.ProviderLeaseID, rt.ProviderLeaseID)
		require.Equal(t, drivers.IdentityOf(r.Handle.Metadata), drivers.IdentityOf(rt.Metadata))
		r.Handle = HandleOf(r.req, rt)
		r.write("again")
		r.read("again")
	})
	t.Run("a repeated resume leaves the holder's commands alone", func(t *testing.T) {
		t.Parallel()
		r := Acquire(t, f)
		if !r.runs() {
			return
		}
		require.NoError(t, r.Keep(true))
		r.Resume()
		e, _ := r.sleep()
		_, err := drivers.Resume(t.Context(), r.Driver, r.again())
		require.NoError(t, err)
		requireRunning(t, e)
	})
}

func testFence(t *testing.T, f Features) {
	t.Run("an older holder does nothing to the newer one's runtime", func(t *testing.T) {
		t.Parallel()
		r := Acquire(t, f)
		require.NoError(t, r.Keep(true))
		older := r.Resume()
		var running *Running
		if r.runs() {
			running, _ = r.sleep()
		}
		drive := []drivers.Driver{r.Driver}
		if f.Peer != nil {
			drive = append(drive, f.Peer(t, r.Driver))
		}
		for _, older.Driver = range drive {
			requireStaleFailure(t, older.Keep(true))
			requireStaleFailure(t, older.Release())
			_, err := drivers.Resume(t.Context(), older.Driver, older.again())
			requireStaleFailure(t, err)
			if r.runs() {
				older.requireStale(t, "there is a newer holder")
			}
		}
		if running != nil {
			requireRunning(t, running)
		}
		r.write("newer")
		r.read("newer")
		requireListed(t, f, r.Driver, r.req, 1)
		require.NoError(t, r.Keep(true), "the newer one is not hindered either")
		r.Resume()
	})
	t.Run("a newer holder ends what an older one still runs", func(t *testing.T) {
		t.Parallel()
		r := Acquire(t, f)
		if !r.runs() {
			return
		}
		e, mark := r.sleep()
		older := r.Resume() // nobody kept it: that worker is dead, or thinks that it is alone
		require.Equal(t, drivers.ExecKilled, older.Finish(e, time.Now()).End)
		requireNoProcess(t, f, mark)
		older.requireStale(t, "there is a newer holder")
	})
	t.Run("whoever knows that nobody needs it releases without a fence", func(t *testing.T) {
		t.Parallel()
		r := Acquire(t, f)
		require.NoError(t, r.Keep(true))
		handle := r.Handle
		handle.Fence = 0
		require.NoError(t, r.Driver.Release(t.Context(), drivers.ReleaseRequest{Handle: handle, Attempt: 1}))
		requireListed(t, f, r.Driver, r.req, 0)
	})
}

func testLost(t *testing.T, f Features) {
	t.Run("a runtime that was removed is gone", func(t *testing.T) {
		t.Parallel()
		require.NotNil(t, f.Lose, "a driver with Keep is tested with a runtime that somebody removed")
		r := Acquire(t, f)
		require.NoError(t, r.Keep(true))
		f.Lose(t, r.Driver, r.Handle)
		for range 2 {
			require.ErrorIs(t, r.Keep(true), drivers.ErrGone)
			_, err := drivers.Resume(t.Context(), r.Driver, r.next())
			require.ErrorIs(t, err, drivers.ErrGone)
			require.NotErrorIs(t, err, drivers.ErrMismatch)
			requireListed(t, f, r.Driver, r.req, 0)
		}
	})
	if f.New(t).Describe().Class == drivers.ClassIdempotent {
		require.NotEmpty(t, f.Usurp, "a driver with Keep is tested with something else in a runtime's place")
	}
	for name, usurp := range f.Usurp {
		t.Run("another thing in its place is left alone: "+name, func(t *testing.T) {
			t.Parallel()
			r := Acquire(t, f)
			require.NoError(t, r.Keep(true))
			untouched := usurp(t, r.Driver, r.Handle)
			for range 2 {
				_, err := drivers.Resume(t.Context(), r.Driver, r.next())
				require.ErrorIs(t, err, drivers.ErrMismatch)
				require.NotErrorIs(t, err, drivers.ErrGone)
				untouched()
				err = r.Keep(true)
				require.ErrorIs(t, err, drivers.ErrGone, "what the lease had is gone")
				untouched()
			}
		})
	}
	t.Run("trouble on the way loses nothing", func(t *testing.T) {
		t.Parallel()
		if f.Unreachable == nil {
			return // it is on this machine
		}
		u := f.Unreachable(t)
		own := f
		own.New = func(*testing.T) drivers.Driver { return u.Driver }
		if u.Config != nil {
			own.Config = u.Config
		}
		r := Acquire(t, own)
		r.write("mine")
		u.Cut()
		requireTransient(t, r.Keep(true))
		u.Mend()
		require.NoError(t, r.Keep(true))
		u.Cut()
		for range 2 {
			_, err := drivers.Resume(t.Context(), r.Driver, r.next())
			requireTransient(t, err)
		}
		u.Mend()
		r.Resume()
		r.read("mine")
	})
}

func testKeepRaces(t *testing.T, f Features) {
	drive := func(r *Runtime) []*Runtime {
		all := []*Runtime{r}
		if f.Peer != nil {
			other := *r
			other.Driver = f.Peer(t, r.Driver)
			all = append(all, &other)
		}
		return all
	}
	t.Run("a keep that races with starts leaves no command running", func(t *testing.T) {
		t.Parallel()
		r := Acquire(t, f)
		if !r.runs() {
			return
		}
		for range max(f.Repeats/16, 2) {
			mark := token()
			var group sync.WaitGroup
			var mu sync.Mutex
			var started []*Running
			for _, by := range drive(r) {
				for range 3 {
					group.Go(func() {
						e, err := by.Start(drivers.ExecRequest{Argv: []string{"sleep", mark}})
						if err == nil {
							mu.Lock()
							started = append(started, e)
							mu.Unlock()
							return
						}
						if _, ok := errors.AsType[*drivers.StartError](err); !ok {
							t.Errorf("a StartError, not %v", err)
						}
					})
				}
			}
			require.NoError(t, r.Keep(false))
			requireNoProcess(t, f, mark)
			group.Wait()
			requireNoProcess(t, f, mark)
			for _, e := range started {
				require.NotEqual(t, drivers.ExecExited, r.Finish(e, time.Now()).End)
			}
			r.Resume()
		}
	})
	t.Run("of a resume and a late teardown one wins", func(t *testing.T) {
		t.Parallel()
		for range max(f.Repeats/16, 2) {
			r := Acquire(t, f)
			require.NoError(t, r.Keep(true))
			all := drive(r)
			older := *all[len(all)-1]
			req := r.next()
			var resumed, released error
			var rt drivers.Runtime
			var group sync.WaitGroup
			group.Go(func() { released = older.Release() })
			group.Go(func() { rt, resumed = drivers.Resume(t.Context(), r.Driver, req) })
			group.Wait()
			if f.NoLock && resumed == nil && released == nil {
				// Both may have won there. Then the newer holder has nothing or all of it, and nothing outlives its own release.
				r.req, r.Handle = req.AcquireRequest, HandleOf(req.AcquireRequest, rt)
				require.NoError(t, r.Release())
				requireListed(t, f, r.Driver, r.req, 0)
				continue
			}
			if resumed == nil {
				requireStaleFailure(t, released)
				r.req, r.Handle = req.AcquireRequest, HandleOf(req.AcquireRequest, rt)
				r.write("newer")
				r.read("newer")
				continue
			}
			require.NoError(t, released)
			require.ErrorIs(t, resumed, drivers.ErrGone)
			requireListed(t, f, r.Driver, r.req, 0)
		}
	})
}

// runs says whether commands can be run in it.
func (r *Runtime) runs() bool { return r.Driver.Describe().Capabilities.Exec }

// write leaves a file in the workspace, where commands are programs.
func (r *Runtime) write(text string) {
	r.t.Helper()
	if r.posix {
		require.Zero(r.t, r.Sh(`printf %s `+text+` > kept; mkdir -p dir; echo deep > dir/file; printf t > "$TMPDIR/kept"`).ExitCode)
	}
}

func (r *Runtime) read(text string) {
	r.t.Helper()
	if r.posix {
		require.Equal(r.t, text+"deep\n", string(r.Sh(`cat kept dir/file`).Stdout))
	}
}

// sleep starts a command that does not end by itself.
func (r *Runtime) sleep() (e *Running, mark string) {
	r.t.Helper()
	mark = token()
	e, err := r.Start(drivers.ExecRequest{Argv: []string{"sleep", mark}, Grace: 100 * time.Millisecond})
	require.NoError(r.t, err)
	return e, mark
}

// requireStale fails unless a command of r is refused, and did not run.
func (r *Runtime) requireStale(t *testing.T, why string) {
	t.Helper()
	mark := token()
	_, err := r.Start(drivers.ExecRequest{Argv: []string{"sleep", mark}})
	requireStage(t, err, drivers.StageFence)
	start, _ := errors.AsType[*drivers.StartError](err)
	require.Equal(t, drivers.CodeStaleFence, start.Code, why)
	requireNoProcess(t, Features{HostProcesses: r.hostProcesses}, mark)
}

func requireStaleFailure(t *testing.T, err error) {
	t.Helper()
	failure, ok := errors.AsType[*drivers.Failure](err)
	require.True(t, ok, "a Failure, not %v", err)
	require.Equal(t, drivers.OutcomeDefinite, failure.Outcome, "%v", err)
	require.Equal(t, drivers.CodeStaleFence, failure.Code, "%v", err)
	require.NotEmpty(t, failure.Remediation)
}

func requireTransient(t *testing.T, err error) {
	t.Helper()
	failure, ok := errors.AsType[*drivers.Failure](err)
	require.True(t, ok, "a Failure, not %v", err)
	require.Equal(t, drivers.OutcomeRetryable, failure.Outcome, "%v", err)
	require.NotEmpty(t, failure.Remediation)
	require.NotErrorIs(t, err, drivers.ErrGone)
	require.NotErrorIs(t, err, drivers.ErrMismatch)
}

func requireRunning(t *testing.T, e *Running) {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(t.Context(), 100*time.Millisecond, errStillRuns)
	defer cancel()
	_, err := e.Wait(ctx)
	require.ErrorIs(t, err, errStillRuns)
}

var errStillRuns = errors.New("the command still runs")
