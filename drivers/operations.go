package drivers

import (
	"context"
	"encoding/json"
	"fmt"
)

// The only place where optional verbs are dispatched. Each answers [ErrUnsupported] for a driver that does not declare
// the verb, even if the method happens to exist.

// StartExec runs a command through d.
func StartExec(ctx context.Context, d Driver, req ExecRequest) (Exec, error) {
	e, ok := d.(Executor)
	if !ok || !d.Describe().Capabilities.Exec {
		return nil, unsupported(d, "exec")
	}
	return e.StartExec(ctx, req)
}

// ListRuntimes lists what d made for an installation.
func ListRuntimes(ctx context.Context, d Driver, installation string) ([]ListedRuntime, error) {
	l, ok := d.(Lister)
	if !ok || !d.Describe().Capabilities.List {
		return nil, unsupported(d, "list")
	}
	return l.ListRuntimes(ctx, installation)
}

// CheckConfig validates config for d.
func CheckConfig(d Driver, config json.RawMessage) error {
	c, ok := d.(ConfigChecker)
	if !ok || !d.Describe().Capabilities.CheckConfig {
		return unsupported(d, "check config")
	}
	return c.CheckConfig(config)
}

func unsupported(d Driver, verb string) error {
	return fmt.Errorf("driver %s: %s: %w", d.Describe().Name, verb, ErrUnsupported)
}
