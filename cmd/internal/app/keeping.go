package app

import (
	"context"
	"encoding/json"

	"github.com/tenure-dev/tenure/domain/admission"
	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/pluginenv"
	"github.com/tenure-dev/tenure/drivers/sandbox"
	"github.com/tenure-dev/tenure/eventstore"
)

// Keeping says whether an environment's runtimes can be kept, by what is declared: of a plugin's driver by its manifest, which
// the log has, of any other by the processes that have it and live. No driver is called.
func (c checker) Keeping(ctx context.Context, driver string, config json.RawMessage) admission.Keeping {
	provider, ok, err := c.drivers.Provider(driver, config)
	if err != nil {
		return admission.KeepingUnknown // what the configuration lacks, the attempt says
	}
	if ok && ofPlugins(driver) {
		if d, err := c.drivers.Resolve(drivers.Target{Driver: driver, Provider: provider}); err == nil {
			return keepingOf(d.Describe().Capabilities.Keep)
		}
	}
	return c.keeping(ctx, driver, provider)
}

// ofPlugins reports whether a driver stands for those that plugins bring.
func ofPlugins(driver string) bool { return driver == sandbox.Name || driver == pluginenv.Name }

func keepingOf(keeps bool) admission.Keeping {
	if keeps {
		return admission.KeepingAble
	}
	return admission.KeepingUnable
}

// keepsElsewhere is what whoever has a driver says. Of several that differ, one that keeps is enough: they take turns, and
// each finds out for itself. Who cannot look does not know.
func (a *App) keepsElsewhere(ctx context.Context, driver, provider string) admission.Keeping {
	if ofPlugins(driver) {
		found, err := a.findOffer(ctx, provider)
		if err != nil {
			a.log.Warn("could not look whether a provider keeps runtimes", "provider", provider, "error", err)
		}
		said := admission.KeepingUnknown
		for _, d := range found {
			said = either(said, keepingOf(d.ReusableLeases))
		}
		return said
	}
	if a.drives() {
		// This process is one of those that live.
		if d, err := a.drivers.Resolve(drivers.Target{Driver: driver}); err == nil && d.Describe().Capabilities.Keep {
			return admission.KeepingAble
		}
	}
	processes, err := a.processes.ForReaders().List(ctx)
	if err != nil {
		a.log.Warn("could not look whether a driver keeps runtimes", "driver", driver, "error", err)
	}
	return saidBy(processes, driver)
}

// saidBy is what processes say of a driver.
func saidBy(processes []eventstore.Process, driver string) admission.Keeping {
	said := admission.KeepingUnknown
	for _, p := range processes {
		if keeps, ok := p.Keeps(driver); ok {
			said = either(said, keepingOf(keeps))
		}
	}
	return said
}

func either(a, b admission.Keeping) admission.Keeping {
	if a == admission.KeepingAble || b == admission.KeepingUnknown {
		return a
	}
	return b
}
