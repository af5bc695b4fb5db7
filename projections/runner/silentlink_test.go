package runner_test

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/eventstore/pg"
	"github.com/tenure-dev/tenure/migrations"
	"github.com/tenure-dev/tenure/migrations/pgtest"
	"github.com/tenure-dev/tenure/projections"
	"github.com/tenure-dev/tenure/projections/projectionstest"
	"github.com/tenure-dev/tenure/projections/runner"
)

// behindProxy is an engine whose read models see the database through a proxy; its log does not, nor does the other engine.
func behindProxy(t *testing.T) (behind, other *engine, proxy *pgtest.Proxy) {
	t.Helper()
	url := pgtest.URL(t)
	direct := pgtest.Connect(t, url)
	require.NoError(t, migrations.Up(t.Context(), direct))
	store, err := pg.Open(context.Background(), direct, pg.Options{})
	require.NoError(t, err)
	t.Cleanup(store.Close)
	proxy, proxied := pgtest.NewProxy(t, url)
	return &engine{pool: pgtest.Connect(t, proxied), store: store}, &engine{pool: direct, store: store}, proxy
}

// The link goes silent while a page is folded. The server is not told, and its transaction has the locks; yet the next one
// gets them.
func TestALinkThatGoesSilentInATransactionLeavesNoLock(t *testing.T) {
	t.Parallel()
	e, _, proxy := behindProxy(t)
	f := &faulty{}
	r := e.runner(runner.Options{}, f.model())
	run(t, r)
	events, _ := lives(t, 3)
	require.NoError(t, r.Wait(within(t, 2*time.Minute), projectionstest.Append(t, e.store, events[:1])))
	var once sync.Once
	f.set(func(*projections.Event) error {
		once.Do(func() {
			proxy.Silence(true)  // the links that are there, for ever
			proxy.Silence(false) // new ones work
		})
		return nil
	})
	require.NoError(t, r.Wait(within(t, 2*time.Minute), projectionstest.Append(t, e.store, events[1:])))
}

// The links of a rebuild go silent, and the server is not told. Its lock goes with them, so that the next one may begin. A
// rebuild that takes long keeps its lock meanwhile.
func TestARebuildWhoseLinksGoSilentGivesItsLockBack(t *testing.T) {
	t.Parallel()
	e, other, proxy := behindProxy(t)
	f := &faulty{}
	r := e.runner(runner.Options{}, f.model())
	run(t, r)
	events, _ := lives(t, 3)
	require.NoError(t, r.Wait(within(t, 2*time.Minute), projectionstest.Append(t, e.store, events)))
	inside, open := f.stopOnce(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := r.Rebuild(ctx, []string{"leases"}, nil)
		done <- err
	}()
	<-inside
	next := other.runner(runner.Options{}, f.model())
	for began := time.Now(); time.Since(began) < 10*time.Second; {
		_, err := next.Rebuild(t.Context(), []string{"leases"}, nil)
		require.ErrorIs(t, err, runner.ErrRebuildRunning)
	}
	proxy.Silence(true)  // the links that are there, for ever
	proxy.Silence(false) // new ones work
	cancel()
	open()
	require.Error(t, <-done)
	soon(t, "the lock is free", func() bool {
		_, err := next.Rebuild(t.Context(), []string{"leases"}, nil)
		return err == nil
	})
}

// counting counts what is logged.
type counting struct {
	slog.Handler
	records atomic.Int64
}

func (c *counting) Enabled(context.Context, slog.Level) bool { return true }

func (c *counting) Handle(context.Context, slog.Record) error {
	c.records.Add(1)
	return nil
}

// At the end of an outage of many failures one link more goes silent in the middle of a page. The failures before it are no
// reason to wait for it any longer than for the first.
func TestASilentLinkAfterManyFailuresIsNotWaitedForLonger(t *testing.T) {
	t.Parallel()
	e, _, proxy := behindProxy(t)
	log := &counting{Handler: slog.DiscardHandler}
	r := e.runner(runner.Options{Logger: slog.New(log)})
	run(t, r)
	events, _ := lives(t, 3)
	require.NoError(t, r.Wait(within(t, 2*time.Minute), projectionstest.Append(t, e.store, events[:1])))

	proxy.Refuse(true)
	last := projectionstest.Append(t, e.store, events[1:])
	soon(t, "many failures", func() bool { return log.records.Load() >= 5 })
	trap := proxy.Set(&pgtest.Trap{Statement: "projection_pointers", From: pgtest.FromClient, Silent: true})
	proxy.Refuse(false)
	<-trap.Sprung()
	require.NoError(t, r.Wait(within(t, 40*time.Second), last))
}
