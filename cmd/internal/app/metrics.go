package app

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/tenure-dev/tenure/drivers/supervisor"
)

// newMetrics makes the registry of everything that the engine counts.
func newMetrics() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// driverCalls measures the provider's part of what a client waits for; the rest of it is the engine's.
func (a *App) driverCalls() func(supervisor.Call) {
	took := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "tenure_driver_call_seconds", Help: "Time that a driver took for a call: the provider's part of a lease's or a command's time.",
		Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 120, 600},
	}, []string{"driver", "provider", "verb", "outcome"})
	a.metrics.MustRegister(took)
	return func(c supervisor.Call) {
		took.WithLabelValues(c.Driver, c.Provider, c.Verb, c.Outcome).Observe(c.Took.Seconds())
		if a.opts.DriverCalled != nil {
			a.opts.DriverCalled(c)
		}
	}
}
