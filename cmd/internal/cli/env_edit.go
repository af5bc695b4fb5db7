package cli

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tenure-dev/tenure/api/client"
)

func (r *root) envEdit() *cobra.Command {
	var config, metadata string
	var pairs, secretPairs, unset *[]string
	var version int64
	var cmd *cobra.Command
	cmd = r.companyFlag(r.verb(verb{
		use:   "edit NAME-OR-ID",
		short: "Change settings of an environment; leases that it has keep theirs",
		long: "Only what is given changes. Objects are merged (RFC 7396): a member that is null is removed.\n" +
			"With --if-version the change applies to that version only.",
		examples: [2]string{
			"tenure env edit ci --max-leases 8",
			"tenure env edit ci --var CI=true --unset-var DEBUG --if-version 3",
		},
		exits: exitsOfCalls,
		run: func(ctx context.Context, args []string) error {
			patch, err := r.envPatch(cmd, config, metadata, *pairs, *unset, len(*secretPairs) > 0)
			if err != nil {
				return err
			}
			c, err := r.api(ctx)
			if err != nil {
				return err
			}
			if err := r.patchSecrets(ctx, c, patch, *secretPairs); err != nil {
				return err
			}
			env, err := r.environment(ctx, c, args[0])
			if err != nil {
				return err
			}
			var opts []client.CallOption
			if cmd.Flags().Changed("if-version") {
				opts = append(opts, client.IfMatch(version))
			}
			if env, err = c.PatchEnvironment(ctx, env.ID, patch, opts...); err != nil {
				return err
			}
			for _, warning := range env.Warnings {
				r.warn("%s", warning)
			}
			visible(ctx, env.Position, environmentsOf(c, env.CompanyID))
			return envView.show(r, env)
		},
	}))
	f := cmd.Flags()
	f.String("name", "", "new `name`")
	f.String("description", "", "`text` for people")
	f.String("driver", "", "`name` of the driver that makes runtimes")
	f.Int("max-leases", 0, "most leases at once; 0 is no limit")
	f.Int("max-queued", 0, "most leases that wait for a slot at once; 0 lets nobody wait")
	f.String("max-ttl", "", "most `duration` of a lease; longer requests are cut to it; '' is the server's 720h again")
	f.StringVar(&config, "config", "", "`JSON` to merge into the driver's configuration, @FILE, or - for stdin")
	f.StringVar(&metadata, "metadata", "", "`JSON` to merge into your own object; @FILE or - as above")
	pairs = r.varFlag(f, "is in the environment of every command")
	secretPairs = secretVarFlag(f)
	unset = f.StringArray("unset-var", nil, "`NAME` of a variable to remove (repeatable)")
	f.Int64Var(&version, "if-version", 0, "apply to this `version` only")
	return cmd
}

// envPatch is the merge patch that the flags ask for; more says that there is more to come.
func (r *root) envPatch(cmd *cobra.Command, config, metadata string, pairs, unset []string, more bool) (map[string]any, error) {
	patch := map[string]any{}
	f := cmd.Flags()
	for flag, field := range map[string]string{"name": "name", "description": "description", "driver": "driver"} {
		if f.Changed(flag) {
			patch[field] = f.Lookup(flag).Value.String()
		}
	}
	for flag, field := range map[string]string{"max-leases": "maxLeases", "max-queued": "maxQueued"} {
		if !f.Changed(flag) {
			continue
		}
		n, err := f.GetInt(flag)
		if err != nil {
			return nil, err
		}
		patch[field] = n
	}
	if f.Changed("max-ttl") {
		longest := f.Lookup("max-ttl").Value.String()
		if err := checkDuration("max-ttl", longest); err != nil {
			return nil, err
		}
		patch["maxTtl"] = nil
		if longest != "" {
			patch["maxTtl"] = longest
		}
	}
	for field, value := range map[string]string{"config": config, "metadata": metadata} {
		raw, err := r.jsonValue(field, value)
		if err != nil {
			return nil, err
		}
		if raw != nil {
			patch[field] = raw
		}
	}
	vars, err := r.variables(pairs)
	if err != nil {
		return nil, err
	}
	if len(vars)+len(unset) > 0 {
		merge := map[string]any{}
		for name, value := range vars {
			merge[name] = value
		}
		for _, name := range unset {
			if _, both := merge[name]; both || strings.Contains(name, "=") {
				return nil, usagef("unset-var: %q cannot be removed", name).mendBy("give the name of a variable that --var does not set")
			}
			merge[name] = nil
		}
		patch["envVars"] = merge
	}
	if len(patch) == 0 && !more {
		return nil, usagef("nothing to change").mendBy("give at least one setting, such as --max-leases 4").of(cmd)
	}
	return patch, nil
}
