package api

import (
	"net/http"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"
)

// metrics count calls. No label holds an id or an error's text: routes, statuses and codes are few and known.
type metrics struct {
	calls    *prometheus.CounterVec
	latency  *prometheus.HistogramVec
	refusals *prometheus.CounterVec
	streams  prometheus.Gauge
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tenure_http_requests_total", Help: "Answered HTTP requests.",
		}, []string{"route", "method", "status"}),
		latency: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "tenure_http_request_duration_seconds", Help: "Time until the end of the answer, waits and streams included.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 120},
		}, []string{"route", "method"}),
		refusals: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tenure_http_problems_total", Help: "Answers that were no success, by code.",
		}, []string{"code"}),
		streams: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "tenure_http_streams", Help: "Open streams of events and output.",
		}),
	}
	r.MustRegister(m.calls, m.latency, m.refusals, m.streams)
	return m
}

func (m *metrics) answered(c echo.Context, started time.Time) {
	route, method := c.Path(), c.Request().Method
	switch {
	// What is sent to no route, or with a method that it does not take, is anybody's text.
	case c.Response().Status == http.StatusMethodNotAllowed:
		method = "other"
	case route == "":
		route, method = "none", "other"
	}
	m.calls.WithLabelValues(route, method, strconv.Itoa(c.Response().Status)).Inc()
	m.latency.WithLabelValues(route, method).Observe(time.Since(started).Seconds())
}

func (m *metrics) refused(code string) { m.refusals.WithLabelValues(code).Inc() }
