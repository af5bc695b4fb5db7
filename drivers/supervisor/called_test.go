package supervisor_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/domain/execution"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/fake"
	"github.com/tenure-dev/tenure/drivers/supervisor"
)

// calls are those that a supervisor told of.
type calls struct {
	mu  sync.Mutex
	all []supervisor.Call
}

func (c *calls) called(call supervisor.Call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all = append(c.all, call)
}

func TestEveryCallOfADriverIsToldWithItsTimeAndItsEnd(t *testing.T) {
	tries := 0
	inWorld(t, fake.Options{Hooks: fake.Hooks{BeforeAcquire: func(ctx context.Context, _ drivers.AcquireRequest) error {
		tries++
		if tries == 1 {
			return &drivers.Failure{Outcome: drivers.OutcomeRetryable, Code: "busy", Err: errors.New("not yet")}
		}
		select {
		case <-time.After(3 * time.Second):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}}}, func(t *testing.T, w *world) {
		w.start(supervisor.Options{})
		id := w.acquire()
		w.pass(time.Minute)
		w.isLease(lease.StatusActive, id)
		w.hasEnded(execution.EndExited, w.exec(id, "echo"))
		w.release(id)
		w.isLease(lease.StatusReleased, id)

		w.calls.mu.Lock()
		defer w.calls.mu.Unlock()
		require.Len(t, w.calls.all, 4)
		for i, want := range []supervisor.Call{
			{Verb: supervisor.VerbAcquire, Outcome: "retryable"},
			{Verb: supervisor.VerbAcquire, Outcome: "ok", Took: 3 * time.Second},
			{Verb: supervisor.VerbStartExec, Outcome: "ok"},
			{Verb: supervisor.VerbRelease, Outcome: "ok"},
		} {
			want.Driver, want.Provider = "fake", "fake"
			require.Equal(t, want, w.calls.all[i])
		}
	})
}
