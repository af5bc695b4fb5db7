package config_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/cmd/internal/cli/config"
)

func environ(pairs map[string]string) func(string) string {
	return func(name string) string { return pairs[name] }
}

func write(t *testing.T, path, content string) string {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

func TestAFlagWinsOverItsVariableThatOverTheContextThatOverTheDefault(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	write(t, filepath.Join(home, ".config", "tenure", "config.json"), `{"company":"context"}`)
	for _, c := range []struct {
		name, want, variable, home string
		args                       []string
	}{
		{name: "default", want: "default"},
		{name: "context", want: "context", home: home},
		{name: "variable", want: "variable", home: home, variable: "variable"},
		{name: "flag", want: "flag", home: home, variable: "variable", args: []string{"--company", "flag"}},
		{name: "an empty flag is a flag", want: "", home: home, variable: "variable", args: []string{"--company="}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s, err := config.Load(environ(map[string]string{"HOME": c.home, "TENURE_COMPANY": c.variable}))
			require.NoError(t, err)
			flags := pflag.NewFlagSet("x", pflag.ContinueOnError)
			company := flags.String("company", "default", "")
			require.NoError(t, flags.Parse(c.args))

			require.NoError(t, s.Apply(flags, "company"))

			require.Equal(t, c.want, *company)
			require.Equal(t, len(c.args) > 0, flags.Changed("company"))
		})
	}
}

func TestABadVariableIsNamedAndItsValueIsNot(t *testing.T) {
	t.Parallel()
	s, err := config.Load(environ(map[string]string{"TENURE_WORKER_TTL": "MARKER"}))
	require.NoError(t, err)
	flags := pflag.NewFlagSet("x", pflag.ContinueOnError)
	flags.Duration("worker-ttl", 0, "")

	err = s.Apply(flags, "worker-ttl")

	require.ErrorContains(t, err, "TENURE_WORKER_TTL")
	require.NotContains(t, err.Error(), "MARKER")
}

func TestABrokenContextFileIsSaid(t *testing.T) {
	t.Parallel()
	for content, want := range map[string]string{
		`{"compny":"x"}`: "compny",
		`{`:              "context file",
		`{} {}`:          "something follows",
	} {
		path := write(t, filepath.Join(t.TempDir(), "c.json"), content)
		_, err := config.Load(environ(map[string]string{"TENURE_CONFIG": path}))
		require.ErrorContains(t, err, want)
	}
	_, err := config.Load(environ(map[string]string{"TENURE_CONFIG": "/nowhere/c.json"}))
	require.ErrorContains(t, err, "TENURE_CONFIG")
}

func TestTheDataDirectoryDependsOnTheUser(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		uid  int
		env  map[string]string
		want string
	}{
		{0, nil, "/var/lib/tenure"},
		{1000, map[string]string{"HOME": "/home/u"}, "/home/u/.local/share/tenure"},
		{1000, map[string]string{"HOME": "/home/u", "XDG_DATA_HOME": "/data"}, "/data/tenure"},
		{1000, map[string]string{"HOME": "/home/u", "XDG_DATA_HOME": "relative"}, "/home/u/.local/share/tenure"},
	} {
		dir, err := config.DefaultDataDir(environ(c.env), c.uid)
		require.NoError(t, err)
		require.Equal(t, c.want, dir)
	}
	_, err := config.DefaultDataDir(environ(nil), 1000)
	require.ErrorIs(t, err, config.ErrNoDataDir)
}

func TestTheLocalServerIsReadFromTheDataDirectory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.Empty(t, config.LocalServer(dir))
	write(t, filepath.Join(dir, "address"), "127.0.0.1:4711\n")
	require.Equal(t, "http://127.0.0.1:4711", config.LocalServer(dir))
	write(t, filepath.Join(dir, "address"), "https://[::1]:4711\n")
	require.Equal(t, "https://[::1]:4711", config.LocalServer(dir))
}

func TestTheKeyIsFoundInOrder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "admin.key"), "local\n")
	file := write(t, filepath.Join(dir, "other"), "file\n")
	context := write(t, filepath.Join(dir, "c.json"), fmt.Sprintf(`{"apiKeyFile":%q}`, write(t, filepath.Join(dir, "third"), "context")))
	for _, c := range []struct {
		want string
		env  map[string]string
	}{
		{"local", nil},
		{"context", map[string]string{"TENURE_CONFIG": context}},
		{"file", map[string]string{"TENURE_CONFIG": context, "TENURE_API_KEY_FILE": file}},
		{"direct", map[string]string{"TENURE_CONFIG": context, "TENURE_API_KEY_FILE": file, "TENURE_API_KEY": "direct"}},
	} {
		s, err := config.Load(environ(c.env))
		require.NoError(t, err)
		key, err := s.Key(dir, true)
		require.NoError(t, err)
		require.Equal(t, c.want, key.Secret)
		require.NotContains(t, fmt.Sprintf("%v %+v %#v", key, key, key), "Secret")
	}
}

func TestTheLocalAdminKeyIsOfferedToNoOtherServer(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "admin.key"), "local\n")
	s, err := config.Load(environ(nil))
	require.NoError(t, err)

	_, err = s.Key(dir, false)

	var missing *config.NoKeyError
	require.ErrorAs(t, err, &missing)
	require.Contains(t, missing.Remediation, "TENURE_API_KEY")
}

func TestAKeyThatCannotBeOneIsRefusedWithoutShowingIt(t *testing.T) {
	t.Parallel()
	for _, secret := range []string{"MARKER MARKER", "MARKER\nMARKER", "MARKER\x7f", "  \t"} {
		s, err := config.Load(environ(map[string]string{"TENURE_API_KEY_FILE": write(t, filepath.Join(t.TempDir(), "k"), secret)}))
		require.NoError(t, err)
		_, err = s.Key("", true)
		require.Error(t, err)
		require.NotContains(t, err.Error(), "MARKER")
	}
}
