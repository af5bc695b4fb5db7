package drivers_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/fake"
)

func TestARegistryFindsDriversByName(t *testing.T) {
	t.Parallel()
	b, a := fake.New(fake.Options{Name: "b"}), fake.New(fake.Options{Name: "a"})
	r, err := drivers.NewRegistry(b, a)
	require.NoError(t, err)
	require.Equal(t, []string{"a", "b"}, r.Names())
	d, err := r.Resolve(drivers.Target{Driver: "b"})
	require.NoError(t, err)
	require.Same(t, b, d)
	_, err = r.Resolve(drivers.Target{Driver: "c"})
	require.ErrorContains(t, err, `no driver "c"`)
	require.Equal(t, drivers.OutcomeDefinite, drivers.OutcomeOf(err))
	provider, ok, err := r.Provider("a", nil)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, "a", provider)
	_, ok, err = r.Provider("c", nil)
	require.NoError(t, err)
	require.False(t, ok)
}

func TestTwoDriversOfOneNameAreRefused(t *testing.T) {
	t.Parallel()
	_, err := drivers.NewRegistry(fake.New(fake.Options{}), fake.New(fake.Options{}))
	require.ErrorContains(t, err, `"fake" is registered twice`)
}

func TestProblemsNameTheFieldAndNeverTheValue(t *testing.T) {
	t.Parallel()
	problems := drivers.ValidateExec(drivers.ExecRequest{
		Argv: []string{"", "a\x00"}, Cwd: "x\x00",
		Env: []drivers.EnvVar{{Name: "", Value: "hunter2"}, {Name: "A=B"}, {Name: "C", Value: "hunter2\x00"}, {Name: "fine-1.x"}},
	})
	var fields []string
	for _, p := range problems {
		fields = append(fields, p.Field)
		require.NotContains(t, p.Problem+p.Field, "hunter2")
		require.NotEmpty(t, p.Remediation)
	}
	require.Equal(t, []string{"argv[0]", "argv[1]", "env[0]", `env["A=B"]`, `env["C"]`, "cwd"}, fields)
	require.Equal(t, "argv", drivers.ValidateArgv(nil)[0].Field)
}
