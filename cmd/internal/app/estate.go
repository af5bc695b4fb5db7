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
	err := pages(func(opts projections.Options) (projections.Page[environments.Environment], error) {
		return environments.List(ctx, e.app.pool, environments.Filter{}, opts)
	}, func(row environments.Row) {
		env := row.Data
		ended := env.Status == environment.StatusArchived || env.Status == environment.StatusDeleted
		if ended && now.After(env.UpdatedAt.Add(retiredFor)) {
			return
		}
		provider, known, err := e.app.drivers.Provider(env.Driver, env.Config)
		if !known || err != nil {
			return
		}
		places = append(places, supervisor.Place{
			Target: drivers.Target{Driver: env.Driver, Provider: provider}, Config: env.Config, Company: env.Company, Environment: env.ID,
		})
	})
	return places, err
}

// Stuck are the leases whose runtime could not be taken down yet.
func (e estate) Stuck(ctx context.Context) ([]domain.LeaseID, error) {
	var stuck []domain.LeaseID
	err := pages(func(opts projections.Options) (projections.Page[leases.Lease], error) {
		return activeleases.Stuck(ctx, e.app.pool, opts)
	}, func(row leases.Row) { stuck = append(stuck, row.Data.ID) })
	return stuck, err
}

// Leaks are those on the list.
func (e estate) Leaks(ctx context.Context) ([]supervisor.Leak, error) {
	var open []supervisor.Leak
	err := pages(func(opts projections.Options) (projections.Page[leaks.Leak], error) {
		return leaks.List(ctx, e.app.pool, leaks.Filter{Status: leak.StatusOpen}, opts)
	}, func(row leaks.Row) { open = append(open, supervisor.Leak{ID: row.Data.ID, State: row.Data.State}) })
	return open, err
}

// Forgotten are leases whose runtimes were given up with a node.
func (e estate) Forgotten(ctx context.Context, node domain.NodeID) ([]domain.LeaseID, error) {
	return runtimes.ForgottenOn(ctx, e.app.pool, node)
}

// pages reads a list to its end.
func pages[R any](read func(projections.Options) (projections.Page[R], error), take func(projections.Row[R])) error {
	opts := projections.Options{Limit: projections.MaxLimit}
	for {
		page, err := read(opts)
		if err != nil {
			return err
		}
		for _, row := range page.Items {
			take(row)
		}
		if opts.After = page.Next; opts.After == "" {
			return nil
		}
	}
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
	check, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
			case <-check.Done():
				return
			}
			b, err := balance.Of(check, a.pool, a.store)
			switch {
			case err != nil:
				if check.Err() == nil {
					a.log.Warn("the balance of runtimes could not be taken", "error", err)
				}
				continue
			case !b.Holds():
				a.log.Error("runtimes are accounted for by nothing", "count", b.LostCount, "first", b.Lost[0].Runtime)
			}
			wrong.Set(float64(b.LostCount))
		}
	}()
	a.onStop("balance", func(context.Context) error { cancel(); <-ended; return nil })
}
