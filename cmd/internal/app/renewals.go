package app

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/commands"
)

// watchRenewals says once a second that leases can be renewed, and finds out when they could not be. It begins before
// anything is ended that ran out.
func (a *App) watchRenewals(ctx context.Context) {
	watch := a.commands.WatchRenewals(a.store.Pulse(), commands.RenewalOptions{
		Serves: true, Cap: a.opts.Supervisor.GapCap, By: eventstore.Attribution{Actor: domain.PrincipalID{UUID: a.process.ID.UUID}}, Logger: a.log,
	})
	a.metrics.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "tenure_clock_jump_seconds", Help: "How far the database's clock jumped, while nobody can tell whether it is right and no lease ends by its time here; else 0.",
	}, func() float64 {
		if c := a.commands.Clock(); c.Unsure {
			return c.By.Seconds()
		}
		return 0
	}))
	a.background(ctx, "renewals", watch.Run)
}
