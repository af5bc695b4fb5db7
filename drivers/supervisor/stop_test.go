package supervisor_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/domain/execution"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/fake"
	"github.com/tenure-dev/tenure/drivers/supervisor"
)

func TestStopLetsDriverCallsFinishAndEndsCommandsAfterTheDrain(t *testing.T) {
	g := make(chan *gate, 1)
	inWorld(t, fake.Options{Hooks: fake.Hooks{BeforeAcquire: func(ctx context.Context, _ drivers.AcquireRequest) error {
		return heed(ctx, g)
	}}}, func(t *testing.T, w *world) {
		n := w.start(supervisor.Options{DrainTimeout: 10 * time.Second})
		active := w.acquire()
		w.isLease(lease.StatusActive, active)
		x := w.exec(active, "sleep")
		w.isExec(execution.StatusRunning, x)
		slow := newGate()
		g <- slow
		made := w.acquire()
		w.isLease(lease.StatusProvisioning, made)

		began := time.Now()
		stopped := make(chan error, 1)
		go func() { stopped <- n.Stop(t.Context()) }()
		w.pass(5 * time.Second)
		slow.open()
		w.isLease(lease.StatusActive, made)
		w.isExec(execution.StatusRunning, x)
		late := w.acquire()
		require.NoError(t, <-stopped)
		require.Equal(t, 10*time.Second, time.Since(began))
		require.Equal(t, "engine_shutdown", w.hasEnded(execution.EndKilled, x).Why)
		w.isLease(lease.StatusActive, active)
		w.isLease(lease.StatusGranted, late)
		rows, err := w.processes.List(t.Context())
		require.NoError(t, err)
		require.Len(t, rows, 1)
		require.True(t, rows[0].Left)
		require.False(t, rows[0].Alive)
	})
}

func TestStopOfAnIdleSupervisorIsImmediateAndMayBeRepeated(t *testing.T) {
	inWorld(t, fake.Options{}, func(t *testing.T, w *world) {
		n := w.start(supervisor.Options{})
		w.isLease(lease.StatusActive, w.acquire())
		began := time.Now()
		require.NoError(t, n.Stop(t.Context()))
		require.NoError(t, n.Stop(t.Context()))
		require.Zero(t, time.Since(began))
		require.NoError(t, w.prepare(supervisor.Options{}).Stop(t.Context()), "it was never started")
	})
}

func TestStopCutsDriverCallsShortAfterTheDrainAndTheNextProcessGoesOn(t *testing.T) {
	g := make(chan *gate, 1)
	inWorld(t, fake.Options{Hooks: fake.Hooks{BeforeAcquire: func(ctx context.Context, _ drivers.AcquireRequest) error {
		return heed(ctx, g)
	}}}, func(t *testing.T, w *world) {
		slow := newGate()
		g <- slow
		n := w.start(supervisor.Options{DrainTimeout: time.Second})
		id := w.acquire()
		w.isLease(lease.StatusProvisioning, id)
		require.NoError(t, n.Stop(t.Context()))
		w.isLease(lease.StatusProvisioning, id)
		slow.open()
		w.start(supervisor.Options{})
		require.Equal(t, 2, w.isLease(lease.StatusActive, id).Attempt)
	})
}

func TestStopIsBoundedByItsContextWhateverADriverDoes(t *testing.T) {
	g := make(chan *gate, 1)
	inWorld(t, fake.Options{Hooks: fake.Hooks{BeforeAcquire: firstAttempt(g)}}, func(t *testing.T, w *world) {
		open, shut := newGate(), newGate()
		open.open()
		g <- open
		registry, err := drivers.NewRegistry(immortal{w.driver})
		require.NoError(t, err)
		n := w.prepareWith(registry, supervisor.Options{DrainTimeout: time.Second})
		require.NoError(t, n.Start(t.Context()))
		id := w.acquire()
		w.isLease(lease.StatusActive, id)
		<-g
		g <- shut
		x := w.exec(id, "sleep")
		w.isExec(execution.StatusRunning, x)
		w.acquire()
		w.settled()

		began := time.Now()
		ctx, cancel := context.WithTimeoutCause(t.Context(), 3*time.Second, errors.New("enough"))
		defer cancel()
		require.ErrorContains(t, n.Stop(ctx), "enough")
		require.Equal(t, 3*time.Second, time.Since(began))
		shut.open()
		w.isExec(execution.StatusRunning, x)
		w.pass(10 * time.Second) // then the Kill that hangs is given up as well
	})
}

// immortal is a driver whose commands do not end when they are told to for the first time, and whose Kill does not
// return then.
type immortal struct{ *fake.Driver }

func (d immortal) StartExec(ctx context.Context, req drivers.ExecRequest) (drivers.Exec, error) {
	exec, err := d.Driver.StartExec(ctx, req)
	return &immortalExec{Exec: exec}, err
}

type immortalExec struct {
	drivers.Exec
	asked atomic.Int64
}

func (e *immortalExec) Kill(ctx context.Context, why string) error {
	if e.asked.Add(1) == 1 {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	return e.Exec.Kill(ctx, why)
}

func TestNothingHappensAfterStop(t *testing.T) {
	inWorld(t, fake.Options{Hooks: fake.Hooks{BeforeAcquire: func(context.Context, drivers.AcquireRequest) error {
		return errors.New("busy")
	}}}, func(t *testing.T, w *world) {
		n := w.start(supervisor.Options{RetryBase: time.Minute, RetryLimit: time.Hour})
		id := w.acquire()
		w.isLease(lease.StatusProvisioning, id)
		require.NoError(t, n.Stop(t.Context()))
		before := w.names(streamOf(id))
		other := w.acquire()
		w.pass(24 * time.Hour)
		require.Equal(t, before, w.names(streamOf(id)))
		w.isLease(lease.StatusGranted, other)
	})
}
