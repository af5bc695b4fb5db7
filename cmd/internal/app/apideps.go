package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/tenure-dev/tenure/api"
	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/access"
	"github.com/tenure-dev/tenure/domain/admission"
	"github.com/tenure-dev/tenure/domain/key"
	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/projections/keys"
	"github.com/tenure-dev/tenure/projections/runner"
)

func (a *App) apiDeps() api.Deps {
	return api.Deps{
		Commands: a.commands, Feed: a.store, Hub: a.hub, DB: a.pool, Projections: a.runner, Processes: a.processes.ForReaders(), Partitions: a.store,
		NodeGrace: a.opts.Supervisor.NodeGrace, Log: logKeeper{a},
		Plugins: pluginProcesses{a.host}, Node: a.installsOn(), Output: outputs{a}, Internal: peers{a}, WorkerOnly: a.opts.Role == eventstore.RoleWorker,
		Checker: checker{a.drivers, a.offeredElsewhere, a.keepsElsewhere}, Health: a.health, Diagnose: a.diagnose,
		Version: a.opts.Version, Logger: a.log, Metrics: a.metrics,
		AllowFakeSelection: a.opts.AllowFakeSelection,
	}
}

// installsOn is the node that plugins are installed on; zero for a process that drives nothing.
func (a *App) installsOn() domain.NodeID {
	if !a.drives() {
		return domain.NodeID{}
	}
	return a.process.Node
}

// health is nil while this process can serve.
func (a *App) health(ctx context.Context) error {
	if _, err := a.store.Head(ctx); err != nil {
		return err
	}
	status, err := a.runner.Status(ctx)
	if err != nil {
		return err
	}
	for _, p := range status {
		if p.State == runner.StateStopped {
			return fmt.Errorf("read model %s is stopped: %s", p.Name, p.Reason)
		}
	}
	return nil
}

// anyAdminKey reports whether the log knows a key that can add keys for everybody.
func (a *App) anyAdminKey(ctx context.Context) (bool, error) {
	for k, err := range each(ctx, a.pool, keys.List, keys.Filter{Status: key.StatusActive}) {
		if err != nil {
			return false, fmt.Errorf("look for an admin key: %w", err)
		}
		if added := k.Data.Key; added.Company.IsZero() && added.Role == access.RoleAdmin {
			return true, nil
		}
	}
	return false, nil
}

// checker tells the API what the drivers say of a configuration, and nothing else of them.
type checker struct {
	drivers *drivers.Registry
	// offered reports whether a plugin that is enabled offers what none on this machine does.
	offered func(ctx context.Context, provider string) bool
	// keeping asks the same of whoever else has the driver: whether it keeps runtimes.
	keeping func(ctx context.Context, driver, provider string) admission.Keeping
}

var _ api.EnvironmentChecker = checker{}

// CheckConfig refuses what the driver cannot use.
func (c checker) CheckConfig(driver string, config json.RawMessage) error {
	d, err := c.driver(driver, config)
	if err == nil {
		err = drivers.CheckConfig(d, config)
	}
	if errors.Is(err, drivers.ErrUnsupported) {
		return nil
	}
	return refusalOf(err)
}

// driver is who would make the runtimes of an environment.
func (c checker) driver(name string, config json.RawMessage) (drivers.Driver, error) {
	provider, ok, err := c.drivers.Provider(name, config)
	if !ok {
		return nil, domain.Refuse(domain.KindInvalid, "unknown_driver", "%q is no driver of this engine", name).On("driver").
			Mend("use one of: %s", strings.Join(c.drivers.Names(), ", "))
	}
	if err != nil {
		return nil, err
	}
	d, err := c.drivers.Resolve(drivers.Target{Driver: name, Provider: provider})
	if f, ok := errors.AsType[*drivers.Failure](err); ok {
		return nil, domain.Refuse(domain.KindInvalid, f.Code, "%s", f.Err).On("config.provider").Mend("%s", f.Remediation)
	}
	return d, err
}

// refusalOf makes of a configuration's problems the answer to who gave it.
func refusalOf(err error) error {
	if problem, ok := errors.AsType[*drivers.ConfigError](err); ok && len(problem.Problems) > 0 {
		p := problem.Problems[0]
		return domain.Refuse(domain.KindInvalid, "invalid_config", "%s", p.Problem).On(p.Field).Mend("%s", p.Remediation)
	}
	return err
}

// Provider is who makes the runtimes of an environment.
func (c checker) Provider(driver string, config json.RawMessage) (string, bool) {
	provider, ok, _ := c.drivers.Provider(driver, config) // a configuration that does not say is refused by CheckConfig
	return provider, ok
}

// SecretFields are the places for secrets in a configuration.
func (c checker) SecretFields(driver string, config json.RawMessage) ([]api.SecretField, error) {
	d, err := c.driver(driver, config)
	if err != nil {
		return nil, refusalOf(err)
	}
	var fields []api.SecretField
	for _, f := range drivers.SecretFields(d, config) {
		fields = append(fields, api.SecretField(f))
	}
	return fields, nil
}
