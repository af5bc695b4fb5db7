package cli

import (
	"bytes"
	"context"
	"strings"

	"github.com/spf13/cobra"
)

func (r *root) completion() *cobra.Command {
	shells := []string{"bash", "zsh", "fish", "powershell"}
	var cmd *cobra.Command
	cmd = r.verb(verb{
		use:   "completion SHELL",
		short: "Print a script that lets a shell complete tenure's commands",
		long:  "SHELL is " + strings.Join(shells, ", ") + ".",
		examples: [2]string{
			"tenure completion bash >/etc/bash_completion.d/tenure",
			"source <(tenure completion zsh)",
		},
		exits: exitsOfLocal,
		words: shells,
		run: func(_ context.Context, args []string) error {
			var script bytes.Buffer
			var err error
			switch args[0] {
			case "bash":
				err = cmd.Root().GenBashCompletionV2(&script, true)
			case "zsh":
				err = cmd.Root().GenZshCompletion(&script)
			case "fish":
				err = cmd.Root().GenFishCompletion(&script, true)
			case "powershell":
				err = cmd.Root().GenPowerShellCompletionWithDesc(&script)
			default:
				return usagef("there is no completion for %q", args[0]).mendBy("use one of: %s", strings.Join(shells, ", ")).of(cmd)
			}
			if err != nil {
				return err
			}
			return r.write(script.Bytes())
		},
	})
	return cmd
}
