package docker

import (
	"log/slog"
	"strings"
	"time"

	"github.com/moby/moby/api/types/jsonstream"
)

// layer is how far one layer of an image is.
type layer struct{ current, total int64 }

// pullProgress sums up what the engine says of a pull, line by line.
type pullProgress struct {
	log    *slog.Logger
	image  string
	layers map[string]layer
	logged time.Time
	// last is the engine's last line.
	last string
}

func (p *pullProgress) heard(m jsonstream.Message) {
	if m.Status != "" {
		p.last = strings.TrimPrefix(m.ID+": "+m.Status, ": ")
	}
	if m.Status == "Downloading" && m.Progress != nil {
		p.layers[m.ID] = layer{m.Progress.Current, m.Progress.Total}
	} else if l, ok := p.layers[m.ID]; ok {
		p.layers[m.ID] = layer{l.total, l.total} // it is being unpacked
	}
	if time.Since(p.logged) < progressEvery {
		return
	}
	p.logged = time.Now()
	var sum layer
	for _, l := range p.layers {
		sum.current += l.current
		sum.total += l.total
	}
	p.log.Info("image pull goes on", "image", p.image, "status", m.Status, "layers", len(p.layers),
		"bytes", sum.current, "of_bytes", sum.total)
}
