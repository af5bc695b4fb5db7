package apptest_test

import (
	"context"
	"iter"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/cmd/internal/apptest"
)

// Case A28: three event streams and a running command with a follower do not hold the shutdown up. The command gets the
// drain time and is then ended and recorded.
func TestOpenStreamsDoNotHoldTheShutdownUp(t *testing.T) {
	t.Parallel()
	e := apptest.Start(t, apptest.WithArgs("--drain-timeout", "1s"))
	lease := e.Acquire(e.Tenant(wire.AddEnvironment{}), wire.AcquireLease{}).Lease
	x, err := e.Client.StartExec(t.Context(), lease.ID, lease.Fence, wire.StartExec{Argv: []string{"sh", "-c", "echo begun; sleep 600"}})
	require.NoError(t, err)
	var followers sync.WaitGroup
	begun := make(chan struct{}, 4)
	for range 3 {
		followers.Go(func() {
			readAll(t, e.Client.FollowLeaseEvents(context.Background(), lease.ID, 0), begun)
		})
	}
	followers.Go(func() {
		readAll(t, e.Client.ExecOutput(context.Background(), x.ID, client.OutputOptions{Follow: true}), begun)
	})
	for range 4 {
		<-begun
	}
	began := time.Now()
	e.Signal(syscall.SIGTERM)
	pid := e.PID()
	second := time.AfterFunc(time.Second, func() { _ = syscall.Kill(pid, syscall.SIGTERM) })
	require.Equal(t, 0, e.Wait())
	second.Stop()
	require.Less(t, time.Since(began), time.Minute, "none of them ends by itself")
	followers.Wait()
	log := e.Log()
	require.NotContains(t, strings.ToLower(log), "panic")

	e.Start()
	ended := e.Ended(x.ID)
	require.Equal(t, wire.EndKilled, ended.Result.End)
	require.Equal(t, "engine_shutdown", *ended.Result.Why)
	got, err := e.Client.Lease(t.Context(), lease.ID)
	require.NoError(t, err)
	require.Equal(t, wire.LeaseActive, got.Status, "a lease outlives its engine")
}

// readAll says when the first item is there and reads on until the stream ends, with or without an error: the second signal
// may cut it.
func readAll[T any](t *testing.T, stream iter.Seq2[T, error], begun chan<- struct{}) {
	first := true
	for _, err := range stream {
		if first {
			assert.NoError(t, err)
			begun <- struct{}{}
			first = false
		}
	}
}
