package cli_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/cmd/internal/cli"
)

func everyCommand(cmd *cobra.Command) []*cobra.Command {
	all := []*cobra.Command{cmd}
	for _, c := range cmd.Commands() {
		all = append(all, everyCommand(c)...)
	}
	return all
}

func helpOf(t *testing.T, path string) string {
	t.Helper()
	var out bytes.Buffer
	cmd := cli.New(cli.Deps{Version: "test", Stdout: &out, Env: func(string) string { return "" }})
	cmd.SetArgs(append(strings.Fields(path)[1:], "--help"))
	require.NoError(t, cmd.Execute())
	return out.String()
}

// UPDATE=1 writes the golden files.
func TestEveryHelpBeginsWithTwoExamplesAndEndsWithItsExitCodes(t *testing.T) {
	t.Parallel()
	root := cli.New(cli.Deps{Version: "test", Env: func(string) string { return "" }})
	for _, c := range everyCommand(root) {
		t.Run(c.CommandPath(), func(t *testing.T) {
			t.Parallel()
			got := helpOf(t, c.CommandPath())

			examples, rest, _ := strings.Cut(got, "\n\n")
			lines := strings.Split(examples, "\n")
			require.Len(t, lines, 3)
			require.Equal(t, "Examples:", lines[0])
			for _, example := range lines[1:] {
				require.Contains(t, example, "tenure", "an example is something to type")
			}
			_, codes, found := strings.Cut(rest, "\nExit codes:\n")
			require.True(t, found)
			require.Regexp(t, `\A(  (\d+|N) +\S.*\n)+\z`, codes)

			golden := filepath.Join("testdata", "help", strings.ReplaceAll(c.CommandPath(), " ", "_")+".txt")
			if os.Getenv("UPDATE") != "" {
				require.NoError(t, os.MkdirAll(filepath.Dir(golden), 0o750))
				require.NoError(t, os.WriteFile(golden, []byte(got), 0o600))
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err)
			require.Empty(t, cmp.Diff(string(want), got))
		})
	}
}

func TestHelpIsTheSameByFlagAndByCommand(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	cmd := cli.New(cli.Deps{Version: "test", Stdout: &out, Env: func(string) string { return "" }})
	cmd.SetArgs([]string{"help", "lease", "acquire"})
	require.NoError(t, cmd.Execute())
	require.Equal(t, helpOf(t, "tenure lease acquire"), out.String())
}

// The examples of the help texts are command lines that the program takes.
func TestTheExamplesParse(t *testing.T) {
	t.Parallel()
	root := cli.New(cli.Deps{Version: "test", Env: func(string) string { return "" }})
	for _, c := range everyCommand(root) {
		for line := range strings.Lines(c.Example) {
			_, call, found := strings.Cut(line, "tenure ")
			if !found || strings.ContainsAny(line, "'|<") {
				continue
			}
			call, _, _ = strings.Cut(call, " >")
			words := strings.Fields(call)
			fresh := cli.New(cli.Deps{Version: "test", Env: func(string) string { return "" }})
			found2, rest, err := fresh.Find(words)
			require.NoError(t, err, line)
			require.NotEqual(t, fresh, found2, line)
			require.NoError(t, found2.ParseFlags(rest), line)
			require.NoError(t, found2.ValidateArgs(found2.Flags().Args()), line)
		}
	}
}
