package catalog_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/domaintest"
	"github.com/tenure-dev/tenure/domain/environment"
	"github.com/tenure-dev/tenure/domain/execution"
	"github.com/tenure-dev/tenure/domain/key"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/domain/runtime"
	"github.com/tenure-dev/tenure/eventstore/pg"
	"github.com/tenure-dev/tenure/migrations/pgtest"
	"github.com/tenure-dev/tenure/projections"
	"github.com/tenure-dev/tenure/projections/activeleases"
	"github.com/tenure-dev/tenure/projections/catalog"
	"github.com/tenure-dev/tenure/projections/companies"
	"github.com/tenure-dev/tenure/projections/environments"
	"github.com/tenure-dev/tenure/projections/executions"
	"github.com/tenure-dev/tenure/projections/keys"
	"github.com/tenure-dev/tenure/projections/leases"
	"github.com/tenure-dev/tenure/projections/projectionstest"
	"github.com/tenure-dev/tenure/projections/runner"
	"github.com/tenure-dev/tenure/projections/runtimes"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// kept is a database with the read models of a history.
func kept(t *testing.T, h *projectionstest.History) projections.DB {
	t.Helper()
	pool := pgtest.Pool(t)
	store, err := pg.Open(context.Background(), pool, pg.Options{})
	require.NoError(t, err)
	t.Cleanup(store.Close)
	last := projectionstest.Append(t, store, h.Events)
	r := runner.New(pool, store, catalog.All(), runner.Options{})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = r.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	require.NoError(t, r.Wait(t.Context(), last))
	return pool
}

// ids are those of the rows of a list, which must work.
func ids[R any](t *testing.T, page projections.Page[R], err error) []uuid.UUID {
	t.Helper()
	require.NoError(t, err)
	out := make([]uuid.UUID, len(page.Items))
	for i, row := range page.Items {
		out[i], err = row.Stream.ID()
		require.NoError(t, err)
	}
	return out
}

var some = projections.Options{Limit: 10}

func TestEveryListAnswersItsFilters(t *testing.T) {
	t.Parallel()
	h := projectionstest.NewHistory(t)
	a, b := uuid.New(), uuid.New()
	other := domaintest.ID[domain.CompanyID](99)
	h.Company(domaintest.Company.UUID, "Acme")
	h.Company(other.UUID, "Bolt")
	for _, id := range []uuid.UUID{a, b} {
		h.Environment(id, environment.Register{Registered: domaintest.EnvironmentRegistered()})
		h.Key(id, key.Add{Added: domaintest.KeyAdded()})
		h.Runtime(id, runtime.Intend{Intended: runtime.Intended{
			Company: domaintest.Company, Environment: domaintest.Environment, Lease: domaintest.Lease, Node: domaintest.Node, Driver: "local",
		}})
		h.Exec(id, execution.Request{Requested: domaintest.ExecRequested()})
		h.Lease(id, lease.Request{Requested: domaintest.LeaseRequested()})
	}
	h.Environment(b, environment.Reconfigure{Reconfigured: environment.Reconfigured{Name: "other", Driver: "ssh"}})
	h.Environment(b, environment.Archive{})
	h.Key(b, key.Revoke{})
	h.Runtime(b, runtime.ConfirmDestroyed{Proof: runtime.ProofNeverMade})
	h.Exec(b, execution.RequestKill{})
	h.Lease(b, lease.Cancel{})
	db, ctx := kept(t, h), t.Context()

	check := func(want []uuid.UUID, got []uuid.UUID) {
		t.Helper()
		require.Equal(t, want, got)
	}
	list := func(f companies.Filter) []uuid.UUID {
		p, err := companies.List(ctx, db, f, some)
		return ids(t, p, err)
	}
	check([]uuid.UUID{domaintest.Company.UUID, other.UUID}, list(companies.Filter{}))
	check([]uuid.UUID{other.UUID}, list(companies.Filter{ID: other}))
	check([]uuid.UUID{other.UUID}, list(companies.Filter{Name: "Bolt"}))

	envs := func(f environments.Filter) []uuid.UUID {
		p, err := environments.List(ctx, db, f, some)
		return ids(t, p, err)
	}
	check([]uuid.UUID{a, b}, envs(environments.Filter{Company: domaintest.Company}))
	check([]uuid.UUID{}, envs(environments.Filter{Company: other}))
	check([]uuid.UUID{b}, envs(environments.Filter{Name: "other"}))
	check([]uuid.UUID{a}, envs(environments.Filter{Driver: "local", Status: environment.StatusActive}))

	keyList := func(f keys.Filter) []uuid.UUID { p, err := keys.List(ctx, db, f, some); return ids(t, p, err) }
	check([]uuid.UUID{a, b}, keyList(keys.Filter{Company: domaintest.Company}))
	check([]uuid.UUID{b}, keyList(keys.Filter{Status: key.StatusRevoked}))
	found, ok, err := keys.ByHash(ctx, db, domaintest.Hash)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, a, found.Data.ID.UUID)
	_, ok, err = keys.ByHash(ctx, db, "nonsense")
	require.NoError(t, err)
	require.False(t, ok)

	things := func(f runtimes.Filter) []uuid.UUID { p, err := runtimes.List(ctx, db, f, some); return ids(t, p, err) }
	all := runtimes.Filter{Company: domaintest.Company, Environment: domaintest.Environment, Lease: domaintest.Lease, Node: domaintest.Node}
	check([]uuid.UUID{b, a}, things(all))
	all.Existing = true
	check([]uuid.UUID{a}, things(all))

	execs := func(f executions.Filter) []uuid.UUID {
		p, err := executions.List(ctx, db, f, some)
		return ids(t, p, err)
	}
	check([]uuid.UUID{b, a}, execs(executions.Filter{Company: domaintest.Company, Lease: domaintest.Lease}))
	check([]uuid.UUID{b}, execs(executions.Filter{Statuses: []execution.Status{execution.StatusEnded}}))

	held := func(f leases.Filter) []uuid.UUID { p, err := leases.List(ctx, db, f, some); return ids(t, p, err) }
	check([]uuid.UUID{b, a}, held(leases.Filter{Environment: domaintest.Environment, Run: "run-1"}))
	check([]uuid.UUID{a}, held(leases.Filter{At: time.Now().Add(time.Hour)}))
	check([]uuid.UUID{}, held(leases.Filter{HeldAt: time.Now().Add(time.Hour)}))
	check([]uuid.UUID{}, held(leases.Filter{At: domaintest.Noon.AddDate(-10, 0, 0)}))
	page, err := activeleases.List(ctx, db, leases.Filter{Company: domaintest.Company}, some)
	check([]uuid.UUID{a}, ids(t, page, err))
}
