package cli

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// writeHelp writes a help text: two examples first, because they are what is read, and the exit codes last.
func writeHelp(w io.Writer, cmd *cobra.Command) {
	cmd.InitDefaultHelpFlag()
	section := func(title, body string) {
		if body = strings.TrimRight(body, "\n "); body != "" {
			fmt.Fprintf(w, "%s:\n%s\n\n", title, body)
		}
	}
	section("Examples", cmd.Example)
	text := cmd.Short + "."
	if cmd.Long != "" {
		text += "\n\n" + cmd.Long
	}
	fmt.Fprintf(w, "%s\n\n", text)
	section("Usage", "  "+usageLine(cmd))
	section("Commands", commandList(cmd))
	section("Flags", cmd.LocalNonPersistentFlags().FlagUsagesWrapped(helpWidth))
	if cmd.HasParent() {
		section("Settings of every command", cmd.InheritedFlags().FlagUsagesWrapped(helpWidth))
	} else {
		section("Settings of every command", cmd.PersistentFlags().FlagUsagesWrapped(helpWidth))
	}
	fmt.Fprintf(w, "Exit codes:\n%s\n", cmd.Annotations[exitNotes])
}

const helpWidth = 110

func usageLine(cmd *cobra.Command) string {
	_, arguments, _ := strings.Cut(cmd.Use, " ")
	line := strings.TrimSpace(cmd.CommandPath() + " [FLAGS] " + arguments)
	switch {
	case cmd.HasAvailableSubCommands() && arguments != "":
		return line + "\n  " + cmd.CommandPath() + " COMMAND"
	case cmd.HasAvailableSubCommands():
		return cmd.CommandPath() + " COMMAND"
	}
	return line
}

func commandList(cmd *cobra.Command) string {
	var list strings.Builder
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			fmt.Fprintf(&list, "  %-12s %s\n", c.Name(), c.Short)
		}
	}
	return list.String()
}

// helpCommand is "tenure help NOUN VERB".
func (r *root) helpCommand() *cobra.Command {
	cmd := r.verb(verb{
		use:   "help [COMMAND...]",
		short: "Show the help of a command",
		examples: [2]string{
			"tenure help run",
			"tenure help lease acquire",
		},
		exits: []int{exitDone, exitUsage},
		run:   func(context.Context, []string) error { return nil },
	})
	cmd.RunE = func(c *cobra.Command, args []string) error {
		target := c.Root()
		for _, name := range args {
			next, _, err := target.Find([]string{name})
			if err != nil || next == target {
				return missingVerb(target, []string{name})
			}
			target = next
		}
		writeHelp(r.Stdout, target)
		return nil
	}
	return cmd
}
