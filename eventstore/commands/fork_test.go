package commands_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/environment"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/commands"
	"github.com/tenure-dev/tenure/eventstore/pg"
	"github.com/tenure-dev/tenure/eventstore/vault"
	"github.com/tenure-dev/tenure/migrations/pgtest"
)

// acquire asks for a lease and returns it as it is then.
func acquire(t *testing.T, c *commands.Commands, company domain.CompanyID, env domain.EnvironmentID) (domain.LeaseID, lease.State) {
	t.Helper()
	id := domain.LeaseID{UUID: uuid.New()}
	_, err := c.AcquireLease(t.Context(), commands.Caller{}, commands.Acquire{
		Lease: id, Company: company, Environment: env, Run: "run", Policy: lease.PolicyEphemeral, TTL: time.Hour, IdleTimeout: time.Hour,
		Provider: func(driver string, _ json.RawMessage) string { return driver },
	})
	require.NoError(t, err)
	l, err := c.Lease(t.Context(), id)
	require.NoError(t, err)
	return id, l
}

// A log is set back, and another process brings a stream to the very version that this one remembers, with something else.
// What is remembered must decide nothing: it would give one slot to two leases.
func TestWhatAForkLostIsForgottenAndDecidesNothing(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	open := func() *commands.Commands {
		store, err := pg.Open(t.Context(), pool, pg.Options{})
		require.NoError(t, err)
		t.Cleanup(store.Close)
		return commands.New(eventstore.NewLedger(store), vault.InMemory())
	}
	first := open()
	company, env := domain.CompanyID{UUID: uuid.New()}, domain.EnvironmentID{UUID: uuid.New()}
	_, err := first.AddCompany(t.Context(), commands.Caller{}, company, "Acme")
	require.NoError(t, err)
	_, err = first.RegisterEnvironment(t.Context(), commands.Caller{}, env, environment.Registered{
		Company: company, Name: "env", Driver: "fake", Config: []byte(`{}`), MaxLeases: 1,
	}, commands.NoSecretFields)
	require.NoError(t, err)
	before, err := first.Ledger().Store().Head(t.Context())
	require.NoError(t, err)

	a, l := acquire(t, first, company, env)
	require.Equal(t, lease.StatusGranted, l.Status())
	_, err = first.CancelLease(t.Context(), commands.Caller{}, a, "changed my mind")
	require.NoError(t, err)
	_, err = pool.Exec(t.Context(), `DELETE FROM events WHERE position > $1`, before.Position)
	require.NoError(t, err)

	second := open() // it remembers nothing of what is lost
	_, l = acquire(t, second, company, env)
	require.Equal(t, lease.StatusGranted, l.Status())
	_, l = acquire(t, second, company, env)
	require.Equal(t, lease.StatusRequested, l.Status())

	_, l = acquire(t, first, company, env)
	require.Equal(t, lease.StatusRequested, l.Status(), "the slot has a holder, and one is before it in the queue")
	require.EqualValues(t, 2, first.Ledger().Store().Epoch())
	lost, err := first.Lease(t.Context(), a)
	require.NoError(t, err)
	require.Equal(t, lease.StatusNone, lost.Status())
}

// A copy lets go of what it inherited, and of nothing that was asked of itself.
func TestACopyLetsGoOfWhatItInherited(t *testing.T) {
	t.Parallel()
	w := inMemory(t)
	env := domain.EnvironmentID{UUID: uuid.New()}
	_, err := w.commands.RegisterEnvironment(t.Context(), commands.Caller{}, env, environment.Registered{
		Company: w.own, Name: "env", Driver: "fake", Config: []byte(`{}`), MaxLeases: 1,
	}, commands.NoSecretFields)
	require.NoError(t, err)
	holds, _ := acquire(t, w.commands, w.own, env)
	claimed, _, err := w.commands.ClaimProvisioning(t.Context(), commands.Caller{}, holds, domain.NodeID{}, lease.StartProvisioning{
		Runtime: domain.RuntimeID{UUID: uuid.New()}, Worker: domain.WorkerID{UUID: uuid.New()}, Deadline: time.Now().Add(time.Hour),
	}, commands.Need{})
	require.NoError(t, err)
	waits, _ := acquire(t, w.commands, w.own, env)
	head, err := w.store.Head(t.Context())
	require.NoError(t, err)
	own, _ := acquire(t, w.commands, w.own, env)
	for _, id := range []domain.LeaseID{holds, waits, own} {
		_, err := w.commands.DisownLease(t.Context(), commands.Caller{}, id, head.Position+1)
		require.NoError(t, err)
	}
	for _, id := range []domain.LeaseID{holds, waits} {
		l, err := w.commands.Lease(t.Context(), id)
		require.NoError(t, err)
		require.Equal(t, lease.StatusFailed, l.Status())
		require.False(t, l.NeedsTeardown())
	}
	events, err := w.store.ReadStream(t.Context(), commands.Runtimes.Stream(claimed.Runtime.UUID), 0, 0)
	require.NoError(t, err)
	require.Equal(t, "RuntimeDisowned", events[len(events)-1].Name)
	l, err := w.commands.Lease(t.Context(), own)
	require.NoError(t, err)
	require.Equal(t, lease.StatusGranted, l.Status(), "its own request has the slot now")
}
