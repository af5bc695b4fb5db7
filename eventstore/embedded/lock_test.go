package embedded_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/tenure-dev/tenure/eventstore/embedded"
	"github.com/tenure-dev/tenure/eventstore/embedded/internal/enginetest"
)

func TestLockIsHeldByOneAndNamesTheHolder(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	lock, err := embedded.Lock(dir)
	require.NoError(t, err)
	// What a killed engine wrote there is not believed.
	require.NoError(t, os.WriteFile(filepath.Join(dir, "tenure.lock"), []byte("1\n"), 0o600))
	_, err = embedded.Lock(dir)
	requireCode(t, err, embedded.CodeDataDirBusy)
	require.ErrorContains(t, err, fmt.Sprintf("process %d", os.Getpid()))

	require.NoError(t, lock.Unlock())
	again, err := embedded.Lock(dir)
	require.NoError(t, err)
	require.NoError(t, again.Unlock())
}

// A child that was forked, and has not begun its program yet, has all files of its parent.
func TestUnlockGivesTheDirectoryBackWhoeverHasTheFileToo(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	lock, err := embedded.Lock(dir)
	require.NoError(t, err)
	open, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	copied := -1
	for _, fd := range open {
		if path, _ := os.Readlink("/proc/self/fd/" + fd.Name()); path == filepath.Join(lock.Dir(), "tenure.lock") {
			n, err := strconv.Atoi(fd.Name())
			require.NoError(t, err)
			copied, err = unix.Dup(n)
			require.NoError(t, err)
		}
	}
	require.Positive(t, copied)
	defer func() { require.NoError(t, unix.Close(copied)) }()
	require.NoError(t, lock.Unlock())
	again, err := embedded.Lock(dir)
	require.NoError(t, err)
	require.NoError(t, again.Unlock())
}

func TestLockOfTheCallerIsKeptByStop(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	lock, err := embedded.Lock(dir)
	require.NoError(t, err)
	server, err := embedded.Start(t.Context(), embedded.Options{Lock: lock, NoSync: true})
	require.NoError(t, err)
	require.NoError(t, server.Stop(t.Context()))
	_, err = embedded.Lock(dir)
	requireCode(t, err, embedded.CodeDataDirBusy)
	require.NoError(t, lock.Unlock())
}

func TestTwoEnginesStartedAtOnceAreOneWinnerAndOneThatSaysWho(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	a, b := enginetest.Begin(t, enginetest.Request{DataDir: dir}), enginetest.Begin(t, enginetest.Request{DataDir: dir})
	a.Await()
	b.Await()
	winner, loser := a, b
	if a.Error != "" {
		winner, loser = b, a
	}
	require.Empty(t, winner.Error)
	require.Equal(t, embedded.CodeDataDirBusy, loser.Code)
	require.Contains(t, loser.Error, fmt.Sprintf("in use by process %d", winner.PID()))
	winner.Stop()
}
