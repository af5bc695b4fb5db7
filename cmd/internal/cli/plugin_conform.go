package cli

import (
	"context"
	"encoding/json"
	"io"
	"time"

	"github.com/spf13/cobra"
)

// ConformanceOptions say which worker is checked, and how.
type ConformanceOptions struct {
	// Target is a plugin's directory, or with more than one word, or with no such directory, a command.
	Target []string
	// ManifestFile is the manifest of a command; "" for none.
	ManifestFile string
	// Config is a configuration that works.
	Config json.RawMessage
	// Drivers are the ones to check; none is all.
	Drivers     []string
	NoExtension bool
	CallTimeout time.Duration
	// JSON writes the report as JSON; Progress is told of each check.
	JSON     bool
	Progress io.Writer
}

// pluginTest is no API call: it runs the worker here.
func (r *root) pluginTest() *cobra.Command {
	var o ConformanceOptions
	var config string
	cmd := r.verb(verb{
		use:   "test DIRECTORY|COMMAND...",
		short: "Check a plugin against what an engine relies on, without a server",
		long: "It starts the worker here, asks it what an engine asks, and prints a table: each sentence of the contract, and whether it\n" +
			"holds. A plugin in any language can be checked. What it makes it takes down again.",
		examples: [2]string{
			"tenure plugin test ./my-plugin --config '{\"region\":\"eu\"}'",
			"tenure plugin test -o json -- ./worker --verbose",
		},
		exits: []int{exitDone, exitFailed, exitUsage, exitInterrupted},
		run: func(ctx context.Context, args []string) (err error) {
			if o.Config, err = r.jsonValue("config", config); err != nil {
				return err
			}
			o.Target, o.JSON, o.Progress = args, isJSON(r.flags.output), r.progress()
			failed, err := r.Conformance(ctx, o, r.Stdout)
			if err != nil {
				return err
			}
			if failed > 0 {
				return &plainError{exitFailed, "contract_broken", number(failed) + " checks failed", "see the table"}
			}
			return nil
		},
	})
	cmd.Args = func(c *cobra.Command, args []string) error {
		if len(args) == 0 {
			return usagef("test: there is no plugin to check").mendBy("name its directory, or after -- the command of its worker").of(c)
		}
		return nil
	}
	f := cmd.Flags()
	f.StringVar(&config, "config", "", "a configuration that works, as `JSON`, @FILE, or - for stdin")
	f.StringVar(&o.ManifestFile, "manifest", "", "with a command: its manifest, as JSON in a `file`")
	f.StringArrayVar(&o.Drivers, "driver", nil, "check this `driver` of the plugin only; may be repeated")
	f.BoolVar(&o.NoExtension, "no-extension", false, "check it as an engine does that knows the published protocol only")
	f.DurationVar(&o.CallTimeout, "call-timeout", 30*time.Second, "bound of one call")
	return cmd
}
