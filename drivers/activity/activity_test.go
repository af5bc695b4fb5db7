package activity

import (
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/drivers"
)

type command struct{ done chan struct{} }

func (c *command) Done() <-chan struct{} { return c.done }

func TestNothingStartsDuringAReleaseAndNothingIsMissedByIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var r Runtimes[*command]
		before, late := &command{make(chan struct{})}, &command{make(chan struct{})}
		require.NoError(t, r.BeginStart("a"))
		r.EndStart("a", before)
		require.NoError(t, r.BeginStart("a"))
		require.NoError(t, r.BeginStart("a"))

		idle := r.BeginRelease("a")
		var start *drivers.StartError
		require.ErrorAs(t, r.BeginStart("a"), &start)
		require.Equal(t, "runtime_releasing", start.Code)
		require.NoError(t, r.BeginStart("another"))
		r.EndStart("a", nil)
		select {
		case <-idle:
			t.Fatal("a command is still about to start")
		default:
		}
		r.EndStart("a", late)
		<-idle
		require.Equal(t, []*command{before, late}, r.Running("a"))
		close(before.done)
		synctest.Wait()
		require.Equal(t, []*command{late}, r.Running("a"))
		close(late.done)
		synctest.Wait()
		r.EndRelease("a")

		require.NoError(t, r.BeginStart("a"), "the release has failed")
		r.EndStart("a", nil)
		<-r.BeginRelease("a")
		r.EndRelease("a")
		r.EndStart("another", nil)
		require.Empty(t, r.byID, "nothing is remembered")
	})
}
