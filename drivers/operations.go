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
func ListRuntimes(ctx context.Context, d Driver, req ListRequest) ([]ListedRuntime, error) {
	l, ok := d.(Lister)
	if !ok || !d.Describe().Capabilities.List {
		return nil, unsupported(d, "list")
	}
	return l.ListRuntimes(ctx, req)
}

// Keep keeps a runtime whose lease ends.
func Keep(ctx context.Context, d Driver, req KeepRequest) error {
	k, ok := d.(Keeper)
	if !ok || !d.Describe().Capabilities.Keep {
		return unsupported(d, "keep")
	}
	return k.Keep(ctx, req)
}

// Resume gives a kept runtime to its next holder.
func Resume(ctx context.Context, d Driver, req ResumeRequest) (Runtime, error) {
	k, ok := d.(Keeper)
	if !ok || !d.Describe().Capabilities.Keep {
		return Runtime{}, unsupported(d, "resume")
	}
	return k.Resume(ctx, req)
}

// Prune ends what d has more than one runtime of; a driver that never has is done.
func Prune(ctx context.Context, d Driver, req PruneRequest) error {
	if p, ok := d.(Pruner); ok {
		return p.Prune(ctx, req)
	}
	return nil
}

// CheckConfig validates config for d.
func CheckConfig(d Driver, config json.RawMessage) error {
	c, ok := d.(ConfigChecker)
	if !ok || !d.Describe().Capabilities.CheckConfig {
		return unsupported(d, "check config")
	}
	return c.CheckConfig(config)
}

// Probe tries whether an environment of d would work.
func Probe(ctx context.Context, d Driver, req ProbeRequest) (ProbeResult, error) {
	p, ok := d.(Prober)
	if !ok || !d.Describe().Capabilities.Probe {
		return ProbeResult{}, unsupported(d, "probe")
	}
	return p.Probe(ctx, req)
}

// SecretFields returns where config has secrets; nowhere, for a driver that knows of none.
func SecretFields(d Driver, config json.RawMessage) []SecretField {
	if h, ok := d.(SecretHolder); ok {
		return h.SecretFields(config)
	}
	return nil
}

func unsupported(d Driver, verb string) error {
	return fmt.Errorf("driver %s: %s: %w", d.Describe().Name, verb, ErrUnsupported)
}
