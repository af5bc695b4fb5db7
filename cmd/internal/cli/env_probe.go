package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
)

func (r *root) envProbe() *cobra.Command {
	var driver, config string
	cmd := r.companyFlag(r.verb(verb{
		use:   "probe [NAME-OR-ID]",
		short: "Try whether an environment would work, or settings that are not saved",
		long: "The server asks the driver and makes nothing that stays. With --driver the settings of the flags are tried instead of a\n" +
			"saved environment's; secrets in them are used for this probe and not kept.",
		examples: [2]string{
			"tenure env probe build-host",
			"tenure env probe --driver ssh --config @host.json",
		},
		exits: exitsOfCalls,
		run: func(ctx context.Context, args []string) error {
			if (len(args) == 1) == (driver != "") {
				return usagef("probe: name an environment, or settings").mendBy("give NAME-OR-ID, or --driver with --config")
			}
			if driver == "" && config != "" {
				return usagef("config: a saved environment is tried as it is saved").mendBy("give --driver in place of the name, or leave --config out")
			}
			raw, err := r.jsonValue("config", config)
			if err != nil {
				return err
			}
			c, err := r.api(ctx)
			if err != nil {
				return err
			}
			var p wire.Probe
			if driver != "" {
				company, err := r.company(ctx, c)
				if err != nil {
					return err
				}
				p, err = c.ProbeSettings(ctx, company.ID, wire.ProbeSettings{Driver: driver, Config: raw}, client.Wait(callWait))
				if err != nil {
					return err
				}
			} else {
				env, err := r.environment(ctx, c, args[0])
				if err != nil {
					return err
				}
				if p, err = c.ProbeEnvironment(ctx, env.ID, client.Wait(callWait)); err != nil {
					return err
				}
			}
			for p.Status != wire.ProbeCompleted {
				if p, err = c.Probe(ctx, p.ID, client.Wait(callWait)); err != nil {
					return err
				}
			}
			if err := probeView.show(r, p); err != nil || p.Result.OK {
				return err
			}
			return &plainError{exitFailed, "probe_failed", p.Result.Summary, firstRemediation(p.Result)}
		},
	}))
	cmd.Args = func(c *cobra.Command, args []string) error {
		if len(args) > 1 {
			return usagef("probe: more than one environment is named").mendBy("name one").of(c)
		}
		return nil
	}
	cmd.Flags().StringVar(&driver, "driver", "", "try settings of the `driver` instead of a saved environment")
	cmd.Flags().StringVar(&config, "config", "", "with --driver: its configuration as `JSON`, @FILE, or - for stdin")
	return cmd
}

func firstRemediation(result *wire.ProbeResult) string {
	for _, d := range result.Diagnostics {
		if d.Severity == "error" && d.Remediation != nil {
			return *d.Remediation
		}
	}
	return ""
}

var probeView = view[wire.Probe]{
	name: func(p wire.Probe) string { return p.ID.String() },
	columns: []column[wire.Probe]{
		{title: "RESULT", value: func(p wire.Probe, _ cell) string {
			if p.Result.OK {
				return "it works"
			}
			return "it does not work"
		}},
		{title: "SUMMARY", value: func(p wire.Probe, _ cell) string { return p.Result.Summary }},
		{title: "PHASE", value: func(p wire.Probe, _ cell) string { return deref(p.Result.Phase) }},
		{title: "PROVIDER", value: func(p wire.Probe, _ cell) string { return p.Provider }},
		{title: "TOOK", value: func(p wire.Probe, _ cell) string { return fmt.Sprintf("%d ms", p.Result.DriverMs) }},
		{title: "FOUND", value: func(p wire.Probe, _ cell) string {
			text := ""
			for _, d := range p.Result.Diagnostics {
				if text != "" {
					text += "; "
				}
				text += d.Severity + ": " + d.Message
			}
			return text
		}},
		{title: "ID", wide: true, value: func(p wire.Probe, _ cell) string { return p.ID.String() }},
	},
}
