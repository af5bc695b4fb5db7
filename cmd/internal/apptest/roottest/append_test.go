package roottest

import (
	"context"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/cmd/internal/apptest"
)

// The disk fills up under the embedded Postgres: first its tables cannot grow, then its log of changes cannot, of which it
// dies. Clients are told so; when there is room again the same engine goes on, and every command has happened once.
func TestAnEngineGoesOnByItselfAfterAFullDisk(t *testing.T) {
	t.Parallel()
	d := newDisk(t, 200)
	e := d.engine()
	e.Start()
	pid := e.PID()
	tenant := e.Tenant(wire.AddEnvironment{})
	lease := e.Acquire(tenant, wire.AcquireLease{}).Lease
	c := &commands{t: t, e: e, c: impatient(t, e), company: tenant.Company.ID, ids: map[string]uuid.UUID{}}
	c.add()
	require.Empty(t, c.refused)

	d.fill()
	require.Eventually(t, func() bool { c.add(); return c.said("no_space") }, waitLong, time.Millisecond, "the tables cannot grow")
	got, err := c.c.Lease(t.Context(), lease.ID)
	require.NoError(t, err, "what is there can be read")
	require.Equal(t, wire.LeaseActive, got.Status)

	fillLogOfChanges(t, e)
	// A server that cannot be started is given up for any other reason after half a minute.
	require.Eventually(t, func() bool {
		c.add()
		return strings.Count(e.Log(), "postgres cannot be restarted yet") > 10
	}, 5*time.Minute, 200*time.Millisecond)
	require.Equal(t, "no_space", c.refused[len(c.refused)-1])
	require.Contains(t, e.Log(), "free space in "+e.DataDir)
	_, err = c.c.Lease(t.Context(), lease.ID)
	require.Equal(t, "no_space", requireNotNow(t, err))

	d.free()
	require.Eventually(t, func() bool {
		_, err := e.Client.Health(t.Context())
		return err == nil
	}, waitLong, 50*time.Millisecond, "the engine brings its Postgres back")
	c.requireAllHappenedOnce()
	require.Equal(t, pid, e.PID())
	x, out, _ := e.Run(lease.ID, wire.StartExec{Argv: []string{"echo", "still here"}})
	require.Equal(t, "still here\n", string(out))
	require.Equal(t, 0, *x.Result.ExitCode)
	_, err = e.Client.ReleaseLease(t.Context(), lease.ID, wire.Release{}, client.Wait(waitLong))
	require.NoError(t, err)
}

// commands adds environments, each under a key of its own, and notes what it is told.
type commands struct {
	t       *testing.T
	e       *apptest.Engine
	c       *client.Client
	company uuid.UUID
	keys    []string
	ids     map[string]uuid.UUID
	// refused are the codes of the answers that were none.
	refused []string
}

// add sends one, large enough to need room.
func (c *commands) add() {
	key := uuid.NewString()
	c.keys = append(c.keys, key)
	if err := c.send(c.c, key); err != nil {
		c.refused = append(c.refused, requireNotNow(c.t, err))
	}
}

func (c *commands) send(by *client.Client, key string) error {
	metadata, err := json.Marshal(map[string]string{"text": strings.Repeat(key, 100)})
	require.NoError(c.t, err)
	got, err := by.AddEnvironment(c.t.Context(), c.company,
		wire.AddEnvironment{Name: key, Driver: "local", Metadata: metadata}, client.IdempotencyKey(key))
	if err != nil {
		return err
	}
	if before, ok := c.ids[key]; ok {
		require.Equal(c.t, before, got.ID, "the same key, another environment")
	}
	c.ids[key] = got.ID
	return nil
}

func (c *commands) said(code string) bool {
	return len(c.refused) > 0 && c.refused[len(c.refused)-1] == code
}

// requireAllHappenedOnce repeats every command under its key; then each has made one environment.
func (c *commands) requireAllHappenedOnce() {
	c.t.Helper()
	for _, key := range c.keys {
		require.NoError(c.t, c.send(c.e.Client, key))
	}
	distinct := map[uuid.UUID]bool{}
	for _, id := range c.ids {
		distinct[id] = true
	}
	require.Len(c.t, distinct, len(c.keys))
	events, err := c.e.Client.Events(c.t.Context(), client.Page("", 1))
	require.NoError(c.t, err)
	found := 0
	for after, more := "", true; more; {
		page, err := c.e.Client.Environments(c.t.Context(), c.company, client.Page(after, 500), client.MinPosition(events.Position))
		require.NoError(c.t, err)
		found += len(page.Items)
		if more = page.Next != nil; more {
			after = *page.Next
		}
	}
	require.Equal(c.t, len(c.keys)+1, found, "and there is that of the lease")
}

// fillLogOfChanges makes Postgres write its log of changes until it has no room for the next file of it, and dies.
func fillLogOfChanges(t *testing.T, e *apptest.Engine) {
	t.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, "host="+filepath.Join(e.DataDir, "run")+" user=tenure dbname=tenure")
	require.NoError(t, err)
	for range 64 {
		if _, err = conn.Exec(ctx, `SELECT pg_logical_emit_message(false, 'test', repeat('x', 1 << 20))`); err != nil {
			break
		}
	}
	require.Error(t, err, "there was room for more than a file")
	assert.True(t, conn.IsClosed())
}
