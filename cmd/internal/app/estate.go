package app

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/environment"
	"github.com/tenure-dev/tenure/domain/leak"
	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/supervisor"
	"github.com/tenure-dev/tenure/projections"
	"github.com/tenure-dev/tenure/projections/activeleases"
	"github.com/tenure-dev/tenure/projections/balance"
	"github.com/tenure-dev/tenure/projections/environments"
	"github.com/tenure-dev/tenure/projections/leaks"
	"github.com/tenure-dev/tenure/projections/leases"
	"github.com/tenure-dev/tenure/projections/runtimes"
)

// estate is where the reaper looks, from the read models.
type estate struct{ app *App }

var _ supervisor.Estate = estate{}

// retiredFor is how long the reaper goes on to look at the place of an environment that has ended: what was asked of its
// provider may come late.
const retiredFor = 24 * time.Hour

// Places are those of the environments, but for those that ended long ago.
func (e estate) Places(ctx context.Context) ([]supervisor.Place, error) {
	now := e.app.store.Clock().Now()
	var places []supervisor.Place
	for row, err := range each(ctx, e.app.pool, environments.List, environments.Filter{}) {
		if err != nil {
			return nil, err
		}
		env := row.Data
		ended := env.Status == environment.StatusArchived || env.Status == environment.StatusDeleted
		if ended && now.After(env.UpdatedAt.Add(retiredFor)) {
			continue
		}
		provider, known, err := e.app.drivers.Provider(env.Driver, env.Config)
		if !known || err != nil {
			continue
		}
		places = append(places, supervisor.Place{
			Target: drivers.Target{Driver: env.Driver, Provider: provider}, Config: env.Config, Company: env.Company, Environment: env.ID,
		})
	}
	return places, nil
}

// Stuck are the leases whose runtime could not be taken down yet.
func (e estate) Stuck(ctx context.Context) ([]domain.LeaseID, error) {
	var stuck []domain.LeaseID
	list := func(ctx context.Context, db projections.DB, _ struct{}, opts projections.Options) (projections.Page[leases.Lease], error) {
		return activeleases.Stuck(ctx, db, opts)
	}
	for row, err := range each(ctx, e.app.pool, list, struct{}{}) {
		if err != nil {
			return nil, err
		}
		stuck = append(stuck, row.Data.ID)
	}
	return stuck, nil
}

// Leaks are those on the list.
func (e estate) Leaks(ctx context.Context) ([]supervisor.Leak, error) {
	var open []supervisor.Leak
	for row, err := range each(ctx, e.app.pool, leaks.List, leaks.Filter{Status: leak.StatusOpen}) {
		if err != nil {
			return nil, err
		}
		open = append(open, supervisor.Leak{ID: row.Data.ID, State: row.Data.State})
	}
	return open, nil
}

// Forgotten are leases whose runtimes were given up with a node.
func (e estate) Forgotten(ctx context.Context, node domain.NodeID) ([]domain.LeaseID, error) {
	return runtimes.ForgottenOn(ctx, e.app.pool, node)
}

// reaperLooks counts what the reaper sees.
func (a *App) reaperLooks() func(supervisor.Look) {
	label := []string{"driver", "provider"}
	looks := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "tenure_reap_looks_total", Help: "Looks of the reaper at a place where runtimes may be, by whether it could be asked.",
	}, append(label, "outcome"))
	later := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "tenure_reap_later_epoch_total", Help: "Runtimes of a later epoch of this log that the reaper saw and left alone, counted at each look.",
	}, label)
	a.metrics.MustRegister(looks, later)
	return func(l supervisor.Look) {
		outcome := "ok"
		if l.Err != nil {
			outcome = "failed"
		}
		looks.WithLabelValues(l.Driver, l.Provider, outcome).Inc()
		later.WithLabelValues(l.Driver, l.Provider).Add(float64(l.Later))
	}
}

// startBalance checks in each reap period that every runtime there ever was is accounted for.
func (a *App) startBalance(ctx context.Context) {
	wrong := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "tenure_runtime_balance_error", Help: "Runtimes that are neither held, in work, listed as leaks nor destroyed, as of the last check; it is an error of the engine's if it is not 0.",
	})
	a.metrics.MustRegister(wrong)
	every := a.opts.Supervisor.ReapInterval
	if every <= 0 {
		every = time.Minute
	}
	a.background(ctx, "balance", func(ctx context.Context) {
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
			case <-ctx.Done():
				return
			}
			b, err := balance.Of(ctx, a.pool, a.store)
			switch {
			case err != nil:
				if ctx.Err() == nil {
					a.log.Warn("the balance of runtimes could not be taken", "error", err)
				}
				continue
			case !b.Holds():
				a.log.Error("runtimes are accounted for by nothing", "count", b.LostCount, "first", b.Lost[0].Runtime)
			}
			wrong.Set(float64(b.LostCount))
		}
	})
}
