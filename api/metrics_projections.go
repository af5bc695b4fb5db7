package api

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tenure-dev/tenure/projections/runner"
)

// projectionMetrics say how the read models stand, as of the scrape. While the database does not answer they are left out.
type projectionMetrics struct {
	status      func(context.Context) ([]runner.Status, error)
	parked, lag *prometheus.Desc
}

var _ prometheus.Collector = (*projectionMetrics)(nil)

// scrapeLimit bounds what a scrape waits for the database.
const scrapeLimit = 2 * time.Second

func newProjectionMetrics(status func(context.Context) ([]runner.Status, error)) *projectionMetrics {
	label := []string{"name"}
	return &projectionMetrics{
		status: status,
		parked: prometheus.NewDesc("tenure_projection_parked_streams", "Streams that a read model has set aside because it cannot take an event.", label, nil),
		lag:    prometheus.NewDesc("tenure_projection_lag_events", "Events of the log that are not yet in a read model.", label, nil),
	}
}

func (m *projectionMetrics) Describe(ch chan<- *prometheus.Desc) {
	ch <- m.parked
	ch <- m.lag
}

func (m *projectionMetrics) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeLimit)
	defer cancel()
	list, err := m.status(ctx)
	if err != nil {
		return
	}
	for _, p := range list {
		ch <- prometheus.MustNewConstMetric(m.parked, prometheus.GaugeValue, float64(p.Parked), p.Name)
		ch <- prometheus.MustNewConstMetric(m.lag, prometheus.GaugeValue, float64(p.Lag), p.Name)
	}
}
