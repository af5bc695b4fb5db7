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
	"github.com/tenure-dev/tenure/domain/key"
	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/journal"
	"github.com/tenure-dev/tenure/projections"
	"github.com/tenure-dev/tenure/projections/keys"
	"github.com/tenure-dev/tenure/projections/runner"
)

func (a *App) apiDeps() api.Deps {
	return api.Deps{
		Commands: a.commands, Feed: a.store, Hub: a.hub, DB: a.pool, Projections: a.runner, Processes: a.processes,
		Plugins: pluginProcesses{a.host}, Node: a.process.Node, Output: outputs{a.journalDir}, Checker: checker{a.drivers}, Health: a.health, Diagnose: a.diagnose,
		Version: a.opts.Version, Logger: a.log, Metrics: a.metrics,
		AllowFakeSelection: a.opts.AllowFakeSelection,
	}
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
	for after := ""; ; {
		page, err := keys.List(ctx, a.pool, keys.Filter{Status: key.StatusActive}, projections.Options{After: after})
		if err != nil {
			return false, fmt.Errorf("look for an admin key: %w", err)
		}
		for _, k := range page.Items {
			if added := k.Data.Key; added.Company.IsZero() && added.Role == access.RoleAdmin {
				return true, nil
			}
		}
		if page.Next == "" {
			return false, nil
		}
		after = page.Next
	}
}

// checker tells the API what the drivers say of a configuration, and nothing else of them.
type checker struct{ drivers *drivers.Registry }

var _ api.EnvironmentChecker = checker{}

// CheckConfig refuses what the driver cannot use.
func (c checker) CheckConfig(driver string, config json.RawMessage) error {
	provider, ok, err := c.drivers.Provider(driver, config)
	if !ok {
		return domain.Refuse(domain.KindInvalid, "unknown_driver", "%q is no driver of this engine", driver).On("driver").
			Mend("use one of: %s", strings.Join(c.drivers.Names(), ", "))
	}
	if err == nil {
		err = c.check(drivers.Target{Driver: driver, Provider: provider}, config)
	}
	if problem, ok := errors.AsType[*drivers.ConfigError](err); ok && len(problem.Problems) > 0 {
		p := problem.Problems[0]
		return domain.Refuse(domain.KindInvalid, "invalid_config", "%s", p.Problem).On(p.Field).Mend("%s", p.Remediation)
	}
	if errors.Is(err, drivers.ErrUnsupported) {
		return nil
	}
	return err
}

func (c checker) check(t drivers.Target, config json.RawMessage) error {
	d, err := c.drivers.Resolve(t)
	if f, ok := errors.AsType[*drivers.Failure](err); ok {
		return domain.Refuse(domain.KindInvalid, f.Code, "%s", f.Err).On("config.provider").Mend("%s", f.Remediation)
	}
	if err != nil {
		return err
	}
	return drivers.CheckConfig(d, config)
}

// Provider is who makes the runtimes of an environment.
func (c checker) Provider(driver string, config json.RawMessage) (string, bool) {
	provider, ok, _ := c.drivers.Provider(driver, config) // a configuration that does not say is refused by CheckConfig
	return provider, ok
}

// SecretFields are the places for secrets in a configuration. A driver that cannot be told is asked by CheckConfig first.
func (c checker) SecretFields(driver string, config json.RawMessage) []api.SecretField {
	provider, ok, err := c.drivers.Provider(driver, config)
	if !ok || err != nil {
		return nil
	}
	d, err := c.drivers.Resolve(drivers.Target{Driver: driver, Provider: provider})
	if err != nil {
		return nil
	}
	var fields []api.SecretField
	for _, f := range drivers.SecretFields(d, config) {
		fields = append(fields, api.SecretField(f))
	}
	return fields
}

// outputs opens the journals of this node.
type outputs struct{ dir func(domain.ExecID) string }

var _ api.OutputReader = outputs{}

// OpenOutput begins at an offset.
func (o outputs) OpenOutput(_ context.Context, exec domain.ExecID, offset int64) (api.Output, error) {
	r, err := journal.Open(o.dir(exec), offset)
	if err != nil {
		return nil, err
	}
	return output{r}, nil
}

type output struct{ *journal.Reader }

// Next is the next frame.
func (o output) Next() (api.OutputFrame, error) {
	f, err := o.Reader.Next()
	if err != nil {
		return api.OutputFrame{}, err
	}
	return api.OutputFrame{Offset: f.Offset, Stream: f.Stream.String(), At: f.At, Data: f.Data, Dropped: f.Dropped}, nil
}
