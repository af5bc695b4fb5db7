package supervisor_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/domain/execution"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/driverstest"
	"github.com/tenure-dev/tenure/drivers/fake"
	"github.com/tenure-dev/tenure/drivers/supervisor"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/commands"
)

func TestACommandKilledBeforeItsStartNeverRuns(t *testing.T) {
	var starts atomic.Int64
	inWorld(t, fake.Options{Hooks: fake.Hooks{BeforeExec: func(context.Context, drivers.ExecRequest) error {
		starts.Add(1)
		return nil
	}}}, func(t *testing.T, w *world) {
		n := w.start(supervisor.Options{})
		id := w.acquire()
		w.isLease(lease.StatusActive, id)
		n.deaf.Store(true)
		x := w.exec(id, "sleep")
		w.kill(x, "changed my mind")
		w.pass(3 * time.Second)
		require.Equal(t, "changed my mind", w.hasEnded(execution.EndKilled, x).Why)
		require.Zero(t, starts.Load())
	})
}

func TestACommandKilledDuringItsStartIsEndedOnceItHasStarted(t *testing.T) {
	g := make(chan *gate, 1)
	inWorld(t, fake.Options{Hooks: fake.Hooks{BeforeExec: func(ctx context.Context, _ drivers.ExecRequest) error {
		return heed(ctx, g)
	}}}, func(t *testing.T, w *world) {
		slow := newGate()
		g <- slow
		w.start(supervisor.Options{})
		id := w.acquire()
		w.isLease(lease.StatusActive, id)
		x := w.exec(id, "sleep")
		w.isExec(execution.StatusClaimed, x)
		w.kill(x, "too slow")
		w.pass(5 * time.Second)
		slow.open()
		require.Equal(t, "too slow", w.hasEnded(execution.EndKilled, x).Why)
		w.isLease(lease.StatusActive, id)
	})
}

func TestARunningCommandIsKilled(t *testing.T) {
	inWorld(t, fake.Options{}, func(t *testing.T, w *world) {
		w.start(supervisor.Options{})
		id := w.acquire()
		w.isLease(lease.StatusActive, id)
		x := w.exec(id, "sleep")
		running := w.isExec(execution.StatusRunning, x)
		require.NotZero(t, running.Process.PID)
		w.kill(x, "enough")
		require.Equal(t, "enough", w.hasEnded(execution.EndKilled, x).Why)
		require.Equal(t, execution.SealComplete, w.execution(x).Seal.State)
	})
}

func TestAReleaseEndsACommandThatStartsOrRuns(t *testing.T) {
	g := make(chan *gate, 1)
	inWorld(t, fake.Options{Hooks: fake.Hooks{BeforeExec: func(ctx context.Context, req drivers.ExecRequest) error {
		if req.Argv[len(req.Argv)-1] == "slow" {
			return heed(ctx, g)
		}
		return nil
	}}}, func(t *testing.T, w *world) {
		slow := newGate()
		g <- slow
		w.start(supervisor.Options{})
		id := w.acquire()
		w.isLease(lease.StatusActive, id)
		runs, starts := w.exec(id, "sleep"), w.exec(id, "sleep", "slow")
		w.isExec(execution.StatusRunning, runs)
		w.isExec(execution.StatusClaimed, starts)
		w.release(id)
		require.Equal(t, "lease_released", w.hasEnded(execution.EndKilled, runs).Why)
		w.isLease(lease.StatusReleasing, id)
		slow.open()
		require.Equal(t, "lease_released", w.hasEnded(execution.EndKilled, starts).Why)
		w.isLease(lease.StatusReleased, id)
	})
}

func TestACommandWhoseEndCannotBeSeenDoesNotKeepItsLease(t *testing.T) {
	inWorld(t, fake.Options{Hooks: fake.Hooks{BeforeExec: func(ctx context.Context, _ drivers.ExecRequest) error {
		<-ctx.Done()
		return ctx.Err()
	}}}, func(t *testing.T, w *world) {
		w.start(supervisor.Options{ReleaseTimeout: 10 * time.Second, StartTimeout: time.Hour})
		id := w.acquire()
		w.isLease(lease.StatusActive, id)
		w.exec(id, "sleep")
		w.settled()
		w.release(id)
		w.pass(6 * time.Second)
		w.isLease(lease.StatusReleased, id)
	})
}

func TestACommandInALeaseThatEndedMeanwhileNeverStarts(t *testing.T) {
	inWorld(t, fake.Options{}, func(t *testing.T, w *world) {
		n := w.start(supervisor.Options{})
		id := w.acquire()
		w.isLease(lease.StatusActive, id)
		n.deaf.Store(true)
		x := w.exec(id, "echo")
		w.release(id)
		w.pass(2 * time.Second)
		end := w.hasEnded(execution.EndStartFailed, x)
		require.Equal(t, "lease", end.Stage)
		require.Equal(t, "lease_ended", end.Code)
	})
}

