package cli_test

import (
	"bytes"
	"context"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/cmd/internal/cli"
)

// The exit code follows the checks, whoever prints them.
func TestAPluginThatBreaksTheContractIsAFailure(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		failed, exit int
		args         []string
		want         cli.ConformanceOptions
	}{
		{0, 0, []string{"plugin", "test", "./p", "--config", `{"a":1}`}, cli.ConformanceOptions{Target: []string{"./p"}, Config: []byte(`{"a":1}`)}},
		{2, 1, []string{"plugin", "test", "-o", "json", "--driver", "box", "--", "./w", "--loud"}, cli.ConformanceOptions{
			Target: []string{"./w", "--loud"}, Drivers: []string{"box"}, JSON: true,
		}},
		{0, 2, []string{"plugin", "test"}, cli.ConformanceOptions{}},
		{0, 2, []string{"plugin", "test", "./p", "--config", "3"}, cli.ConformanceOptions{}},
	} {
		var stdout, stderr bytes.Buffer
		exit := cli.Main(t.Context(), cli.Deps{
			Stdout: &stdout, Stderr: &stderr, Env: func(string) string { return "" },
			Conformance: func(_ context.Context, o cli.ConformanceOptions, w io.Writer) (int, error) {
				require.Equal(t, tc.want.Target, o.Target)
				require.Equal(t, string(tc.want.Config), string(o.Config))
				require.Equal(t, tc.want.Drivers, o.Drivers)
				require.Equal(t, tc.want.JSON, o.JSON)
				_, err := io.WriteString(w, "the report\n")
				return tc.failed, err
			},
		}, tc.args)
		require.Equal(t, tc.exit, exit, stderr.String())
		if exit < 2 {
			require.Equal(t, "the report\n", stdout.String())
		}
		if tc.failed > 0 {
			require.Contains(t, stderr.String(), "2 checks failed")
		}
	}
}
