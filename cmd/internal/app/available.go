package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/plugin"
	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/plugins/manifest"
	"github.com/tenure-dev/tenure/projections/plugins"
)

// Unavailable says why nobody can make the runtimes of an environment: this engine has no such driver, or no plugin that is
// enabled offers the provider, here or on another machine. A plugin whose process is down, or whose version is being changed,
// is no reason: it may be back in a moment.
func (c checker) Unavailable(ctx context.Context, driver string, config json.RawMessage) *domain.Refusal {
	provider, ok, err := c.drivers.Provider(driver, config)
	if !ok {
		return domain.Refuse(domain.KindConflict, "driver_unavailable", "no engine here has the driver %q", driver).On("environmentId").
			Mend("use an environment with one of: %s", strings.Join(c.drivers.Names(), ", "))
	}
	if err != nil {
		return nil //nolint:nilerr // what the configuration lacks, the attempt says
	}
	_, err = c.drivers.Resolve(drivers.Target{Driver: driver, Provider: provider})
	f, ok := errors.AsType[*drivers.Failure](err)
	if !ok || f.Outcome != drivers.OutcomeDefinite {
		return nil
	}
	if c.offered(ctx, provider) {
		return nil
	}
	return domain.Refuse(domain.KindConflict, f.Code, "%s", f.Err).On("environmentId").Mend("%s", f.Remediation)
}

// offeredElsewhere reports whether a plugin that is enabled offers this provider, by the read model. Who cannot look takes it
// for so: the attempt tells.
func (a *App) offeredElsewhere(ctx context.Context, provider string) bool {
	found, err := a.findOffer(ctx, provider)
	if err != nil {
		a.log.Warn("could not look who offers a provider", "provider", provider, "error", err)
	}
	return len(found) > 0 || err != nil
}

// findOffer is what enabled plugins of other machines have under a provider's name, of which the plugin's own part comes last.
func (a *App) findOffer(ctx context.Context, provider string) (found []manifest.Driver, err error) {
	key := provider[strings.LastIndex(provider, ":")+1:]
	for row, err := range each(ctx, a.pool, plugins.List, plugins.Filter{Status: plugin.StatusEnabled}) {
		if err != nil {
			return nil, fmt.Errorf("list plugins: %w", err)
		}
		current, ok := row.Data.Current()
		if !ok || current.Node.IsZero() || current.Node == a.process.Node {
			continue // what is everywhere or here, this machine knows better
		}
		if m, err := manifest.Parse(current.Manifest); err == nil {
			if d, ok := m.Driver(key); ok {
				found = append(found, d)
			}
		}
	}
	return found, nil
}
