package fake

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/driverstest"
)

func TestTheFakeKeepsThePromisesOfEveryClass(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string]Options{
		"idempotent": {},
		"listable":   {Class: drivers.ClassListable},
		"blind":      {Class: drivers.ClassBlind, NoList: true},
		"bare":       {NoExec: true, NoList: true, NoCheckConfig: true, NoProbe: true, NoKeep: true},
		"keeper":     {NoExec: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var usurp map[string]driverstest.Usurper
			if cmp.Or(opts.Class, drivers.ClassIdempotent) == drivers.ClassIdempotent { // the others know an instance by its own name
				usurp = map[string]driverstest.Usurper{"another instance": func(t *testing.T, d drivers.Driver, h drivers.Handle) func() {
					other := d.(*Driver).Usurp(h.RuntimeID)
					return func() { require.Contains(t, d.(*Driver).Live(), other) }
				}}
			}
			driverstest.Run(t, driverstest.Features{
				New:   func(*testing.T) drivers.Driver { return New(opts) },
				Lose:  func(_ *testing.T, d drivers.Driver, h drivers.Handle) { d.(*Driver).Lose(h.RuntimeID) },
				Usurp: usurp,
				BadConfigs: map[string]json.RawMessage{
					"config": json.RawMessage(`3`), "config.size": json.RawMessage(`{"size": 1}`),
				},
			})
		})
	}
}

func TestALostAnswerLeavesAnInstanceInTheLedger(t *testing.T) {
	t.Parallel()
	lost := errors.New("the answer was lost")
	for class, live := range map[drivers.Class]int{drivers.ClassIdempotent: 1, drivers.ClassBlind: 2} {
		answers := []error{lost, nil}
		d := New(Options{Class: class, Hooks: Hooks{AfterAcquire: func(context.Context, drivers.AcquireRequest) error {
			err := answers[0]
			answers = answers[1:]
			return err
		}}})
		req := driverstest.AcquireRequest(driverstest.Features{})
		_, err := d.Acquire(t.Context(), req)
		require.ErrorIs(t, err, lost)
		require.Len(t, d.Live(), 1)
		_, err = d.Acquire(t.Context(), req)
		require.NoError(t, err)
		require.Len(t, d.Live(), live)
		require.NoError(t, d.Release(t.Context(), drivers.ReleaseRequest{Handle: drivers.Handle{RuntimeID: req.RuntimeID}}))
		require.Empty(t, d.Live())
		require.Equal(t, d.Made(), d.Released())
	}
}

func TestACommandIsAFunctionOfTheTest(t *testing.T) {
	t.Parallel()
	d := New(Options{Commands: map[string]Command{"greet": func(_ context.Context, c Call) int {
		c.Stdout("hello " + c.Argv[1])
		c.Stderr("done")
		return 3
	}}})
	req := driverstest.AcquireRequest(driverstest.Features{})
	_, err := d.Acquire(t.Context(), req)
	require.NoError(t, err)
	dir := filepath.Join(t.TempDir(), "exec")
	e, err := d.StartExec(t.Context(), drivers.ExecRequest{
		Handle: drivers.Handle{RuntimeID: req.RuntimeID, Fence: req.Fence}, Argv: []string{"greet", "you"}, JournalDir: dir,
	})
	require.NoError(t, err)
	result, err := e.Wait(t.Context())
	require.NoError(t, err)
	require.Equal(t, 3, result.ExitCode)
	stdout, stderr := driverstest.ReadOutput(t, dir)
	require.Equal(t, "hello you", string(stdout))
	require.Equal(t, "done", string(stderr))
}
