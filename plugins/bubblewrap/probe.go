package bubblewrap

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/rundir"
)

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
	phase, err := d.runtimes.Trial(ctx, d, req)
	if ctx.Err() != nil {
		return drivers.ProbeResult{}, fmt.Errorf("probe: %w", context.Cause(ctx))
	}
	if err != nil {
		p.diagnostics = append(p.diagnostics, rundir.FailedTrial(err))
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
