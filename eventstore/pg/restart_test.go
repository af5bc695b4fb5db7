package pg_test

import (
	"context"
	"fmt"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/embedded"
	"github.com/tenure-dev/tenure/eventstore/eventstoretest"
	"github.com/tenure-dev/tenure/eventstore/pg"
	"github.com/tenure-dev/tenure/migrations"
	"github.com/tenure-dev/tenure/migrations/pgtest"
)

// Case A23: Postgres goes down as by `pg_ctl restart -m immediate` while 500 appends are on their way, several times. Each
// append happens once, and each caller is told where.
func TestAppendsSurviveAnImmediateRestartOfTheServer(t *testing.T) {
	t.Parallel()
	server := ownServer(t)
	pool := pgtest.Connect(t, server.ConnString())
	require.NoError(t, migrations.Up(t.Context(), pool))
	s := openPool(t, pool, pg.Options{AppendTimeout: time.Minute})

	const writers, each, restarts = 10, 50, 3
	progress := make(chan struct{}, writers*each)
	fates := map[uuid.UUID]fate{}
	var mu sync.Mutex
	var group sync.WaitGroup
	for range writers {
		group.Go(func() {
			stream := eventstoretest.NewStream()
			for n := range each {
				a := eventstoretest.One(stream, eventstore.Exactly(int64(n)), n)
				r, err := s.Submit(a).Wait(context.Background())
				progress <- struct{}{}
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				fates[a.ID] = fate{events: 1, first: r.First, done: true}
				mu.Unlock()
			}
		})
	}
	for range restarts {
		for range writers * each / (restarts + 1) {
			<-progress
		}
		before := server.PID()
		require.NoError(t, syscall.Kill(before, syscall.SIGQUIT))
		require.Eventually(t, func() bool { return server.PID() != before }, 3*time.Minute, 5*time.Millisecond)
	}
	group.Wait()

	log := eventstoretest.All(t, s)
	require.Len(t, log, writers*each)
	verifyLog(t, log)
	for _, r := range log {
		require.Equal(t, fate{events: 1, first: r.Position, done: true}, fates[r.AppendID])
	}
}

// ownServer is a Postgres of the test's own, to be treated badly, with the disk flushed as for real.
func ownServer(t *testing.T) *embedded.Server {
	t.Helper()
	dir, err := os.MkdirTemp("", "tenure-pg-") //nolint:usetesting // t.TempDir is closed to the server's user
	require.NoError(t, err)
	require.NoError(t, os.Chmod(dir, 0o755))
	t.Cleanup(func() { assert.NoError(t, os.RemoveAll(dir)) })
	server, err := embedded.Start(context.Background(), embedded.Options{DataDir: dir})
	require.NoError(t, err)
	t.Cleanup(func() {
		if err := server.Stop(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	})
	return server
}