func TestAStartThatFailsSaysWhere(t *testing.T) {
	inWorld(t, fake.Options{Hooks: fake.Hooks{BeforeExec: func(ctx context.Context, req drivers.ExecRequest) error {
		switch req.Argv[1] {
		case "typed":
			return &drivers.StartError{Stage: "cwd", Code: "no_directory", Err: errors.New("no such directory"), Remediation: "make it"}
		case "bare":
			return errors.New("no luck")
		case "panic":
			panic("at the disco")
		}
		<-ctx.Done()
		return context.Cause(ctx)
	}}}, func(t *testing.T, w *world) {
		w.start(supervisor.Options{StartTimeout: time.Second})
		id := w.acquire()
		w.isLease(lease.StatusActive, id)
		for what, code := range map[string]string{"typed": "no_directory", "bare": "start_failed", "panic": "driver_panicked", "silent": "driver_timeout"} {
			x := w.exec(id, "echo", what)
			w.pass(2 * time.Second)
			require.Equal(t, code, w.hasEnded(execution.EndStartFailed, x).Code)
		}
		w.isLease(lease.StatusActive, id)
	})
}

func TestACommandGetsTheVariablesOfEnvironmentLeaseAndItself(t *testing.T) {
	var got atomic.Value
	inWorld(t, fake.Options{Commands: map[string]fake.Command{"env": func(_ context.Context, c fake.Call) int {
		var words []string
		for _, v := range c.Env {
			words = append(words, v.Name+"="+v.Value)
		}
		got.Store(strings.Join(words, " ") + " < " + string(c.Stdin))
		return 0
	}}}, func(t *testing.T, w *world) {
		w.start(supervisor.Options{})
		id := w.acquire(func(a *commands.Acquire) { a.Env = map[string]string{"OF": "lease", "LEASE": "1"} })
		w.isLease(lease.StatusActive, id)
		x := w.execWith(id, commands.Values{Env: map[string]string{"OF": "command"}, Stdin: []byte("input")}, "env")
		w.hasEnded(execution.EndExited, x)
		require.Equal(t, "OF=environment LEASE=1 OF=lease OF=command < input", got.Load())
	})
}

func TestACommandWhoseValuesAreGoneDoesNotRunWithoutThem(t *testing.T) {
	inWorld(t, fake.Options{}, func(t *testing.T, w *world) {
		n := w.start(supervisor.Options{})
		id := w.acquire()
		w.isLease(lease.StatusActive, id)
		n.deaf.Store(true)
		withEnv := w.execWith(id, commands.Values{Env: map[string]string{"TOKEN": "hunter2"}}, "echo")
		withStdin := w.execWith(id, commands.Values{Stdin: []byte("hunter2")}, "cat")
		stream := eventstore.StreamOf("test", uuid.New())
		_, err := w.store.Submit(eventstore.Append{
			ID: uuid.New(), Expect: []eventstore.Expectation{{Stream: stream}}, DropInputs: []uuid.UUID{withEnv.UUID, withStdin.UUID},
			Events: []eventstore.NewEvent{{Stream: stream, Name: "Lost", Revision: 1, Payload: []byte(`{}`)}},
		}).Wait(t.Context())
		require.NoError(t, err)
		w.pass(2 * time.Second)
		end := w.hasEnded(execution.EndStartFailed, withEnv)
		require.Equal(t, "values_lost", end.Code)
		require.Contains(t, end.Message, `"TOKEN"`)
		require.Equal(t, "values_lost", w.hasEnded(execution.EndStartFailed, withStdin).Code)
	})
}

func TestAnExitCodeSurvivesAStoreThatIsAwayFromStartToEnd(t *testing.T) {
	g := make(chan *gate, 1)
	inWorld(t, fake.Options{
		Hooks:    fake.Hooks{BeforeExec: func(ctx context.Context, _ drivers.ExecRequest) error { return heed(ctx, g) }},
		Commands: map[string]fake.Command{"seven": func(context.Context, fake.Call) int { return 7 }},
	}, func(t *testing.T, w *world) {
		slow := newGate()
		g <- slow
		n := w.start(supervisor.Options{})
		id := w.acquire()
		w.isLease(lease.StatusActive, id)
		x := w.exec(id, "seven")
		w.isExec(execution.StatusClaimed, x)
		n.link.down.Store(true)
		slow.open()
		w.pass(10 * time.Minute)
		w.isExec(execution.StatusClaimed, x)
		n.link.down.Store(false)
		w.pass(11 * time.Second)
		require.Equal(t, 7, *w.hasEnded(execution.EndExited, x).ExitCode)
	})
}

