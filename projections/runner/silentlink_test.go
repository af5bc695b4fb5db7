package runner_test

import (
	"context"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/eventstore/pg"
	"github.com/tenure-dev/tenure/migrations"
	"github.com/tenure-dev/tenure/migrations/pgtest"
	"github.com/tenure-dev/tenure/projections/projectionstest"
	"github.com/tenure-dev/tenure/projections/runner"
)

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
	url := pgtest.URL(t)
	direct := pgtest.Connect(t, url)
	require.NoError(t, migrations.Up(t.Context(), direct))
	store, err := pg.Open(context.Background(), direct, pg.Options{})
	require.NoError(t, err)
	t.Cleanup(store.Close)
	proxy, proxied := pgtest.NewProxy(t, url)
	e := &engine{pool: pgtest.Connect(t, proxied), store: store}
	log := &counting{Handler: slog.DiscardHandler}
	r := e.runner(runner.Options{Logger: slog.New(log)})
	run(t, r)
	events, _ := lives(t, 3)
	require.NoError(t, r.Wait(within(t, 30*time.Second), projectionstest.Append(t, store, events[:1])))

	proxy.Refuse(true)
	last := projectionstest.Append(t, store, events[1:])
	soon(t, "many failures", func() bool { return log.records.Load() >= 5 })
	trap := proxy.Set(&pgtest.Trap{Statement: "projection_pointers", From: pgtest.FromClient, Silent: true})
	proxy.Refuse(false)
	<-trap.Sprung()
	require.NoError(t, r.Wait(within(t, 40*time.Second), last))
}
