package api

import (
	_ "embed"
	"net/http"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/domain/access"
)

// health says whether this process can serve, and to nobody why not: the route needs no key.
func (s *Server) health(c *call) error {
	if err := s.deps.Health(c.ctx()); err != nil {
		s.deps.Logger.Warn("not ready", "error", err)
		return errNotReady
	}
	return c.answer(http.StatusOK, wire.Health{Status: "ok", Version: s.deps.Version, Log: logState(s.deps.Log.Now().Forked)})
}

//go:embed openapi.yaml
var openAPI []byte

// openAPI describes the API; it needs no key, since it is the same everywhere.
func (s *Server) openAPI(c *call) error {
	return c.Blob(http.StatusOK, "application/yaml", openAPI)
}

func (s *Server) listWorkers(c *call) error {
	if err := c.only(); err != nil {
		return err
	}
	list, err := s.deps.Processes.List(c.ctx())
	if err != nil {
		return err
	}
	head, err := s.deps.Commands.Ledger().Store().Head(c.ctx())
	if err != nil {
		return err
	}
	out := wire.List[wire.Worker]{Items: make([]wire.Worker, 0, len(list)), Position: head.Position}
	for _, p := range list {
		if p.Left {
			continue
		}
		out.Items = append(out.Items, wire.Worker{
			ID: p.ID.UUID, NodeID: p.Node.UUID, Hostname: p.Hostname, PID: p.PID, Version: p.Version,
			StartedAt: p.StartedAt.UTC(), AliveUntil: p.AliveUntil.UTC(), Alive: p.Alive,
			Role: p.Role.String(), Address: textOrNull(p.Address), Draining: p.Draining,
		})
	}
	return c.answer(http.StatusOK, out)
}

// metricsAction is what /metrics needs: a key that may read metrics, unless it is open.
func (s *Server) metricsAction() access.Action {
	if s.deps.OpenMetrics {
		return ""
	}
	return access.MetricsRead
}

func (s *Server) showMetrics(c *call) error {
	promhttp.HandlerFor(s.deps.Metrics, promhttp.HandlerOpts{DisableCompression: true}).ServeHTTP(c.Response(), c.Request())
	return nil
}
