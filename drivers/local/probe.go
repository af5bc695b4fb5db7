package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/drivers"
)

// probeLimit bounds the one command of a probe.
const probeLimit = 10 * time.Second

// probeInstallation keeps the runtimes of probes out of every list.
const probeInstallation = "probe"

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
	phase, err := d.probeRun(ctx, req)
	if ctx.Err() != nil {
		return drivers.ProbeResult{}, fmt.Errorf("probe: %w", context.Cause(ctx))
	}
	if err != nil {
		found := drivers.Diagnostic{Severity: drivers.SeverityError, Code: "probe_failed", Message: err.Error(), Remediation: "probe again"}
		if f, ok := errors.AsType[*drivers.StartError](err); ok {
			found.Code, found.Remediation = f.Code, f.Remediation
		} else if f, ok := errors.AsType[*drivers.Failure](err); ok {
			found.Code, found.Remediation = f.Code, f.Remediation
		}
		result.OK, result.Phase, result.Summary = false, phase, "no command can be run here"
		result.Diagnostics = append(result.Diagnostics, found)
	}
	return result, nil
}

// probeRun makes a runtime, runs true in it and removes it again. Its error comes with the phase that failed.
func (d *Driver) probeRun(ctx context.Context, req drivers.ProbeRequest) (phase string, err error) {
	if err := d.forgetProbes(ctx); err != nil {
		return "acquire", err
	}
	journals, err := os.MkdirTemp("", "tenure-probe-")
	if err != nil {
		return "acquire", err
	}
	defer os.RemoveAll(journals) //nolint:errcheck // it is temporary
	handle := drivers.Handle{RuntimeID: "probe-" + uuid.NewString(), Config: req.Config}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), probeLimit)
		defer cancel()
		if released := d.Release(ctx, drivers.ReleaseRequest{Handle: handle, Attempt: 1}); released != nil && err == nil {
			phase, err = "release", released
		}
	}()
	if _, err := d.Acquire(ctx, drivers.AcquireRequest{
		RuntimeID: handle.RuntimeID, Installation: probeInstallation, Attempt: 1, Fence: 1,
		CompanyID: req.CompanyID, EnvironmentID: req.EnvironmentID, Config: req.Config,
	}); err != nil {
		return "acquire", err
	}
	e, err := d.StartExec(ctx, drivers.ExecRequest{
		Handle: handle, ExecID: "probe", Argv: []string{"true"}, Timeout: probeLimit, JournalDir: filepath.Join(journals, "probe"),
	})
	if err != nil {
		if f, ok := errors.AsType[*drivers.StartError](err); ok {
			return f.Stage, err
		}
		return "exec", err
	}
	end, err := e.Wait(ctx)
	if err == nil && (end.End != drivers.ExecExited || end.ExitCode != 0) {
		err = fmt.Errorf("true ended as %s with exit code %d %s %s", end.End, end.ExitCode, end.Signal, end.Why)
	}
	if err != nil {
		return "exec", err
	}
	return "", nil
}

// forgetProbes removes what probes left that a crash cut short.
func (d *Driver) forgetProbes(ctx context.Context) error {
	old, err := d.runtimes.List(probeInstallation)
	if err != nil {
		return err
	}
	for _, r := range old {
		if time.Since(r.CreatedAt) < 10*probeLimit {
			continue // it may be at work
		}
		if err := d.Release(ctx, drivers.ReleaseRequest{Handle: drivers.Handle{RuntimeID: r.RuntimeID}, Attempt: 1}); err != nil {
			return err
		}
	}
	return nil
}

var _ drivers.Prober = (*Driver)(nil)
