package bubblewrap

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/drivers"
)

// probeLimit bounds the one command of a probe.
const probeLimit = 10 * time.Second

// Probe implements [drivers.Prober]. It runs true in a runtime of its own, which it removes, with the limits of the
// configuration.
func (d *Driver) Probe(ctx context.Context, req drivers.ProbeRequest) (drivers.ProbeResult, error) {
	p := &probe{}
	config, err := decodeConfig(req.Config)
	if problems, bad := errors.AsType[*drivers.ConfigError](err); bad {
		for _, problem := range problems.Problems {
			p.say(drivers.SeverityError, "bad_config", problem.Field+" "+problem.Problem, problem.Remediation)
		}
		return p.failed("config", "the configuration is refused"), nil
	}
	if v := d.version(); v == (version{}) {
		p.say(drivers.SeverityError, "bwrap_missing", d.opts.Bwrap+" cannot be run", "install the package bubblewrap on the machine of this worker")
		return p.failed("bwrap", "bwrap is not there"), nil
	} else if p.say(drivers.SeverityInfo, "bwrap", d.opts.Bwrap+" is bubblewrap "+v.String(), ""); !v.modern() {
		p.say(drivers.SeverityWarning, "bwrap_old", "commands can make user namespaces of their own", "install bubblewrap 0.8.0 or newer")
	}
	d.probeNamespaces(p)
	d.probeCgroups(p, config)
	if config.Network == NetworkHost {
		p.say(drivers.SeverityWarning, "host_network", "commands reach every service of this machine and of its networks", `set "network": "none"`)
	}
	phase, err := d.probeRun(ctx, req)
	if ctx.Err() != nil {
		return drivers.ProbeResult{}, fmt.Errorf("probe: %w", context.Cause(ctx))
	}
	if err != nil {
		code, remediation := codeOf(err)
		p.say(drivers.SeverityError, code, err.Error(), remediation)
		return p.failed(phase, "no command can be run in a sandbox here"), nil
	}
	return drivers.ProbeResult{OK: true, Summary: "a command ran in a sandbox", Diagnostics: p.diagnostics}, nil
}

// probe collects findings.
type probe struct{ diagnostics []drivers.Diagnostic }

func (p *probe) say(severity drivers.Severity, code, message, remediation string) {
	p.diagnostics = append(p.diagnostics, drivers.Diagnostic{
		Severity: severity, Code: code, Message: message, Remediation: remediation,
	})
}

func (p *probe) failed(phase, summary string) drivers.ProbeResult {
	return drivers.ProbeResult{Phase: phase, Summary: summary, Diagnostics: p.diagnostics}
}

func (d *Driver) probeNamespaces(p *probe) {
	if f := userNamespaces(); f.problem != "" {
		// The run decides: some systems let bwrap do what others may not.
		p.say(drivers.SeverityWarning, "user_namespaces", f.problem, f.remediation)
	} else {
		p.say(drivers.SeverityInfo, "user_namespaces", f.ok, "")
	}
	var missing []string
	for _, ns := range []string{"mnt", "pid", "ipc", "uts", "net"} {
		if _, err := os.Lstat("/proc/self/ns/" + ns); err != nil {
			missing = append(missing, ns)
		}
	}
	if len(missing) > 0 {
		p.say(drivers.SeverityWarning, "namespaces", "the kernel lacks the namespaces "+strings.Join(missing, ", "), "use a kernel that has them")
	}
}

func (d *Driver) probeCgroups(p *probe, config Config) {
	missing := d.opts.Cgroups.Missing(config.limits())
	switch {
	case len(missing) == 0:
		p.say(drivers.SeverityInfo, "cgroups", "cgroups: "+d.opts.Cgroups.Version()+"; every limit of the configuration is kept", "")
	case config.Limits == LimitsBestEffort:
		p.say(drivers.SeverityWarning, "limits_unavailable", "not kept here: "+fieldsOf(missing), limitsRemediation)
	}
}

// probeRun makes a runtime, runs true in it and removes it again. Its error comes with the phase that failed.
func (d *Driver) probeRun(ctx context.Context, req drivers.ProbeRequest) (phase string, err error) {
	acquire := drivers.AcquireRequest{
		RuntimeID: "probe-" + uuid.NewString(), Installation: probeInstallation, Attempt: 1, Fence: 1,
		CompanyID: req.CompanyID, EnvironmentID: req.EnvironmentID, Config: req.Config,
	}
	if err := d.forgetProbes(ctx); err != nil {
		return "acquire", err
	}
	journals, err := os.MkdirTemp("", "tenure-probe-")
	if err != nil {
		return "acquire", err
	}
	defer os.RemoveAll(journals) //nolint:errcheck // it is temporary
	handle := drivers.Handle{RuntimeID: acquire.RuntimeID, Config: req.Config}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), probeLimit)
		defer cancel()
		if released := d.Release(ctx, drivers.ReleaseRequest{Handle: handle, Attempt: 1}); released != nil && err == nil {
			phase, err = "release", released
		}
	}()
	if _, err := d.Acquire(ctx, acquire); err != nil {
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
	result, err := e.Wait(ctx)
	if err == nil && (result.End != drivers.ExecExited || result.ExitCode != 0) {
		err = fmt.Errorf("true ended as %s with exit code %d %s %s", result.End, result.ExitCode, result.Signal, result.Why)
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

// probeInstallation keeps the runtimes of probes out of every list.
const probeInstallation = "probe"

// codeOf finds what a failure says of itself.
func codeOf(err error) (code, remediation string) {
	if f, ok := errors.AsType[*drivers.StartError](err); ok {
		return f.Code, f.Remediation
	}
	if f, ok := errors.AsType[*drivers.Failure](err); ok {
		return f.Code, f.Remediation
	}
	return "probe_failed", "probe again"
}