func TestAStoreThatIsAwayDoesNotFailACommandThatWasNotClaimed(t *testing.T) {
	inWorld(t, fake.Options{}, func(t *testing.T, w *world) {
		n := w.start(supervisor.Options{})
		id := w.acquire()
		w.isLease(lease.StatusActive, id)
		n.link.down.Store(true)
		x := w.exec(id, "echo", "late")
		w.pass(time.Minute)
		w.isExec(execution.StatusRequested, x)
		n.link.down.Store(false)
		w.pass(2 * time.Second)
		w.hasEnded(execution.EndExited, x)
	})
}

func TestACommandIsClaimedOnlyWhenAllThatItNeedsIsAtHand(t *testing.T) {
	inWorld(t, fake.Options{}, func(t *testing.T, w *world) {
		n := w.start(supervisor.Options{})
		id := w.acquire()
		w.isLease(lease.StatusActive, id)
		n.link.noInputs.Store(true)
		x := w.execWith(id, commands.Values{Stdin: []byte("input")}, "cat")
		w.pass(time.Minute)
		w.isExec(execution.StatusRequested, x)
		n.link.noInputs.Store(false)
		w.pass(2 * time.Second)
		w.hasEnded(execution.EndExited, x)
	})
}

func TestACommandWhoseLeaseIsTakenDownBetweenClaimAndStartIsNotStarted(t *testing.T) {
	var starts atomic.Int64
	inWorld(t, fake.Options{Hooks: fake.Hooks{BeforeExec: func(context.Context, drivers.ExecRequest) error {
		starts.Add(1)
		return nil
	}}}, func(t *testing.T, w *world) {
		n := w.start(supervisor.Options{})
		id := w.acquire()
		w.isLease(lease.StatusActive, id)
		releaseAfterClaim := func(a eventstore.Append) {
			if a.Events[0].Name == (execution.Claimed{}).EventName() {
				w.release(id)
				<-time.After(time.Second)
			}
		}
		n.link.after.Store(&releaseAfterClaim)
		x := w.exec(id, "sleep")
		w.pass(2 * time.Second)
		require.Equal(t, "lease_released", w.hasEnded(execution.EndKilled, x).Why)
		w.isLease(lease.StatusReleased, id)
		require.Zero(t, starts.Load())
	})
}

func TestAnEndThatCannotBeIsRecordedAsUnknown(t *testing.T) {
	inWorld(t, fake.Options{}, func(t *testing.T, w *world) {
		registry, err := drivers.NewRegistry(careless{w.driver})
		require.NoError(t, err)
		require.NoError(t, w.prepareWith(registry, supervisor.Options{}).Start(t.Context()))
		id := w.acquire()
		w.isLease(lease.StatusActive, id)
		x := w.exec(id, "echo")
		require.Contains(t, w.hasEnded(execution.EndUnknown, x).Why, "signal")
	})
}

// careless reports signals without names.
type careless struct{ *fake.Driver }

func (d careless) StartExec(ctx context.Context, req drivers.ExecRequest) (drivers.Exec, error) {
	exec, err := d.Driver.StartExec(ctx, req)
	return carelessExec{exec}, err
}

type carelessExec struct{ drivers.Exec }

func (e carelessExec) Wait(ctx context.Context) (drivers.ExecResult, error) {
	r, err := e.Exec.Wait(ctx)
	r.End = drivers.ExecSignaled
	return r, err
}

func TestCommandsDoNotWaitBehindSlowProvisioning(t *testing.T) {
	g := make(chan *gate, 1)
	inWorld(t, fake.Options{Hooks: fake.Hooks{BeforeAcquire: func(ctx context.Context, _ drivers.AcquireRequest) error {
		return heed(ctx, g)
	}}}, func(t *testing.T, w *world) {
		w.start(supervisor.Options{Parallel: 1})
		id := w.acquire()
		w.isLease(lease.StatusActive, id)
		slow := newGate()
		g <- slow
		w.acquire()
		x := w.exec(id, "sleep")
		w.isExec(execution.StatusRunning, x)
		w.kill(x, "now")
		w.hasEnded(execution.EndKilled, x)
		slow.open()
	})
}

func TestTheOutputOfACommandIsInItsJournal(t *testing.T) {
	var dir atomic.Value
	inWorld(t, fake.Options{Hooks: fake.Hooks{BeforeExec: func(_ context.Context, req drivers.ExecRequest) error {
		dir.Store(req.JournalDir)
		return nil
	}}}, func(t *testing.T, w *world) {
		w.start(supervisor.Options{})
		id := w.acquire()
		w.isLease(lease.StatusActive, id)
		x := w.exec(id, "echo", "hello")
		w.hasEnded(execution.EndExited, x)
		require.Equal(t, x.String(), filepath.Base(fmt.Sprint(dir.Load())))
		stdout, _ := driverstest.ReadOutput(t, fmt.Sprint(dir.Load()))
		require.Equal(t, "hello\n", string(stdout))
		require.Equal(t, int64(6), w.execution(x).Seal.Stdout.Bytes)
	})
}
