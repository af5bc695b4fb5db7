package local

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/rundir"
)

// Probe implements [drivers.Prober]. It runs true in a runtime of its own, which it removes.
func (d *Driver) Probe(ctx context.Context, req drivers.ProbeRequest) (drivers.ProbeResult, error) {
	config, err := decodeConfig(req.Config)
	if bad, ok := errors.AsType[*drivers.ConfigError](err); ok {
		result := drivers.ProbeResult{Phase: "config", Summary: "the configuration is refused"}
		for _, p := range bad.Problems {
			result.Diagnostics = append(result.Diagnostics, drivers.Diagnostic{
				Severity: drivers.SeverityError, Code: "bad_config", Message: p.Field + " " + p.Problem, Remediation: p.Remediation,
			})
		}
		return result, nil
	}
	result := drivers.ProbeResult{OK: true, Summary: "a command ran on this machine"}
	for _, dir := range config.Path {
		if info, err := os.Stat(dir); err != nil || !info.IsDir() {
			result.Diagnostics = append(result.Diagnostics, drivers.Diagnostic{
				Severity: drivers.SeverityWarning, Code: "path_missing", Message: dir + " is no directory of this machine",
				Remediation: "correct it in the field path, or take it out",
			})
		}
	}
	phase, err := d.runtimes.Trial(ctx, d, req)
	if ctx.Err() != nil {
		return drivers.ProbeResult{}, fmt.Errorf("probe: %w", context.Cause(ctx))
	}
	if err != nil {
		result.OK, result.Phase, result.Summary = false, phase, "no command can be run here"
		result.Diagnostics = append(result.Diagnostics, rundir.FailedTrial(err))
	}
	return result, nil
}

var _ drivers.Prober = (*Driver)(nil)
