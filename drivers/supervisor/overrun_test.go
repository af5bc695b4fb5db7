package supervisor_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/domain/execution"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/fake"
	"github.com/tenure-dev/tenure/drivers/supervisor"
)

// noAnswer is a world whose driver makes nothing, and heeds no end of its time, until the gate opens.
func noAnswer(t *testing.T, test func(t *testing.T, w *world, slow *gate)) {
	t.Helper()
	var slow *gate
	inWorld(t, fake.Options{Hooks: fake.Hooks{BeforeAcquire: func(context.Context, drivers.AcquireRequest) error {
		slow.endure()
		return nil
	}}}, func(t *testing.T, w *world) {
		slow = newGate()
		test(t, w, slow)
	})
}

// Case A17, the provider that never answers: the lease fails by its deadline, and what is made in the end is destroyed.
func TestALeaseOfADriverThatNeverAnswersFailsByItsDeadline(t *testing.T) {
	noAnswer(t, func(t *testing.T, w *world, slow *gate) {
		w.start(supervisor.Options{ProvisionTimeout: time.Minute, MaxAttempts: 2})
		id := w.acquire()
		w.isLease(lease.StatusProvisioning, id)
		w.pass(3 * time.Minute)
		failed := w.isLease(lease.StatusFailed, id)
		require.Equal(t, "driver_timeout", failed.FailureCode)
		require.Zero(t, w.driver.Made())
		slow.open()
		w.pass(time.Minute)
		require.NotZero(t, w.driver.Made(), "it came to something after all")
		require.Empty(t, w.driver.Live())
	})
}

func TestALeaseIsReleasedAlthoughItsDriverNeverAnswers(t *testing.T) {
	noAnswer(t, func(t *testing.T, w *world, slow *gate) {
		w.start(supervisor.Options{ProvisionTimeout: time.Minute})
		id := w.acquire()
		w.isLease(lease.StatusProvisioning, id)
		w.release(id)
		w.pass(2 * time.Minute)
		w.isLease(lease.StatusReleased, id)
		slow.open()
		w.pass(time.Minute)
		require.Empty(t, w.driver.Live())
	})
}

func TestACommandThatADriverStartsTooLateIsEndedAndUnknown(t *testing.T) {
	var slow *gate
	inWorld(t, fake.Options{Hooks: fake.Hooks{BeforeExec: func(context.Context, drivers.ExecRequest) error {
		slow.endure()
		return nil
	}}}, func(t *testing.T, w *world) {
		slow = newGate()
		w.start(supervisor.Options{StartTimeout: time.Minute})
		id := w.acquire()
		w.isLease(lease.StatusActive, id)
		x := w.exec(id, "sleep")
		w.pass(2 * time.Minute)
		w.hasEnded(execution.EndUnknown, x)
		slow.open()
		w.settled()
		w.release(id)
		w.pass(time.Minute)
		w.isLease(lease.StatusReleased, id)
	})
}

func TestAStopDoesNotWaitForADriverThatNeverAnswers(t *testing.T) {
	noAnswer(t, func(t *testing.T, w *world, slow *gate) {
		n := w.start(supervisor.Options{DrainTimeout: time.Second})
		id := w.acquire()
		w.isLease(lease.StatusProvisioning, id)
		began := time.Now()
		n.stop()
		require.LessOrEqual(t, time.Since(began), 5*time.Second)
		slow.open()
	})
}
