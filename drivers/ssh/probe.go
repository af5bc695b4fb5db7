package ssh

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/tenure-dev/tenure/drivers"
)

// Probe implements [drivers.Prober].
func (d *Driver) Probe(ctx context.Context, req drivers.ProbeRequest) (drivers.ProbeResult, error) {
	c, err := configOf(req.Config)
	if err != nil {
		return probeFailed(err), nil
	}
	p := d.place(c)
	r, err := p.run(ctx, nil, acquireScript, variable{"mode", "check"}, variable{"root", c.root},
		variable{"minfree", strconv.FormatInt(d.opts.MinFree, 10)})
	if err != nil {
		if ctx.Err() != nil {
			return drivers.ProbeResult{}, context.Cause(ctx)
		}
		return probeFailed(err), nil
	}
	result := drivers.ProbeResult{OK: true, Summary: fmt.Sprintf("%s@%s runs commands", c.user, c.addr())}
	if len(r.lines) > 2 && r.lines[2] != c.root {
		result.Diagnostics = append(result.Diagnostics, drivers.Diagnostic{
			Severity: drivers.SeverityInfo, Code: "workspace_missing", Message: c.root + " does not exist yet; the first lease makes it",
		})
	}
	if len(r.lines) > 1 && toolsIn(r.lines[1]).perl == "" {
		result.Diagnostics = append(result.Diagnostics, noPerl)
	}
	urls := d.discover(ctx, p, r.conn)
	result.Diagnostics = append(result.Diagnostics, urlDiagnostics(urls)...)
	if urls.URL == "" && c.urlNeeded {
		f := urlMissing(urls)
		result.OK, result.Phase, result.Summary = false, f.Step, f.Err.Error()
		result.Diagnostics = append(result.Diagnostics, drivers.Diagnostic{
			Severity: drivers.SeverityError, Code: f.Code, Message: f.Err.Error(), Remediation: f.Remediation,
		})
	}
	return result, nil
}

var noPerl = drivers.Diagnostic{
	Severity: drivers.SeverityWarning, Code: "no_perl",
	Message: "the host has no perl: commands run without a parent of ours, so a signal that ends one is told by the server alone, " +
		"and output cannot be opened as /dev/stdout",
	Remediation: "install perl (perl-base is enough) on the host",
}

// probeFailed is the result of a probe that met err.
func probeFailed(err error) drivers.ProbeResult {
	result := drivers.ProbeResult{Summary: err.Error()}
	if problem, ok := errors.AsType[*drivers.ConfigError](err); ok {
		result.Phase = "config"
		for _, p := range problem.Problems {
			result.Diagnostics = append(result.Diagnostics, drivers.Diagnostic{
				Severity: drivers.SeverityError, Code: "bad_config", Message: p.Field + " " + p.Problem, Remediation: p.Remediation,
			})
		}
		return result
	}
	diagnostic := drivers.Diagnostic{Severity: drivers.SeverityError, Message: err.Error()}
	if f, ok := errors.AsType[*drivers.Failure](err); ok {
		result.Phase, result.Summary = f.Step, f.Err.Error()
		diagnostic.Code, diagnostic.Message, diagnostic.Remediation = f.Code, f.Err.Error(), f.Remediation
	}
	result.Diagnostics = append(result.Diagnostics, diagnostic)
	return result
}
