package api

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tenure-dev/tenure/projections"
	"github.com/tenure-dev/tenure/projections/activeleases"
	"github.com/tenure-dev/tenure/projections/leaks"
)

// cleanupMetrics say what could not be taken down, as of the scrape. While the database does not answer they are left out.
type cleanupMetrics struct {
	db                          projections.DB
	leaks, pending, quarantined *prometheus.Desc
}

var _ prometheus.Collector = (*cleanupMetrics)(nil)

func newCleanupMetrics(db projections.DB) *cleanupMetrics {
	return &cleanupMetrics{
		db:          db,
		leaks:       prometheus.NewDesc("tenure_leaks", "What may be left outside although no lease looks after it.", []string{"provider", "why"}, nil),
		pending:     prometheus.NewDesc("tenure_pending_cleanup", "Leases whose runtime could not be taken down yet, those in quarantine too.", nil, nil),
		quarantined: prometheus.NewDesc("tenure_quarantined", "Leases of which as many teardowns failed as may.", nil, nil),
	}
}

func (m *cleanupMetrics) Describe(ch chan<- *prometheus.Desc) {
	ch <- m.leaks
	ch <- m.pending
	ch <- m.quarantined
}

func (m *cleanupMetrics) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeLimit)
	defer cancel()
	if counts, err := leaks.Counts(ctx, m.db); err == nil {
		for _, c := range counts {
			ch <- prometheus.MustNewConstMetric(m.leaks, prometheus.GaugeValue, float64(c.Leaks), c.Provider, c.Why)
		}
	}
	if n, err := activeleases.CountCleanups(ctx, m.db); err == nil {
		ch <- prometheus.MustNewConstMetric(m.pending, prometheus.GaugeValue, float64(n.Pending))
		ch <- prometheus.MustNewConstMetric(m.quarantined, prometheus.GaugeValue, float64(n.Quarantined))
	}
}
